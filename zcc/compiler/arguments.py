"""From a command line to what it compiles, reads and writes, or to why it stays here. Pure.

Owns the meaning of a command line as a whole; what each option means is `options.TABLE`. Response files
come in through a callback.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from os import fsdecode

from zcc.compiler import languages
from zcc.compiler.compilation import Compilation, Local, StopsAt, Word
from zcc.compiler.listing import LISTING_TARGET
from zcc.compiler.options import (
    DRIVER,
    IN_ASSEMBLER,
    IN_FRONTEND,
    IN_PREPROCESSOR,
    Family,
    Lookup,
    Option,
    Role,
    looks_like_files,
    names_file,
)
from zcc.compiler.outputs import Naming
from zcc.compiler.response import ResponseDoubtError, expand

__all__ = [
    "Compilation", "Local", "StopsAt", "Word", "dependency_arguments", "parse", "split",
]  # fmt: skip

# A command that has one of these does not compile, whatever else is odd about it.
_OTHER_ACTIONS = ("preprocess-only", "syntax-only", "information", "other-action", "makes-pch")
_TIME_MACRO = re.compile(rb"\b__(?:TIME|DATE|TIMESTAMP)__\b")
_STRICT_STANDARD = re.compile(rb"c|iso")
_STREAMS = (b"", b"-", b"stderr", b"stdout", b"/dev/null", b"/dev/stdout", b"/dev/stderr")
_PLUGINS = (b"-fplugin=", b"-fpass-plugin=", b"-load")
_DUMPS = (b"-fdump-tree-", b"-fdump-rtl-", b"-fdump-ipa-", b"-fdump-lang-")
_PROFILES = (b"-fprofile-use=", b"-fprofile-instr-use=")
# The whole command, with all of its sources, stands in each object.
_RECORDS_THE_COMMAND = {
    Family.GCC: frozenset((b"-frecord-gcc-switches",)),
    Family.CLANG: frozenset(
        (b"-frecord-command-line", b"-grecord-command-line", b"-frecord-gcc-switches")
        + (b"-grecord-gcc-switches",)
    ),
}
_WITHOUT_QUESTION = (Role.MODE, Role.OUTPUT, Role.DEPFILE)


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
    reading = _Reading(family, is_cxx)
    reading.read(words)
    return reading.conclude(cwd, response_files)


def split(argv: Sequence[bytes], family: Family, is_cxx: bool) -> list[tuple[bytes, ...]]:
    """For a command with several sources, the command for each; empty where there is no telling."""
    if not _RECORDS_THE_COMMAND[family].isdisjoint(argv):
        return []
    if any(word.startswith(b"@") for word in argv):
        return []  # the sources stand in a file, which cannot be changed
    reading = _Reading(family, is_cxx)
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
    quiet = (b"-w",) if family is Family.CLANG else ()
    # In front: behind `--` they would be sources.
    asked = [argument for word in compilation.words for argument in word.asks]
    return (b"-M", b"-MT", LISTING_TARGET, *quiet, *asked)


class _Reading:
    """A command line, being read from left to right."""

    def __init__(self, family: Family, is_cxx: bool) -> None:
        self._family = family
        self._is_cxx = is_cxx
        self._words: list[Word] = []
        self._locals: list[Local] = []
        self._sources: list[tuple[bytes, str | None, str]] = []
        self.source_places: list[int] = []
        self._nested: dict[Lookup, list[bytes]] = {
            IN_PREPROCESSOR: [],
            IN_ASSEMBLER: [],
            IN_FRONTEND: [],
        }
        self._named: bytes | None = None  # the operand of the last -x
        self._stops_at: StopsAt | None = None
        self._is_bitcode = False
        self._output: bytes | None = None
        self._side_files: list[bytes] = []
        self._suffixes: list[bytes] = []
        self._saves_temps: bytes | None = None
        self._statistics: bytes | None = None
        self._time_trace: bytes | None = None
        self._writes_default_depfile = False
        self._names_depfile = False
        self._writes_notes = False
        self._forced: list[tuple[str, bytes]] = []
        self._inputs: list[bytes] = []
        self._toolchain_files: list[bytes] = []
        self._plugins: list[bytes] = []
        self._pch: bytes | None = None
        self._profiles: list[bytes] = []
        self._reads_profile = False
        self._assembler_directories: list[bytes] = []
        self._defines: list[bytes] = []
        self._time_macros: list[bytes] = []
        self._machine: list[bytes] = []
        self._architectures = 0
        self._is_windows = False
        self._has_trigraphs = False
        self._seen: set[bytes] = set()

    # -- the walk ---------------------------------------------------------------------------------

    def read(self, words: Sequence[bytes]) -> None:
        at = 0
        while at < len(words):
            word = words[at]
            at += 1
            if not word.startswith(b"-") or word == b"-":
                self._read_source(word, at - 1)
            elif word == b"--":
                self._words.append(Word((word,), Role.CARRIED, asks=(word,)))
                if self._family is Family.GCC:
                    self._stays("end-of-options", word)
                for place in range(at, len(words)):
                    self._read_source(words[place], place)
                break
            else:
                plain = _plain(word, self._family)
                if plain is not None:
                    self._words.append(plain)
                    continue
                operand = words[at] if at < len(words) else None
                at += self._read_option(word, operand)
        for table, nested in self._nested.items():
            self._read_nested(table, nested)

    def _read_option(self, word: bytes, following: bytes | None) -> int:
        """Reads an option; how many words behind it belong to it."""
        match = DRIVER[self._family].find(word)
        if match is None:
            if looks_like_files(word):
                self._stays("unknown-option", word)
            self._words.append(Word((word,), Role.UNKNOWN, asks=(word,), searches=True))
            return 0
        option, operand = match.option, match.operand
        arguments: tuple[bytes, ...] = (word,)
        if match.takes_next:
            if following is None:
                self._stays("missing-operand", word)
                return 0
            operand = following
            arguments = (word, following)
        role, note = self._take(option, operand, word)
        asks = () if role in _WITHOUT_QUESTION else arguments
        if role is Role.NESTED:
            asks = self._keep_nested(option, operand or b"", arguments)
        searches = option.searches and option.means != b"-x"
        self._words.append(Word(arguments, role, note, asks, searches))
        return len(arguments) - 1

    def _read_source(self, name: bytes, place: int) -> None:
        self.source_places.append(place)
        self._words.append(Word((name,), Role.SOURCE, asks=(name,)))
        if self._named is not None:
            language = languages.language_named(self._named)
            reason = languages.reason_against_language(self._named)
        else:
            language = languages.language_of(name, self._family, self._is_cxx)
            reason = languages.reason_against_source(name)
        self._sources.append((name, language, reason))

    def _keep_nested(
        self, option: Option, operand: bytes, arguments: tuple[bytes, ...]
    ) -> tuple[bytes, ...]:
        """Puts a word for another program by; what of it stands in the question for dependencies."""
        match option.means:
            case b"-Wp,":
                self._nested[IN_PREPROCESSOR] += operand.split(b",")
                return ()
            case b"-Wa,":
                self._nested[IN_ASSEMBLER] += operand.split(b",")
                return ()
            case b"-Xpreprocessor":
                self._nested[IN_PREPROCESSOR].append(operand)
                return ()
            case b"-Xassembler":
                self._nested[IN_ASSEMBLER].append(operand)
                return ()
            case b"-mllvm":
                if names_file(operand):
                    self._stays("nested-option", operand)
                return arguments
            case _:
                self._nested[IN_FRONTEND].append(operand)
                return arguments

    def _read_nested(self, table: Lookup, words: list[bytes]) -> None:
        at = 0
        while at < len(words):
            word = words[at]
            at += 1
            match = table.find(word)
            operand = None if match is None else match.operand
            own: tuple[bytes, ...] = (word,)
            if match is not None and match.takes_next and at < len(words):
                operand = words[at]
                own = (word, operand)
                at += 1
            if match is None or (match.takes_next and operand is None):
                self._stays("nested-option", word)
                continue
            if table is IN_ASSEMBLER and match.option.role is Role.SEARCH:
                self._assembler_directories.append(operand or b"")
                continue
            role, note = self._take(match.option, operand, word)
            if table is IN_PREPROCESSOR and role not in _WITHOUT_QUESTION:
                # They are no arguments of their own, but the question has to repeat them.
                asks = tuple(part for one in own for part in (b"-Xpreprocessor", one))
                self._words.append(Word((), role, note, asks, searches=role is Role.SEARCH))

    # -- what each role does ----------------------------------------------------------------------

    def _take(self, option: Option, operand: bytes | None, word: bytes) -> tuple[Role, str]:
        """Acts on an option; its role here and a note."""
        value = operand or b""
        self._seen.add(option.means)
        match option.role:
            case Role.LOCAL:
                self._stays(option.reason, word)
                return Role.LOCAL, option.reason
            case Role.GUARDED:
                if names_file(word):
                    self._stays("unknown-option", word)
                return Role.CARRIED, ""
            case Role.MACHINE:
                if value != b"native" and not value.startswith(b"native+"):
                    return Role.CARRIED, ""
                self._machine.append(word)
            case Role.DEFINE:
                self._defines.append(value)
                times = _TIME_MACRO.findall(value.partition(b"=")[2])
                self._time_macros += times
                if times:
                    return Role.TIME, "the clock's value"
            case Role.MODE:
                self._take_mode(option)
            case Role.LANGUAGE:
                self._take_language(option, value)
            case Role.SEARCH:
                self._take_search(option, value)
            case Role.FORCED_INCLUDE:
                self._forced.append((option.means.lstrip(b"-").decode(), value))
            case Role.EXTRA_INPUT:
                self._take_input(option, value, word)
            case Role.OUTPUT:
                self._take_output(option, value, word)
            case Role.DEPFILE:
                self._take_depfile(option, operand)
            case _:
                return option.role, ""
        return option.role, fsdecode(value)

    def _take_mode(self, option: Option) -> None:
        if option.means == b"-emit-llvm":
            self._is_bitcode = True
        elif option.means == b"-S":
            self._stops_at = StopsAt.ASSEMBLY
        elif self._stops_at is None:
            self._stops_at = StopsAt.OBJECT

    def _take_language(self, option: Option, value: bytes) -> None:
        match option.means:
            case b"-x":
                self._named = None if value == b"none" else value
            case b"-std=":
                self._has_trigraphs |= _STRICT_STANDARD.match(value) is not None
            case b"-ObjC":
                self._named = languages.OBJC.encode()
            case b"-ObjC++":
                self._named = languages.OBJCXX.encode()
            case b"-ansi" | b"-trigraphs":
                self._has_trigraphs = True

    def _take_search(self, option: Option, value: bytes) -> None:
        if option.means == b"-arch":
            self._architectures += 1
            if self._architectures > 1:
                self._stays("multiple-arch", value)
        elif option.means == b"-target":
            self._is_windows = b"windows" in value or b"win32" in value

    def _take_input(self, option: Option, value: bytes, word: bytes) -> None:
        if option.means == b"-include-pch":
            self._pch = value
        elif option.means in _PROFILES:
            # A directory, mostly: the file in it has a derived name.
            self._profiles.append(value)
            self._reads_profile = True
        elif option.means == b"-fauto-profile=" and not value:
            self._inputs.append(b"fbdata.afdo")
        elif option.means in _PLUGINS:
            self._plugins.append(value)
            if b"/" not in value:
                self._stays("plugin", word)
            self._inputs.append(value)
        elif option.means == b"-specs" and b"/" not in value:
            self._toolchain_files.append(value)
        elif value not in _STREAMS:
            self._inputs.append(value)

    def _take_output(self, option: Option, value: bytes, word: bytes) -> None:
        match option.means:
            case b"-o":
                self._output = value
            case b"-gsplit-dwarf" if value == b"single":
                return
            case b"-fprofile-dir=":
                self._profiles.append(value)
            case b"-save-temps":
                self._saves_temps = value
            case b"-save-stats":
                self._statistics = value
            case b"-ftime-trace" if value:
                self._time_trace = value
            case means if means in _DUMPS and b"=" not in value:
                self._stays("dump-output", word)
            case means if means in (b"-fopt-info", b"-a", *_DUMPS):
                self._write(value.partition(b"=")[2])
            case _ if option.derives:
                self._suffixes += option.derives
                self._writes_notes |= b".gcno" in option.derives
            case _:
                self._write(value)

    def _take_depfile(self, option: Option, operand: bytes | None) -> None:
        if option.means in (b"-MD", b"-MMD"):
            if operand is None:
                self._writes_default_depfile = True
            else:
                self._write(operand)
        elif option.means == b"-MF":
            self._names_depfile = True
            self._write(operand or b"")

    def _write(self, name: bytes) -> None:
        if name in _STREAMS:
            return
        if _is_device(name):
            self._stays("output-to-device", name)
        self._side_files.append(name)

    def _stays(self, reason: str, word: bytes) -> None:
        self._locals.append(Local(reason, fsdecode(word)))

    # -- the whole --------------------------------------------------------------------------------

    def conclude(self, cwd: bytes, response_files: list[bytes]) -> Compilation | Local:
        local = self._why_local()
        if local is not None:
            return local
        source, language, _ = self._sources[0]
        assert language is not None
        assert self._stops_at is not None
        naming = self._naming(source, language, self._stops_at)
        outputs = self._outputs(naming)
        if _place(cwd, source) in {_place(cwd, name) for name in outputs}:
            return Local("output-is-source", fsdecode(source))
        return Compilation(
            source=source,
            language=language,
            stops_at=self._stops_at,
            output=naming.main,
            outputs=outputs,
            search_arguments=tuple(
                argument for word in self._words if word.searches for argument in word.asks
            ),
            forced_includes=tuple(self._forced),
            extra_inputs=tuple(dict.fromkeys(response_files + self._inputs)),
            toolchain_files=tuple(self._toolchain_files),
            plugins=tuple(self._plugins),
            include_pch=self._pch,
            assembler_directories=tuple(self._assembler_directories),
            defines=tuple(self._defines),
            time_macros=tuple(dict.fromkeys(self._time_macros)),
            profiles=tuple(self._profiles),
            gcda=naming.gcda,
            reads_profile=self._reads_profile,
            removes_profile=self._writes_notes and self._family is Family.GCC,
            machine_dependent=tuple(self._machine),
            has_trigraphs=self._has_trigraphs,
            has_depfile=bool(self._seen & {b"-MD", b"-MMD"}),
            uses_split_dwarf=b".dwo" in self._suffixes,
            is_pch_preprocessed=b"-fpch-preprocess" in self._seen,
            is_directives_only=b"-fdirectives-only" in self._seen,
            names_optional_inputs=language in languages.IS_PREPROCESSED,
            words=tuple(self._words),
        )

    def _why_local(self) -> Local | None:
        """The reason that says most about the command, where there are several."""
        by_reason = {local.reason: local for local in reversed(self._locals)}
        for reason in _OTHER_ACTIONS:
            if reason in by_reason:
                return by_reason[reason]
        for name, language, reason in self._sources:
            if language is None and reason in ("makes-pch", "modules"):
                return Local(reason, fsdecode(name))
        if self._stops_at is None:
            return Local("not-a-compile")
        return (
            # The operand of an unknown option may pass for a source.
            by_reason.get("unknown-option")
            or self._why_source_is_local()
            or self._why_output_is_local()
            or next(iter(self._locals), None)
        )

    def _why_source_is_local(self) -> Local | None:
        if not self._sources:
            return Local("no-source")
        if any(name == b"-" for name, _, _ in self._sources):
            return Local("stdin-source")
        compiled = [name for name, _, reason in self._sources if reason != "linker-input"]
        if len(compiled) > 1:
            return Local("several-sources", fsdecode(compiled[1]))
        for name, language, reason in self._sources:
            if language is None:
                return Local(reason, fsdecode(name))
        name = self._sources[0][0]
        if len(self._sources) > 1:
            return Local("several-sources", fsdecode(self._sources[1][0]))
        if name.rpartition(b"/")[2].startswith(b"conftest."):
            return Local("conftest", fsdecode(name))
        return None

    def _why_output_is_local(self) -> Local | None:
        output = self._output
        if output is None:
            if self._is_windows and self._family is Family.CLANG:
                return Local("default-output", "clang names it .obj for some targets")
        elif output == b"-":
            return Local("output-to-stdout")
        elif not output or output.endswith(b"/"):
            return Local("odd-output", fsdecode(output))
        elif _is_device(output):
            return Local("output-to-device", fsdecode(output))
        return None

    def _naming(self, source: bytes, language: str, stops_at: StopsAt) -> Naming:
        return Naming(
            family=self._family,
            source=source,
            language=language,
            output=self._output,
            is_assembly=stops_at is StopsAt.ASSEMBLY,
            is_bitcode=self._is_bitcode,
            saves_temps=self._saves_temps,
        )

    def _outputs(self, naming: Naming) -> tuple[bytes, ...]:
        names = [naming.main, *self._side_files, *naming.side_files(tuple(self._suffixes))]
        names += [name for name in naming.saved_temps() if name != naming.source]
        if self._writes_default_depfile and not self._names_depfile:
            names.append(naming.dependencies)
        if self._statistics is not None:
            names.append(naming.statistics(self._statistics))
        if self._time_trace is not None:
            names.append(naming.time_trace_in(self._time_trace))
        return tuple(dict.fromkeys(names))


# Flags repeat in every command: remembering them takes 87 words from 970 to 400 us (medians, loaded machine).
@lru_cache(maxsize=4096)
def _plain(word: bytes, family: Family) -> Word | None:
    """The word, where it takes no other and being carried is all there is to it."""
    match = DRIVER[family].find(word)
    if match is None or match.takes_next:
        return None
    role = match.option.role
    if role is Role.CARRIED or (role is Role.GUARDED and not names_file(word)):
        return Word((word,), Role.CARRIED, asks=(word,), searches=match.option.searches)
    return None


def _is_device(name: bytes) -> bool:
    return name.startswith((b"/dev/", b"/proc/")) and not name.startswith(b"/dev/shm/")


def _place(cwd: bytes, name: bytes) -> bytes:
    """Good enough to see that one name is another; a link between them is the disk's affair."""
    return posixpath.normpath(posixpath.join(cwd, name))
