"""The names of the files that a compile writes, as gcc and clang derive them. Pure.

gcc since 11 (older ones give the same names but for -save-temps, see there) names side files after the
output where `-o` names one, else after the source, in the cwd. clang likewise; where the two differ it is
said below. All found by running gcc 12 and clang 14, and held to by a test that does so again.
"""

from __future__ import annotations

from dataclasses import dataclass

from zcc.compiler.commandline.languages import (
    ASSEMBLER,
    IS_ASSEMBLY,
    IS_PREPROCESSED,
    PREPROCESSED_SUFFIX,
)
from zcc.compiler.commandline.tables import Family


@dataclass(frozen=True, slots=True)
class Naming:
    """What the names are made of: the source and `-o` as spelled (None: not given).

    `compilation_dir` is the last operand of clang's `-fdebug-compilation-dir` and `-ffile-compilation-dir`.
    """

    family: Family
    source: bytes
    language: str
    output: bytes | None
    is_assembly: bool
    is_bitcode: bool
    saves_temps: bytes | None  # None, or the operand of -save-temps=, empty for a bare one
    has_response_file: bool
    compilation_dir: bytes

    @property
    def main(self) -> bytes:
        """The object, or with `-S` the assembly."""
        if self.output is not None:
            return self.output
        return self._source_stem + self._main_suffix

    @property
    def dependencies(self) -> bytes:
        """Where `-MD` and `-MMD` write without `-MF`."""
        if self.output is None:
            return self._source_stem + b".d"
        return _any_stem(self.output) + b".d"

    @property
    def gcda(self) -> bytes:
        """The profile that gcc removes when it writes new notes."""
        return self._auxiliary + b".gcda"

    def side_files(self, suffixes: tuple[bytes, ...]) -> list[bytes]:
        """What an option with these suffixes (`Option.derives`) writes."""
        return [name for suffix in suffixes for name in self._side_names(suffix)]

    @property
    def dumps(self) -> bytes:
        """What the names of gcc's dumps begin with."""
        return self._auxiliary + _suffix(self.source)

    def saved_temps(self) -> list[bytes]:
        """What `-save-temps` keeps, at most."""
        if self.saves_temps is None:
            return []
        if self.family is Family.CLANG:
            return self._saved_by_clang()
        # gcc before 11 takes a bare -save-temps for =cwd, and names after the source there.
        stems = {self._auxiliary}
        if self.saves_temps != b"obj":
            stems.add(self._source_stem)
        suffixes = [b".s"]
        if self.language not in IS_PREPROCESSED and self.language != ASSEMBLER:
            suffixes.append(PREPROCESSED_SUFFIX[self.language])
        names = [stem + suffix for stem in sorted(stems) for suffix in dict.fromkeys(suffixes)]
        if self.has_response_file:
            # The driver hands `-I` on in a file of its own (gcc/gcc.cc, make_at_file).
            beside = _directory(self.output or b"") if self.saves_temps == b"obj" else b""
            names.append((beside or b"a") + b".args.0")
        return names

    def statistics(self, operand: bytes) -> list[bytes]:
        """What clang's `-save-stats[=cwd|obj]` writes. `obj` is beside what the step writes, saved or not."""
        places = [operand] if self.saves_temps is None else [operand, self.saves_temps]
        return [self._beside(place) + b".stats" for place in places]

    def time_trace_in(self, operand: bytes) -> bytes:
        """What clang's `-ftime-trace=DIR/` writes; without the slash the operand is the file."""
        return (
            operand + _base(_any_stem(self.main)) + b".json" if operand.endswith(b"/") else operand
        )

    def _side_names(self, suffix: bytes) -> list[bytes]:
        if suffix == b".dwo":
            return self._split_debug()
        if suffix.startswith(b"^"):
            # gcc since 13: its base name for dumps, with the output's directory or without, else the source's.
            name = self._auxiliary + _suffix(self.source)
            return [at + suffix[1:] for at in (name, _base(name), _base(self.source))]
        if suffix == b".json" and self.family is Family.CLANG and self.saves_temps is not None:
            # A trace lies beside what the step that it is of writes, which is one of the saved files.
            return [self._auxiliary + suffix, self._beside(self.saves_temps) + suffix]
        if suffix.startswith(b"*"):
            return [self._auxiliary + _suffix(self.source) + suffix[1:]]
        return [self._auxiliary + suffix]

    def _split_debug(self) -> list[bytes]:
        if self.family is Family.CLANG and (self.is_assembly or self.output is None):
            # It forgets about -o here; until clang 16 it puts the directory in front as it is, without a slash.
            name = self._source_stem + b".dwo"
            return [self.compilation_dir + name, name] if self.compilation_dir else [name]
        # gcc extracts it from the object.
        return [] if self.is_assembly else [self._auxiliary + b".dwo"]

    @property
    def _auxiliary(self) -> bytes:
        """What suffixes are put behind: gcc's aux name."""
        if self.output is None:
            return self._source_stem
        if self.family is Family.CLANG:
            return _any_stem(self.output)
        stem = _stem(self.output)
        return _base(stem) if self.saves_temps == b"cwd" else stem

    @property
    def _source_stem(self) -> bytes:
        return _stem(_base(self.source))

    @property
    def _main_suffix(self) -> bytes:
        if self.is_bitcode and self.language not in IS_ASSEMBLY:
            return b".ll" if self.is_assembly else b".bc"
        return b".s" if self.is_assembly else b".o"

    def _saved_by_clang(self) -> list[bytes]:
        stem = self._beside(self.saves_temps or b"")
        suffixes = [PREPROCESSED_SUFFIX[self.language], b".bc", b".s"]
        if self.is_bitcode:
            suffixes += [b".tmp.bc", b".ll"]
        return [stem + suffix for suffix in dict.fromkeys(suffixes)]

    def _beside(self, operand: bytes) -> bytes:
        """The source's stem, in the output's directory for `obj`, else in the cwd."""
        if operand == b"obj" and self.output is not None:
            return _directory(self.output) + self._source_stem
        return self._source_stem


def _directory(path: bytes) -> bytes:
    """With its slash; empty for the cwd."""
    return path[: path.rfind(b"/") + 1]


def _base(path: bytes) -> bytes:
    return path[path.rfind(b"/") + 1 :]


def _suffix(path: bytes) -> bytes:
    """From the last dot of the name on, empty where it has none, or begins with its only one."""
    base = _base(path)
    dot = base.rfind(b".")
    return base[dot:] if dot > 0 else b""


def _stem(path: bytes) -> bytes:
    return path[: len(path) - len(_suffix(path))]


def _any_stem(path: bytes) -> bytes:
    """As `_stem`, but a dot that begins the name counts as well: `.x` has the empty stem."""
    dot = _base(path).rfind(b".")
    return path if dot < 0 else _directory(path) + _base(path)[:dot]
