"""A job whose outputs have neutral names, so that `-o` does not split the key where it changes no byte. Pure.

Owns the choice of the commands for which that may be, their translation, and that of what comes back. The
compiler really runs with the neutral name, on the node and in the key; so what comes back is what that
command writes, and the one thing that needs to be shown is that the name reaches no byte of it.

What is safe about it: options are taken by an allow-list (`commandline/nameless_options.py`), and a test
compiles each under two names. Beyond it the neutral name is one that nothing else has. Where an output or a
message holds it, or the compiler has looked for a file beside its output (a profile), the result is refused,
and the command compiled as it stands. The one text that holds it by right is the dependency file, whose rule
is written anew.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from zcc.compiler.commandline.compilation import Compilation, NeutralCommand, Word
from zcc.compiler.commandline.languages import IS_ASSEMBLY
from zcc.compiler.commandline.nameless_options import (
    ASSEMBLER,
    DEBUG,
    FEATURES,
    ONLY_OFF,
    PREPROCESSOR,
    ROWS,
)
from zcc.compiler.commandline.tables import DRIVER, Family, Role
from zcc.job import Job, Lookups, Manifest, Result

NEUTRAL_DIRECTORY = b"/zcc-outputs-c41f9a6e"
# `-o /dev/null`: a farm makes it under the neutral name, and nobody places it.
DROPPED = b"/dev/null"
# Longer than a line of a dependency file, so that every rule shows how its compiler breaks lines.
_STEM = NEUTRAL_DIRECTORY + b"/" + b"output-" * 9
NEUTRAL_OBJECT = _STEM + b".o"
NEUTRAL_DEPENDENCIES = _STEM + b".d"
# Targets that make, and each compiler with `-MT` and `-MQ` alike, take as they are.
_PLAIN = re.compile(rb"[A-Za-z0-9_./@+,=-]+")
# Names with these stand in a rule as no rule with another target can be written anew (dependency_file.py).
_ESCAPED = re.compile(rb"[\\$#%\s]")
_IN_RULES = (Role.SOURCE, Role.SEARCH, Role.FORCED_INCLUDE)
# In one word, or in two of those for the assembler.
_PREFIX_MAP = re.compile(rb"-prefix-map[=,]")
# gcc leaves it out of targets (apply_vpath in libcpp/mkdeps.cc).
_HERE = re.compile(rb"\A(?:\./+)+")


@dataclass(frozen=True, slots=True)
class Renaming:
    """How this command's outputs are called here: physical paths, and the rule's target as spelled.

    `dependencies` is None for a command that writes no dependency file. `directories` are those of both.
    """

    family: Family
    arguments: tuple[bytes, ...]
    main: bytes
    dependencies: bytes | None
    target: bytes
    directories: tuple[bytes, ...]

    def restored_path(self, path: bytes) -> bytes:
        if path == NEUTRAL_OBJECT:
            return self.main
        if path == NEUTRAL_DEPENDENCIES and self.dependencies is not None:
            return self.dependencies
        return path


def neutral_command(words: Sequence[Word], family: Family, language: str) -> NeutralCommand | None:
    """The command of these words with neutral names; None where a name may count, or there is doubt.

    The words have to be the command's own: none out of a response file.
    """
    if language in IS_ASSEMBLY or not all(is_nameless(word, family) for word in words):
        return None
    if any(may_map(word, NEUTRAL_OBJECT) for word in words):
        return None  # where the name had got into an output, nothing could tell
    named = _operands(words, family, b"-o")
    files = _operands(words, family, b"-MF")
    targets = _operands(words, family, b"-MT", b"-MQ")
    asks = _operands(words, family, b"-MD", b"-MMD")
    if len(named) != 1 or max(len(files), len(targets), len(asks)) > 1:
        return None
    target = targets[0] if targets else named[0]
    if family is Family.GCC:
        target = _HERE.sub(b"", target)
    is_odd = not asks and any(word.role is Role.DEPFILE for word in words)
    if is_odd or (asks and not (_PLAIN.fullmatch(target) and _are_plain_in_rules(words))):
        return None
    arguments = [argument for word in words for argument in _renamed_word(word, family)]
    return NeutralCommand(tuple(arguments), target, bool(asks))


def _are_plain_in_rules(words: Sequence[Word]) -> bool:
    """Whether the names that this command gives to a dependency file are the same in it."""
    named = (argument for word in words if word.role in _IN_RULES for argument in word.arguments)
    return not any(map(_ESCAPED.search, named))


def find_renaming(
    parsed: Compilation, family: Family, outputs: Sequence[bytes], directories: Sequence[bytes]
) -> Renaming | None:
    """How the outputs of this command may be renamed; None where they may not.

    `outputs` are the places of `parsed.outputs`, `directories` those that they are in, as spelled and as
    they are.
    """
    neutral = parsed.neutral
    if neutral is None or len(outputs) != 1 + neutral.has_dependencies:
        return None
    places = {posixpath.dirname(path) for path in outputs if path != DROPPED}
    if any(_plainly(directory) not in places for directory in directories):
        return None  # a link on the way
    return Renaming(
        family=family,
        arguments=neutral.arguments,
        main=outputs[0],
        dependencies=outputs[1] if neutral.has_dependencies else None,
        target=neutral.target,
        directories=tuple(sorted(places)),
    )


def renamed(job: Job, renaming: Renaming) -> Job:
    """The job with neutral names for its outputs."""
    outputs = [NEUTRAL_OBJECT]
    if renaming.dependencies is not None:
        outputs.append(NEUTRAL_DEPENDENCIES)
    return replace(
        job,
        argv=(job.argv[0], *renaming.arguments),
        manifest=with_directories(job.manifest, (NEUTRAL_DIRECTORY,)),
        outputs=tuple(outputs),
    )


def with_directories(manifest: Manifest, more: Sequence[bytes]) -> Manifest:
    return replace(manifest, directories=tuple(sorted({*manifest.directories, *more})))


def restored(result: Result, renaming: Renaming) -> Result:
    """The result with its outputs' real paths.

    A look-up beside the output says that its name counts: such a log proves nothing about the real one.
    """
    lookups = result.lookups
    looked = [at for at, _ in lookups.misses] + list(lookups.undeclared)
    if any(holds_neutral(path) for path in looked):
        lookups = Lookups(flaw=lookups.flaw or "looked for files beside the output")
    outputs = tuple(
        replace(output, path=renaming.restored_path(output.path)) for output in result.outputs
    )
    return replace(result, outputs=outputs, lookups=lookups)


def holds_neutral(content: bytes) -> bool:
    """Whether the neutral name has got into what must not hold it."""
    return NEUTRAL_DIRECTORY in content


def is_nameless(word: Word, family: Family) -> bool:
    """Whether no name of a file that this command writes gets into its outputs on account of this word."""
    if word.role is Role.SOURCE or not word.arguments:
        return True
    first = word.arguments[0]
    match = DRIVER[family].find(first)
    if match is None:
        return False
    means = match.option.means
    if means == b"-g":
        return DEBUG.fullmatch(first) is not None
    if match.option.name.startswith(b"-f") and means not in ROWS:
        return _is_nameless_feature(first)
    if means == b"-Wp,":
        return all(PREPROCESSOR.fullmatch(each) for each in (match.operand or b"").split(b","))
    if means == b"-Wa,":
        return ASSEMBLER.issuperset((match.operand or b"").split(b","))
    return means in ROWS


def may_map(word: Word, path: bytes) -> bool:
    """Whether a prefix map in this word, for the compiler or the assembler, may give this path another name."""
    return any(path.startswith(old) for old in old_prefixes(word))


def old_prefixes(word: Word) -> list[bytes]:
    """All that this word's prefix maps may replace. They replace the beginning of a text, not of a path:
    `/z=/src` makes `/srcoo` of `/zoo`. Which `=` parts the two differs between compilers: every one counts.
    The assembler's may stand in the next word: that may be anything."""
    text = b",".join(word.arguments)
    if b"-prefix-map" not in text:
        return []
    if text.endswith(b"-prefix-map"):
        return [b""]
    return [
        text[begin.end() : end.start()]
        for begin in _PREFIX_MAP.finditer(text)
        for end in re.finditer(b"=", text)
        if end.start() >= begin.end()
    ]


def _is_nameless_feature(word: bytes) -> bool:
    name = word[2:].partition(b"=")[0]
    if name.startswith(b"no-"):
        return name[3:] in FEATURES
    return name in FEATURES and name not in ONLY_OFF


def _renamed_word(word: Word, family: Family) -> tuple[bytes, ...]:
    match _means(word, family)[0]:
        case b"-o":
            return (b"-o", NEUTRAL_OBJECT)
        case b"-MF":
            return (b"-MF", NEUTRAL_DEPENDENCIES)
        case b"-MT" | b"-MQ" as option:
            return (option, NEUTRAL_OBJECT)
    return word.arguments


def _operands(words: Sequence[Word], family: Family, *means: bytes) -> list[bytes]:
    """The operands of the options that mean one of these."""
    found = (_means(word, family) for word in words)
    return [operand for meant, operand in found if meant in means]


def _means(word: Word, family: Family) -> tuple[bytes, bytes]:
    """What an option that names outputs means, and its operand; empty for any other word."""
    if not word.arguments or word.role not in (Role.OUTPUT, Role.DEPFILE):
        return b"", b""
    match = DRIVER[family].find(word.arguments[0])
    assert match is not None
    return match.option.means, word.arguments[1] if match.takes_next else match.operand or b""


def _plainly(directory: bytes) -> bytes:
    """Without `.`; one with `..` on the way stays as it is."""
    return directory if b".." in directory.split(b"/") else posixpath.normpath(directory)
