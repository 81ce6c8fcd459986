"""A job moved to a neutral root, so that checkouts in different places have one key. Pure.

Owns the translation of a job's paths from below the *base* (the checkout's root) to below NEUTRAL, and of what
comes back the other way. The compiler runs at NEUTRAL with `-ffile-prefix-map=NEUTRAL=.`, so that debug
information and `__FILE__` name files relative to the base, whichever base that is.

What is safe about it: options are taken by an allow-list, since some write a path down in a form that cannot be
recognised (compressed, hashed, `/` as `#`) or look for files by such a name. Beyond it NEUTRAL is a name that
nothing else has. A path that should have been translated and was not (in a header's text, say) is looked up in
vain on the node, and back here that look-up names a file that exists: the proof fails. One that was and should
not have been contains NEUTRAL, is translated back wherever it stands, and fails likewise. NEUTRAL left in the
object, or in any output that is no text, refuses the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from zcc.compiler.commandline.compilation import Word
from zcc.compiler.commandline.tables import DRIVER, Family, Role
from zcc.compiler.neutral.renaming import is_nameless, may_map, old_prefixes
from zcc.job import Job, Lookups, Manifest, Result

NEUTRAL = b"/zcc-base-5d1c8e7a"
PREFIX_MAP = b"-ffile-prefix-map=" + NEUTRAL + b"=."
# What may stand before the base within an argument, besides the option's own letters.
_OPENERS = frozenset(b"=:,\"'( ")
_CLOSERS = frozenset(b"/=:,\"') ")
# Options whose directory or file is glued to them.
_GLUED = (
    b"-I", b"-iquote", b"-isystem", b"-idirafter", b"-include", b"-imacros", b"-isysroot", b"-iprefix",
    b"-o", b"-MF", b"-MT", b"-MQ", b"-B", b"-F", b"-L",
)  # fmt: skip
# Their text gets into the program: it has to name the real place.
_TEXT = (b"-D", b"-U", b"-A")
# What no rule of make, no message and no option writes in another way.
_PLAIN = re.compile(rb"/[A-Za-z0-9._/+@~-]+")


# Their text counts and not only what it names, wherever they are spelled in another way than _TEXT.
_TEXT_ROWS = frozenset((b"-D", b"-U", b"-A", b"-Wp,", b"-frandom-seed="))
# Not nameless, but what they write down can be recognised; compressed it could not.
_PLAIN_SIDE_OUTPUTS = frozenset((b"-fstack-usage", b"-gsplit-dwarf"))

_Translation = Callable[[bytes], bytes]


def is_movable(
    words: Sequence[Word], family: Family, base: bytes, *, types_name_files: bool = False
) -> bool:
    """Whether what the command of these words writes depends on where the base is in no other way than
    `relocated` and `restored` know.

    `types_name_files`: as clang's before 19 do in `__PRETTY_FUNCTION__` (`lambda at /p/x.cc:1:2`), whatever the
    prefix map says. What is computed of such a text at compile time shows nowhere.
    """
    if types_name_files and any(
        base in argument
        for word in words
        if word.role not in (Role.OUTPUT, Role.DEPFILE)
        for argument in word.arguments
    ):
        return False
    is_compressed = any(word.arguments[:1] and word.arguments[0][:3] == b"-gz" for word in words)
    return all(_is_movable(word, family, base, is_compressed) for word in words)


def _is_movable(word: Word, family: Family, base: bytes, is_compressed: bool) -> bool:
    if word.role is Role.SOURCE or not word.arguments:
        return True
    first = word.arguments[0]
    if any(old != base and base.startswith(old) for old in old_prefixes(word)):
        return False  # which of the two maps comes first is the compiler's to say
    if may_map(word, NEUTRAL):
        return False  # it would take for its own what is only there on the farm
    if not is_nameless(word, family):
        return not is_compressed and first in _PLAIN_SIDE_OUTPUTS
    if first.startswith(_TEXT) or not any(base in argument for argument in word.arguments):
        return True
    match = DRIVER[family].find(first)
    return match is not None and match.option.means not in _TEXT_ROWS


def relocated(job: Job, base: bytes) -> Job | None:
    """The job at the neutral root; None when something speaks against it.

    `base` is an absolute physical directory that holds the working directory.
    """
    if not _is_below(job.cwd, base) or not _PLAIN.fullmatch(base):
        return None
    if job.dumps or job.listed:
        return None  # too rare to be told apart from what names the base
    argv = _relocated_arguments(job.argv, base)
    manifest = job.manifest
    there = _there(base)
    if argv is None or any(_is_below(target, base) for _, target in manifest.symlinks):
        return None
    return replace(
        job,
        argv=argv,
        executable=there(job.executable),
        cwd=there(job.cwd),
        environment=tuple((name, _list_there(value, base)) for name, value in job.environment),
        manifest=Manifest(
            files=tuple(
                sorted(
                    (replace(each, path=there(each.path)) for each in manifest.files),
                    key=lambda each: each.path,
                )
            ),
            symlinks=tuple(sorted((there(path), target) for path, target in manifest.symlinks)),
            directories=tuple(sorted(map(there, manifest.directories))),
            hard_links=tuple(
                sorted((there(path), there(same)) for path, same in manifest.hard_links)
            ),
        ),
        outputs=tuple(map(there, job.outputs)),
    )


def restored(result: Result, base: bytes) -> Result:
    """The result as if the job had run at `base`: messages, output paths, look-ups."""
    lookups = result.lookups
    return replace(
        result,
        stdout=result.stdout.replace(NEUTRAL, base),
        stderr=result.stderr.replace(NEUTRAL, base),
        outputs=tuple(
            replace(output, path=restored_path(output.path, base)) for output in result.outputs
        ),
        lookups=Lookups(
            misses=tuple((at.replace(NEUTRAL, base), names) for at, names in lookups.misses),
            undeclared=tuple(path.replace(NEUTRAL, base) for path in lookups.undeclared),
            flaw=lookups.flaw,
        ),
    )


def is_wrapped(result: Result, job: Job, family: Family) -> bool:
    """Whether a message's lines may end where they do because it names NEUTRAL: they had a length to keep to,
    which clang takes from a terminal too. `result` is as it came."""
    lengths = {word.partition(b"=")[2] for word in job.argv if b"-fmessage-length=" in word}
    is_limited = bool(lengths - {b"0"}) or (family is Family.CLANG and job.terminal is not None)
    return is_limited and NEUTRAL in result.stderr


def restored_path(path: bytes, base: bytes) -> bytes:
    return path.replace(NEUTRAL, base)


def restored_content(content: bytes, base: bytes, *, is_main: bool) -> bytes | None:
    """An output's bytes as they belong at `base`; None for one that names NEUTRAL and must not.

    Side outputs that are texts (dependency file, stack usage) name files for other programs to find.
    """
    if NEUTRAL not in content:
        return content
    return None if is_main or b"\0" in content else content.replace(NEUTRAL, base)


def neutral_misses(
    misses: Sequence[tuple[bytes, tuple[bytes, ...]]], base: bytes
) -> tuple[tuple[bytes, tuple[bytes, ...]], ...]:
    """Look-ups made below `base`, as another checkout can check them. The inverse of `restored`."""
    there = _there(base)
    return tuple((there(at), names) for at, names in misses)


def _there(base: bytes) -> _Translation:
    def translate(path: bytes) -> bytes:
        return NEUTRAL + path[len(base) :] if _is_below(path, base) else path

    return translate


def _list_there(value: bytes, base: bytes) -> bytes:
    """A path, or several with colons between them (PWD, PATH, CPATH)."""
    return b":".join(map(_there(base), value.split(b":")))


def _is_below(path: bytes, base: bytes) -> bool:
    return path == base or path.startswith(base + b"/")


def _relocated_arguments(argv: Sequence[bytes], base: bytes) -> tuple[bytes, ...] | None:
    """The arguments with the prefix map in front; None when one names the base in a way that is not
    understood, or is a response file, whose text would have to be changed."""
    moved = []
    is_text = False
    for argument in argv:
        if argument.startswith(b"@"):
            return None
        is_own_text = argument.startswith(_TEXT)
        if base not in argument or is_text or is_own_text:
            moved.append(argument)
        else:
            changed = _relocated_argument(argument, base)
            if changed is None:
                return None
            moved.append(changed)
        is_text = argument in _TEXT
    return (moved[0], PREFIX_MAP, *moved[1:])


def _relocated_argument(argument: bytes, base: bytes) -> bytes | None:
    pieces = argument.split(base)
    for at, (before, after) in enumerate(pairwise(pieces)):
        is_glued = at == 0 and before in _GLUED
        if not (is_glued or not before or before[-1] in _OPENERS):
            return None
        if after and after[0] not in _CLOSERS:
            return None
    return NEUTRAL.join(pieces)
