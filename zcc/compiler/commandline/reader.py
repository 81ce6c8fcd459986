"""A command line, read word by word: what each word adds to the picture. Pure.

Owns the walk and what each role does; what the whole amounts to is arguments.py's to say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from os import fsdecode

from zcc.compiler.commandline import languages, time_macros
from zcc.compiler.commandline.compilation import Local, StopsAt, Word
from zcc.compiler.commandline.tables import (
    DRIVER,
    IN_ASSEMBLER,
    IN_FRONTEND,
    IN_PREPROCESSOR,
    Family,
    Lookup,
    Match,
    Option,
    Role,
    Use,
    looks_like_files,
    names_file,
)
from zcc.reasons import Reason

_STREAMS = (b"", b"-", b"stderr", b"stdout", b"/dev/null", b"/dev/stdout", b"/dev/stderr")
# Else it may be a program that is run, or a socket (gcc/cp/mapper-client.cc).
_MAPPER_FILE = re.compile(rb"[\w./+-]+")
_WITHOUT_QUESTION = (Role.MODE, Role.OUTPUT, Role.DEPFILE)


class Reading:
    """A command line, being read from left to right."""

    def __init__(self, family: Family, is_cxx: bool) -> None:
        self.family = family
        self._is_cxx = is_cxx
        self.words: list[Word] = []
        self.locals: list[Local] = []
        self.sources: list[tuple[bytes, str | None, Reason]] = []
        self.source_places: list[int] = []
        self._nested: dict[Lookup, list[bytes]] = {
            IN_PREPROCESSOR: [],
            IN_ASSEMBLER: [],
            IN_FRONTEND: [],
        }
        self._named: bytes | None = None  # the operand of the last -x
        self.stops_at: StopsAt | None = None
        self.is_bitcode = False
        self.output: bytes | None = None
        self.side_files: list[bytes] = []
        self.suffixes: list[bytes] = []
        self.has_dumps = False
        self.saves_temps: bytes | None = None
        self.statistics: bytes | None = None
        self.time_trace: bytes | None = None
        self.writes_default_depfile = False
        self.names_depfile = False
        self.writes_notes = False
        self.forced: list[tuple[str, bytes]] = []
        self.inputs: list[bytes] = []
        self.toolchain_files: list[bytes] = []
        self.plugins: list[bytes] = []
        self.plugin_names: list[bytes] = []
        self.plugin_arguments: list[bytes] = []
        self.module_maps: list[bytes] = []
        self.module_mapper: bytes | None = None
        self.specs: list[bytes] = []
        self.sysroots: list[bytes] = []
        self.charsets: list[bytes] = []
        self.pch: bytes | None = None
        self.profiles: list[bytes] = []
        self.reads_profile = False
        self.assembler_directories: list[bytes] = []
        self.assembler_sources: list[bytes] = []
        self.defines: list[bytes] = []
        self.machine: list[bytes] = []
        self._architectures = 0
        self.is_windows = False

    # -- the walk ---------------------------------------------------------------------------------

    def read(self, words: Sequence[bytes]) -> None:
        at = 0
        while at < len(words):
            word = words[at]
            at += 1
            if not word.startswith(b"-") or word == b"-":
                self._read_source(word, at - 1)
            elif word == b"--":
                self.words.append(Word((word,), Role.CARRIED, asks=(word,)))
                if self.family is Family.GCC:
                    self._stays(Reason.END_OF_OPTIONS, word)
                for place in range(at, len(words)):
                    self._read_source(words[place], place)
                break
            else:
                plain = _plain(word, self.family)
                if plain is not None:
                    self.words.append(plain)
                    continue
                operand = words[at] if at < len(words) else None
                at += self._read_option(word, operand)
        for table, nested in self._nested.items():
            self._read_nested(table, nested)

    def _read_option(self, word: bytes, following: bytes | None) -> int:
        """Reads an option; how many words behind it belong to it."""
        match = DRIVER[self.family].find(word)
        if match is None:
            if looks_like_files(word):
                self._stays(Reason.UNKNOWN_OPTION, word)
            self.words.append(Word((word,), Role.UNKNOWN, asks=(word,), searches=True))
            return 0
        option, operand = match.option, match.operand
        arguments: tuple[bytes, ...] = (word,)
        if match.takes_next:
            if following is None:
                self._stays(Reason.MISSING_OPERAND, word)
                return 0
            operand = following
            arguments = (word, following)
        role, note = self._take(option, operand, word)
        asks = () if role in _WITHOUT_QUESTION else arguments
        if role is Role.NESTED:
            asks = self._keep_nested(option, operand or b"", arguments)
        searches = option.searches and option.use is not Use.OF_SOURCES
        self.words.append(Word(arguments, role, note, asks, searches))
        return len(arguments) - 1

    def _read_source(self, name: bytes, place: int) -> None:
        self.source_places.append(place)
        self.words.append(Word((name,), Role.SOURCE, asks=(name,)))
        if self._named is not None:
            language = languages.language_named(self._named)
            reason = languages.reason_against_language(self._named)
        else:
            language = languages.language_of(name, self.family, self._is_cxx)
            reason = languages.reason_against_source(name)
        self.sources.append((name, language, reason))

    def _keep_nested(
        self, option: Option, operand: bytes, arguments: tuple[bytes, ...]
    ) -> tuple[bytes, ...]:
        """Puts a word for another program by; what of it stands in the question for dependencies."""
        match option.use:
            case Use.PREPROCESSOR_LIST:
                self._nested[IN_PREPROCESSOR] += operand.split(b",")
                return ()
            case Use.ASSEMBLER_LIST:
                self._nested[IN_ASSEMBLER] += operand.split(b",")
                return ()
            case Use.PREPROCESSOR_WORD:
                self._nested[IN_PREPROCESSOR].append(operand)
                return ()
            case Use.ASSEMBLER_WORD:
                self._nested[IN_ASSEMBLER].append(operand)
                return ()
            case Use.BACKEND_WORD:
                if names_file(operand):
                    self._stays(Reason.NESTED_OPTION, operand)
                return arguments
            case _:
                self._nested[IN_FRONTEND].append(operand)
                return arguments

    def _read_nested(self, table: Lookup, words: list[bytes]) -> None:
        at = 0
        while at < len(words):
            word = words[at]
            at += 1
            if table is IN_ASSEMBLER and word and not word.startswith((b"-", b"@")):
                self.assembler_sources.append(word)
                continue
            match = table.find(word)
            operand = None if match is None else match.operand
            own: tuple[bytes, ...] = (word,)
            if _takes_next(match) and at < len(words):
                operand = words[at]
                own = (word, operand)
                at += 1
            if match is None or (match.takes_next and operand is None):
                self._stays(Reason.NESTED_OPTION, word)
                continue
            if table is IN_ASSEMBLER and match.option.role is Role.SEARCH:
                self.assembler_directories.append(operand or b"")
                continue
            role, note = self._take(match.option, operand, word)
            if table is IN_PREPROCESSOR and role not in _WITHOUT_QUESTION:
                # They are no arguments of their own, but the question has to repeat them.
                asks = tuple(part for one in own for part in (b"-Xpreprocessor", one))
                self.words.append(Word((), role, note, asks, searches=role is Role.SEARCH))

    # -- what each role does ----------------------------------------------------------------------

    def _take(self, option: Option, operand: bytes | None, word: bytes) -> tuple[Role, str]:
        """Acts on an option; its role here and a note."""
        value = operand or b""
        match option.role:
            case Role.LOCAL:
                assert option.reason is not None
                self._stays(option.reason, word)
                return Role.LOCAL, option.reason
            case Role.GUARDED:
                if names_file(word):
                    self._stays(Reason.UNKNOWN_OPTION, word)
                return Role.CARRIED, ""
            case Role.MACHINE:
                if value != b"native" and not value.startswith(b"native+"):
                    return Role.CARRIED, ""
                self.machine.append(word)
            case Role.DEFINE:
                self.defines.append(value)
                if time_macros.asked([value]):
                    return Role.TIME, "the clock's value"
            case Role.MODE:
                self._take_mode(option)
            case Role.LANGUAGE:
                self._take_language(option, value)
            case Role.SEARCH:
                self._take_search(option, value)
            case Role.FORCED_INCLUDE:
                self.forced.append((option.means.lstrip(b"-").decode(), value))
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
        match option.use:
            case Use.BITCODE:
                self.is_bitcode = True
            case Use.ASSEMBLY:
                self.stops_at = StopsAt.ASSEMBLY
            case _ if self.stops_at is None:
                self.stops_at = StopsAt.OBJECT

    def _take_language(self, option: Option, value: bytes) -> None:
        match option.use:
            case Use.OF_SOURCES:
                self._named = None if value == b"none" else value
            case Use.OBJC:
                self._named = languages.OBJC.encode()
            case Use.OBJCXX:
                self._named = languages.OBJCXX.encode()

    def _take_search(self, option: Option, value: bytes) -> None:
        match option.use:
            case Use.ARCHITECTURE:
                self._architectures += 1
                if self._architectures > 1:
                    self._stays(Reason.MULTIPLE_ARCH, value)
            case Use.TARGET:
                self.is_windows = b"windows" in value or b"win32" in value
            case Use.SYSROOT:
                self.sysroots.append(value)

    def _take_input(self, option: Option, value: bytes, word: bytes) -> None:
        match option.use:
            case Use.PRECOMPILED:
                self.pch = value
            case Use.PROFILE:
                self.profiles.append(value)
                self.reads_profile = True
            case Use.SAMPLES if not value:
                self.inputs.append(b"fbdata.afdo")
            case Use.PLUGIN_ARGUMENT:
                self.plugin_arguments += (value, value.partition(b"=")[2])
            case Use.PLUGIN:
                self._take_plugin(value, word)
            case Use.CHARSET:
                self.charsets.append(value)
            case Use.MODULE_MAP:
                self.module_maps.append(value)
                self.inputs.append(value)
            case Use.MODULE_MAPPER:
                if not _MAPPER_FILE.fullmatch(value):
                    self._stays(Reason.MODULES, word)
                self.module_mapper = value
            case Use.SPECS:
                self.specs.append(value)
                (self.inputs if b"/" in value else self.toolchain_files).append(value)
            case _ if value not in _STREAMS:
                self.inputs.append(value)

    def _take_plugin(self, value: bytes, word: bytes) -> None:
        if b"/" in value:
            self.plugins.append(value)
            self.inputs.append(value)
        elif self.family is Family.GCC and value:
            self.plugin_names.append(value)
        else:
            self._stays(Reason.PLUGIN, word)  # looked for as a library is

    def _take_output(self, option: Option, value: bytes, word: bytes) -> None:
        match option.use:
            case Use.MAIN:
                self.output = value
            case Use.SPLIT_DEBUG if value == b"single":
                return
            case Use.PROFILE_DIRECTORY:
                self.profiles.append(value)
            case Use.SAVED_TEMPS:
                self.saves_temps = value
            case Use.STATISTICS:
                self.statistics = value
            case Use.TIME_TRACE if value:
                self.time_trace = value
            case Use.DUMP if b"=" not in value:
                self.has_dumps = True
            case Use.LISTING if b"g" in value.partition(b"=")[0]:
                self._stays(Reason.LISTING_TIME, word)  # it says when it was made
            case Use.DUMP | Use.OPTIMIZATIONS:
                self._take_report(value.partition(b"=")[2], word)
            case Use.LISTING:
                self._write(value.partition(b"=")[2])
            case _ if option.derives:
                self.suffixes += option.derives
                self.writes_notes |= b".gcno" in option.derives
            case _:
                self._write(value)

    def _take_report(self, name: bytes, word: bytes) -> None:
        """Of several compiles that name one file all reports stand there, one behind another."""
        if name not in _STREAMS:
            self._stays(Reason.APPENDED_OUTPUT, word)
        self._write(name)

    def _take_depfile(self, option: Option, operand: bytes | None) -> None:
        match option.use:
            case Use.RULE if operand is None:
                self.writes_default_depfile = True
            case Use.RULE:
                self._write(operand or b"")
            case Use.RULE_FILE:
                self.names_depfile = True
                self._write(operand or b"")

    def _write(self, name: bytes) -> None:
        if name in _STREAMS:
            return
        if is_device(name):
            self._stays(Reason.OUTPUT_TO_DEVICE, name)
        self.side_files.append(name)

    def _stays(self, reason: Reason, word: bytes) -> None:
        self.locals.append(Local(reason, fsdecode(word)))


def _takes_next(match: Match | None) -> bool:
    return match is not None and (match.takes_next or match.option.use is Use.PLUGIN_ARGUMENT)


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


def is_device(name: bytes) -> bool:
    return name.startswith((b"/dev/", b"/proc/")) and not name.startswith(b"/dev/shm/")
