"""What one compile is: the outcome of reading its command line. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from zcc.compiler.commandline.tables import Role
from zcc.compiler.text.lexing import Lexis
from zcc.reasons import Reason


class StopsAt(Enum):
    OBJECT = "object"
    ASSEMBLY = "assembly"


@dataclass(frozen=True, slots=True)
class Local:
    """The command has to run here. `detail` is what is special about it, for people."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """One or two arguments that belong together, and what zcc makes of them.

    `asks`: what stands for them when the compiler is asked for its dependencies. `searches`: whether they
    can move the search list. `note` is the file named, or what else is worth saying.
    """

    arguments: tuple[bytes, ...]
    role: Role
    note: str = ""
    asks: tuple[bytes, ...] = ()
    searches: bool = False


@dataclass(frozen=True, slots=True)
class NeutralCommand:
    """The command with neutral names for its outputs, as `neutral/renaming.py` makes it. `target` is what the
    rule in the dependency file is for, where there is such a file."""

    arguments: tuple[bytes, ...]
    target: bytes
    has_dependencies: bool


@dataclass(frozen=True, slots=True)
class Compilation:
    """One source to one object or assembly. Paths are as spelled: relative ones are relative to the cwd.

    `outputs` are all files that the command may write, the main one first, but for dumps, of which `dumps` are
    the bases. `search_arguments` are the words that can move the search list, `-x` not among them.
    `forced_includes` are (`include` or `imacros`, name) in order. `extra_inputs` have to exist;
    `toolchain_files` are names that the compiler looks up among its own, `probed_files` such as need not be
    there. `plugins` are those inputs that are run, `plugin_names` what gcc finds among its own plugins,
    `plugin_arguments` may be names of files. `module_maps` are the inputs that name further files.
    `has_modules`: gcc's are on, and the file `module_mapper` names where they lie. `specs` are the inputs that
    may name plugins (among the compiler's own where they have no slash), `sysroots` where whole
    installations are said to lie, `charsets` the sets of characters that gcc converts. `profiles` are where
    profiles are said to lie, `gcda` is what gcc calls one by itself (toolchain/profiles.py has the rest);
    `removes_profile`: gcc does so, where one is there. `time_macros` stand in `-D`: their value is that of
    this machine's clock. `tells_precompiled`: messages name each precompiled header that gcc tries.
    `lexis` is for a compiler of today. `is_assembled_apart`: clang's own assembler runs by itself.
    `assembler_sources` are read before what the compiler makes, as by `-Wa,macros.s`. `neutral` is None where
    the outputs' names may reach what is in them.
    """

    source: bytes
    language: str
    stops_at: StopsAt
    output: bytes
    outputs: tuple[bytes, ...]
    dumps: tuple[bytes, ...]
    search_arguments: tuple[bytes, ...]
    forced_includes: tuple[tuple[str, bytes], ...]
    extra_inputs: tuple[bytes, ...]
    toolchain_files: tuple[bytes, ...]
    probed_files: tuple[bytes, ...]
    plugins: tuple[bytes, ...]
    plugin_names: tuple[bytes, ...]
    plugin_arguments: tuple[bytes, ...]
    charsets: tuple[bytes, ...]
    module_maps: tuple[bytes, ...]
    has_modules: bool
    module_mapper: bytes | None
    specs: tuple[bytes, ...]
    sysroots: tuple[bytes, ...]
    include_pch: bytes | None
    assembler_directories: tuple[bytes, ...]
    assembler_sources: tuple[bytes, ...]
    defines: tuple[bytes, ...]
    time_macros: tuple[bytes, ...]
    profiles: tuple[bytes, ...]
    gcda: bytes
    reads_profile: bool
    removes_profile: bool
    machine_dependent: tuple[bytes, ...]
    tells_precompiled: bool
    lexis: Lexis
    is_assembled_apart: bool
    words: tuple[Word, ...]
    neutral: NeutralCommand | None

    @property
    def unknown_options(self) -> tuple[bytes, ...]:
        """What no row of the table fits, carried as it is."""
        return tuple(word.arguments[0] for word in self.words if word.role is Role.UNKNOWN)

    @property
    def role_of(self) -> tuple[tuple[bytes, Role, str], ...]:
        """(argument, its role, a note), for people to read."""
        return tuple(
            (argument, word.role, word.note) for word in self.words for argument in word.arguments
        )
