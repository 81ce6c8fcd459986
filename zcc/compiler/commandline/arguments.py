"""From a command line to what it compiles, reads and writes, or to why it stays here. Pure.

Owns the meaning of a command line as a whole; reader.py walks through its words, and what each option means is
`options.TABLE`. Response files come in through a callback.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from os import fsdecode

from zcc.compiler.commandline import languages, time_macros
from zcc.compiler.commandline.compilation import Compilation, Local, StopsAt, Word
from zcc.compiler.commandline.make_rule import LISTING_TARGET
from zcc.compiler.commandline.output_names import Naming
from zcc.compiler.commandline.reader import Reading, is_device
from zcc.compiler.commandline.response import ResponseDoubtError, expand
from zcc.compiler.commandline.tables import Family
from zcc.compiler.neutral.renaming import DROPPED, neutral_command
from zcc.compiler.text.lexing import Lexis
from zcc.reasons import Reason

__all__ = [
    "Compilation", "Local", "StopsAt", "Word", "dependency_arguments", "parse", "split",
]  # fmt: skip

# A command that has one of these does not compile, whatever else is odd about it.
_OTHER_ACTIONS = (
    Reason.PREPROCESS_ONLY,
    Reason.SYNTAX_ONLY,
    Reason.INFORMATION,
    Reason.OTHER_ACTION,
    Reason.MAKES_PCH,
)
_TELLS_PRECOMPILED = re.compile(rb"invalid-pch|(?:^|[\0,])-H(?:[\0,]|$)")
_OTHER_ASSEMBLER = re.compile(rb"(?:^|\0)-{1,2}f?no-integrated-as(?:\0|$)")
_SWITCHES_MODULES_ON = re.compile(rb"(?:^|\0)-fmodules-ts(?:\0|$)")
# ISO C90, in which gcc takes `//` for no comment, nor clang always, and traditional C, which has other strings.
_OLD_C = re.compile(
    rb"(?:^|[\0,])-{1,2}(?:ansi|traditional(?:-cpp)?|std[=\0](?:c8|c90|iso9899:199[04]|gnu8|gnu90))"
)
_OLD_CXX = re.compile(rb"(?:^|[\0,])-{1,2}std[=\0](?:c|gnu)\+\+(?:98|03|0x|11)")
# The whole command, with all of its sources, stands in each object.
_RECORDS_THE_COMMAND = {
    Family.GCC: frozenset((b"-frecord-gcc-switches",)),
    Family.CLANG: frozenset(
        (b"-frecord-command-line", b"-grecord-command-line", b"-frecord-gcc-switches")
        + (b"-grecord-gcc-switches",)
    ),
}
_FAST_MATH = frozenset((b"-ffast-math", b"-funsafe-math-optimizations", b"-Ofast"))
# What makes clang compile to a temporary file first, and what it then writes beside that.
_SEVERAL_STEPS = re.compile(rb"-f?no-integrated-as|--?no-integrated-cpp|-fembed-bitcode(?:=all)?")
_OF_EACH_STEP = re.compile(rb"-ftime-trace|--?save-stats(?:=.*)?")


def parse(
    argv: Sequence[bytes],
    family: Family,
    is_cxx: bool,
    cwd: bytes,
    read_response: Callable[[bytes], bytes | None],
) -> Compilation | Local:
    """What this command compiles; `argv` is without the compiler's own name.

    `is_cxx`: the driver is g++ or clang++. `read_response` gives the bytes of a response file named as
    spelled, None where there is none. `cwd` tells apart a source that is at the same time an output.
    """
    try:
        words, response_files = expand(argv, family, read_response)
    except ResponseDoubtError as error:
        return Local(error.reason, fsdecode(error.path))
    reading = Reading(family, is_cxx)
    reading.read(words)
    return _conclude(reading, cwd, response_files)


def split(argv: Sequence[bytes], family: Family, is_cxx: bool) -> list[tuple[bytes, ...]]:
    """For a command with several sources, the command for each; empty where there is no telling."""
    if not _RECORDS_THE_COMMAND[family].isdisjoint(argv):
        return []
    if any(word.startswith(b"@") for word in argv):
        return []  # the sources stand in a file, which cannot be changed
    reading = Reading(family, is_cxx)
    reading.read(argv)
    places = set(reading.source_places)
    return [
        tuple(word for at, word in enumerate(argv) if at == place or at not in places)
        for place in reading.source_places
    ]


def dependency_arguments(compilation: Compilation, family: Family) -> tuple[bytes, ...]:
    """The command that lists what this compile reads on stdout: no output, no side file, but `-M`.

    Words of response files stand for themselves. clang, unlike gcc, keeps its warnings under `-M`, and
    would warn of options that have no use there; `-Werror` must not make that a failure.
    """
    # gcc names a system header by where symlinks lead, if that is shorter; the job needs the links.
    canonical = b"-fcanonical-system-headers"
    told = (b"-w",) if family is Family.CLANG else (b"-fno-canonical-system-headers",)
    # In front: behind `--` they would be sources.
    asked = [
        argument for word in compilation.words for argument in word.asks if argument != canonical
    ]
    return (b"-M", b"-MT", LISTING_TARGET, *told, *asked)


def _conclude(reading: Reading, cwd: bytes, response_files: list[bytes]) -> Compilation | Local:
    local = _why_local(reading)
    if local is not None:
        return local
    source, language, _ = reading.sources[0]
    assert language is not None
    assert reading.stops_at is not None
    naming = Naming(
        family=reading.family,
        source=source,
        language=language,
        output=reading.output,
        is_assembly=reading.stops_at is StopsAt.ASSEMBLY,
        is_bitcode=reading.is_bitcode,
        saves_temps=reading.saves_temps,
        has_response_file=bool(response_files),
        compilation_dir=_compilation_dir(reading),
    )
    outputs = _outputs(reading, naming)
    if _place(cwd, source) in {_place(cwd, name) for name in outputs}:
        return Local(Reason.OUTPUT_IS_SOURCE, fsdecode(source))
    if naming.main in reading.side_files and naming.main != DROPPED:
        return Local(Reason.ODD_OUTPUT, fsdecode(naming.main))  # -MF names it too
    return Compilation(
        source=source,
        language=language,
        stops_at=reading.stops_at,
        output=naming.main,
        outputs=outputs,
        dumps=(naming.dumps,) if reading.has_dumps else (),
        search_arguments=tuple(
            argument for word in reading.words if word.searches for argument in word.asks
        ),
        forced_includes=tuple(reading.forced),
        extra_inputs=tuple(dict.fromkeys(response_files + reading.inputs)),
        toolchain_files=tuple(reading.toolchain_files),
        probed_files=_probed_files(reading),
        plugins=tuple(reading.plugins),
        plugin_names=tuple(reading.plugin_names),
        plugin_arguments=tuple(dict.fromkeys(filter(None, reading.plugin_arguments))),
        charsets=tuple(dict.fromkeys(reading.charsets)),
        module_maps=tuple(reading.module_maps),
        has_modules=_says(reading, _SWITCHES_MODULES_ON),
        module_mapper=reading.module_mapper,
        specs=tuple(reading.specs),
        sysroots=tuple(filter(None, reading.sysroots)),
        include_pch=reading.pch,
        assembler_directories=tuple(reading.assembler_directories),
        assembler_sources=tuple(reading.assembler_sources),
        defines=tuple(reading.defines),
        time_macros=time_macros.asked(reading.defines),
        profiles=tuple(reading.profiles),
        gcda=naming.gcda,
        reads_profile=reading.reads_profile,
        removes_profile=reading.writes_notes and reading.family is Family.GCC,
        machine_dependent=tuple(reading.machine),
        tells_precompiled=_says(reading, _TELLS_PRECOMPILED),
        lexis=_lexis(reading, language),
        is_assembled_apart=_is_assembled_apart(reading, language),
        words=tuple(reading.words),
        neutral=None
        if response_files
        else neutral_command(reading.words, reading.family, language),
    )


def _is_assembled_apart(reading: Reading, language: str) -> bool:
    has_own = not _says(reading, _OTHER_ASSEMBLER)
    is_step = language in languages.IS_ASSEMBLY or reading.saves_temps not in (None, b"no")
    return reading.family is Family.CLANG and has_own and is_step


def _lexis(reading: Reading, language: str) -> Lexis:
    if _says(reading, _OLD_C):
        return Lexis.OLD
    return Lexis.CXX if "c++" in language and not _says(reading, _OLD_CXX) else Lexis.C


def _says(reading: Reading, pattern: re.Pattern[bytes]) -> bool:
    """Whether an option says this, were it to another program: words are parted by NUL."""
    given = b"\0".join(argument for word in reading.words for argument in word.arguments)
    return pattern.search(given) is not None


def _why_local(reading: Reading) -> Local | None:
    """The reason that says most about the command, where there are several."""
    by_reason = {local.reason: local for local in reversed(reading.locals)}
    for reason in _OTHER_ACTIONS:
        if reason in by_reason:
            return by_reason[reason]
    for name, language, reason in reading.sources:
        if language is None and reason in (Reason.MAKES_PCH, Reason.MODULES):
            return Local(reason, fsdecode(name))
    if reading.stops_at is None:
        return Local(Reason.NOT_A_COMPILE)
    return (
        # The operand of an unknown option may pass for a source.
        by_reason.get(Reason.UNKNOWN_OPTION)
        or _why_source_is_local(reading)
        or _why_output_is_local(reading)
        or next(iter(reading.locals), None)
    )


def _why_source_is_local(reading: Reading) -> Local | None:
    if not reading.sources:
        return Local(Reason.NO_SOURCE)
    if any(name == b"-" for name, _, _ in reading.sources):
        return Local(Reason.STDIN_SOURCE)
    compiled = [name for name, _, reason in reading.sources if reason != Reason.LINKER_INPUT]
    if len(compiled) > 1:
        return Local(Reason.SEVERAL_SOURCES, fsdecode(compiled[1]))
    for name, language, reason in reading.sources:
        if language is None:
            return Local(reason, fsdecode(name))
    name, language, _ = reading.sources[0]
    if language in languages.IS_ASSEMBLY and reading.stops_at is StopsAt.ASSEMBLY:
        return Local(Reason.PREPROCESS_ONLY, "assembly from assembly")
    if len(reading.sources) > 1:
        return Local(Reason.SEVERAL_SOURCES, fsdecode(reading.sources[1][0]))
    if name.rpartition(b"/")[2].startswith(b"conftest."):
        return Local(Reason.CONFTEST, fsdecode(name))
    return None


def _why_output_is_local(reading: Reading) -> Local | None:
    output = reading.output
    if output is None:
        if reading.is_windows and reading.family is Family.CLANG:
            return Local(Reason.DEFAULT_OUTPUT, "clang names it .obj for some targets")
    elif output == b"-":
        return Local(Reason.OUTPUT_TO_STDOUT)
    elif not output or output.endswith(b"/"):
        return Local(Reason.ODD_OUTPUT, fsdecode(output))
    elif is_device(output) and not _is_dropped(reading, output):
        return Local(Reason.OUTPUT_TO_DEVICE, fsdecode(output))
    return _why_trace_is_local(reading)


def _is_dropped(reading: Reading, output: bytes) -> bool:
    """Whether the output is only to be made, and nothing is named after it."""
    is_named_after = reading.suffixes or (
        reading.writes_default_depfile and not reading.names_depfile
    )
    return output == DROPPED and not is_named_after


def _why_trace_is_local(reading: Reading) -> Local | None:
    """clang calls a step's trace or statistics after what the step writes. Where another step follows, that is
    a temporary file, and they stay beside it under a name that nobody can declare."""
    if reading.family is not Family.CLANG or reading.saves_temps is not None:
        return None
    given = [b"=".join(word.arguments) for word in reading.words]
    is_followed = reading.sources[0][1] == languages.ASSEMBLER_WITH_CPP or any(
        map(_SEVERAL_STEPS.fullmatch, given)
    )
    asked = [word for word in given if _OF_EACH_STEP.fullmatch(word)]
    return Local(Reason.TRACE_IN_TEMPORARY, fsdecode(asked[0])) if is_followed and asked else None


def _compilation_dir(reading: Reading) -> bytes:
    for word in reversed(reading.words):
        name, _, value = b"=".join(word.arguments).partition(b"=")
        if name in (b"-fdebug-compilation-dir", b"-ffile-compilation-dir"):
            return value
    return b""


def _outputs(reading: Reading, naming: Naming) -> tuple[bytes, ...]:
    names = [naming.main, *reading.side_files, *naming.side_files(tuple(reading.suffixes))]
    names += [name for name in naming.saved_temps() if name != naming.source]
    if reading.writes_default_depfile and not reading.names_depfile:
        names.append(naming.dependencies)
    if reading.statistics is not None:
        names += naming.statistics(reading.statistics)
    if reading.time_trace is not None:
        names.append(naming.time_trace_in(reading.time_trace))
    return tuple(dict.fromkeys(names))


def _probed_files(reading: Reading) -> tuple[bytes, ...]:
    """clang asks whether programs will start by letting denormal numbers be zero: its code relies on it.

    (clang/lib/Driver/ToolChains/Linux.cpp, getDefaultDenormalModeForType: on x86.)
    """
    if reading.family is not Family.CLANG:
        return ()
    words = (argument for word in reading.words for argument in word.arguments)
    return () if _FAST_MATH.isdisjoint(words) else (b"crtfastmath.o",)


def _place(cwd: bytes, name: bytes) -> bytes:
    """Good enough to see that one name is another; a link between them is the disk's affair."""
    return posixpath.normpath(posixpath.join(cwd, name))
