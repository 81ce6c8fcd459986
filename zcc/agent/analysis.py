"""From a launcher's request to a job, or to the reason why there is none.

Owns the order of the questions. What needs another process (the search list, the listed way, packing a
toolchain) is awaited; everything else is a look at memory and at the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from cache.digest import Digest
from zcc.agent import naming
from zcc.agent.charsets import charset_files
from zcc.agent.configured import Configurations, is_native, what_stays
from zcc.agent.libraries import LibraryPath, is_preloaded
from zcc.agent.listings import temporary_directory, temporary_variable
from zcc.agent.locales import catalogues_of, locale_files
from zcc.agent.memory import Memory
from zcc.agent.places import (
    Misplaced,
    Outputs,
    Wanted,
    is_overwritten,
    is_process_bound,
    physical,
    physical_pwd,
)
from zcc.agent.plugins import PluginFinder
from zcc.agent.prepared import Here, JobMemo, Prepared
from zcc.agent.programs import job_environment, odd_path, ways_to_compiler
from zcc.agent.projects import Projects, release_of
from zcc.agent.questions import Questions, Surroundings
from zcc.agent.scanning import Scans
from zcc.agent.terminals import has_own_terminals, terminal_files, terminal_of
from zcc.agent.wire import Request
from zcc.agent.writing import way_of_main
from zcc.bounded import Bounded
from zcc.compiler import arguments, environment
from zcc.compiler.arguments import Compilation
from zcc.compiler.closure import (
    SYSTEM_ROOTS,
    Closure,
    Forced,
    NotBounded,
    ScanRequest,
)
from zcc.compiler.closure import Local as NotScannable
from zcc.compiler.compilation import StopsAt
from zcc.compiler.disk import Disk
from zcc.compiler.environment import JobEnvironment, language_directories, locale_names
from zcc.compiler.lexing import Lexis
from zcc.compiler.listing import parse_listing
from zcc.compiler.module_maps import ModuleMaps
from zcc.compiler.options import Family, Role
from zcc.compiler.precompiled import stand_ins
from zcc.compiler.profiles import profile_places
from zcc.compiler.renaming import DROPPED, find_renaming
from zcc.compiler.response import MAX_BYTES as MAX_RESPONSE_BYTES
from zcc.compiler.scanner import Scanner
from zcc.compiler.search import SearchList
from zcc.compiler.signatures import Memo, Sightings
from zcc.compiler.sysroots import Sysroots, is_for_android, sysroots_of
from zcc.compiler.toolchain import Toolchain
from zcc.errors import CompilerError, NoRoomError
from zcc.job import Job, Manifest, can_be_run
from zcc.machine_class import floating_point_class, processor_class
from zcc.reasons import Reason
from zcc.regular import opener

# Of a command that is remembered as read, and of each word; measured.
_COMMAND_BYTES = 1000
_WORD_BYTES = 150
# Finding the files of a locale costs 0.2 ms.
MAX_LOCALES = 64
# Of the words that a job may have: a moved job's are longer, and one more.
_WORDS_SHARE = 0.5


# Arguments, family, whether the driver is for C++, working directory.
_Command = tuple[tuple[bytes, ...], Family, bool, bytes]


class Analyser:
    """Turns requests into jobs. One for each agent: it remembers what it has learnt of the disk.

    `base_dir` as in the configuration; ZCC_BASE_DIR of a request goes before it. `note_unknown` is told
    of each option that the table does not know.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        home: bytes,
        base_dir: bytes = b"",
        note_unknown: Callable[[bytes], None] = lambda _: None,
        memory: Memory = Memory(),  # noqa: B008 - it is frozen
    ) -> None:
        self._note_unknown = note_unknown
        self.disk = Disk(limit_bytes=memory.disk)
        self._surroundings = surroundings
        self._questions = Questions(surroundings.run)
        scanner = Scanner(self.disk, home, memory.scans)
        self._scans = Scans(scanner)
        self._library_path = LibraryPath()
        self._module_maps = ModuleMaps()
        self._sysroots = Sysroots()
        self.plugins = PluginFinder(self._questions.named_file)
        self._configurations = Configurations(self._questions.named_file)
        self.projects = Projects(home, base_dir)
        self._jobs = JobMemo(memory.jobs)
        self._parsed: Bounded[_Command, Compilation | arguments.Local] = Bounded(
            memory.commands, _bytes_read
        )
        self._known_scans = scanner.known
        self._locales: Memo[tuple[tuple[bytes, ...], Digest], tuple[bytes, ...]] = Memo(MAX_LOCALES)

    def held(self) -> dict[str, tuple[int, int]]:
        """What holds most of the memory: how many entries, and about how many bytes."""
        return {
            "scans": self._known_scans.held,
            "jobs": self._jobs.known.held,
            "commands": self._parsed.held,
            "files": (self.disk.entries, self.disk.size_bytes),
        }

    async def family(self, request: Request) -> Family:
        """Which family the compiler belongs to; by its name where it does not say."""
        try:
            toolchain = await self._surroundings.toolchain(
                request.executable, request.argv[0], request.environment.get(b"PATH", b"")
            )
        except CompilerError:
            return _guess_family(request)
        return toolchain.family

    def at_once(self, request: Request) -> Here | None:
        """Why this request runs here, where the command line alone says so; None: ask `analyse`."""
        if not request.executable:
            return Here(Reason.NO_COMPILER)
        parsed = self._parse(request, _guess_family(request), names_cxx(request))
        if not isinstance(parsed, Here) or parsed.reason is Reason.SEVERAL_SOURCES:
            return None
        return _wrapped(request) or parsed

    async def analyse(
        self, request: Request, arrived: float, now: Callable[[], float]
    ) -> Prepared | Here:
        """What to do with this request. Never raises for a command that is merely odd."""
        if not request.executable:
            return Here(Reason.NO_COMPILER)
        is_cxx = names_cxx(request)
        guess = _guess_family(request)
        parsed = self._parse(request, guess, is_cxx)
        if isinstance(parsed, Here):
            return _wrapped(request) or parsed
        for word in parsed.unknown_options:
            self._note_unknown(word)
        classified = _classified(request.environment, request.terminal is not None)
        if isinstance(classified, arguments.Local):
            return Here(classified.reason, classified.detail)
        path = request.environment.get(b"PATH", b"")
        try:
            toolchain = await self._surroundings.toolchain(
                request.executable, request.argv[0], path
            )
            if toolchain.family is Family.CLANG and naming.has_other_mode(request):
                return Here(Reason.CONFIG_FILE, "its name says --driver-mode")
            if toolchain.family is not guess:
                parsed = self._parse(request, toolchain.family, is_cxx)
                if isinstance(parsed, Here):
                    return parsed
            if is_preloaded():
                return Here(Reason.ENVIRONMENT, "/etc/ld.so.preload: code inside the compiler")
            if classified.libraries:
                path = classified.libraries
                shadow = self._library_path.first_shadow(path, request.cwd, toolchain)
                if shadow is not None:
                    return Here(Reason.ENVIRONMENT, f"LD_LIBRARY_PATH: {os.fsdecode(shadow)}")
            if reason := _unusable_temporary(request, toolchain.family):
                return Here(Reason.ENVIRONMENT, reason)
            texts = await self._configurations.texts(request, parsed, toolchain)
            if configured := what_stays(texts):
                return Here(Reason.CONFIG_FILE, f"the compiler's configuration says {configured}")
            search = await self._questions.search_list(
                request, parsed, toolchain, classified.search
            )
        except NoRoomError as error:
            return _wrapped(request) or Here(Reason.NO_ROOM, str(error))
        except CompilerError as error:
            return _wrapped(request) or Here(Reason.COMPILER_NOT_UNDERSTOOD, str(error))
        return await self._prepare(
            request, parsed, classified, toolchain, search, texts, arrived, now
        )

    def _parse(self, request: Request, family: Family, is_cxx: bool) -> Compilation | Here:
        """The command as read before, unless it takes words from files."""
        has_read = False

        def read(name: bytes) -> bytes | None:
            nonlocal has_read
            has_read = True
            try:
                with open(os.path.join(request.cwd, name), "rb", opener=opener) as file:
                    return file.read(MAX_RESPONSE_BYTES + 1)
            except OSError:
                return None

        key = (request.argv[1:], family, is_cxx, request.cwd)
        parsed = self._parsed.get(key)
        if parsed is None:
            parsed = arguments.parse(request.argv[1:], family, is_cxx, request.cwd, read)
            if not has_read:
                self._parsed.put(key, parsed)
        if isinstance(parsed, arguments.Local):
            return Here(parsed.reason, parsed.detail)
        if not os.path.isfile(os.path.join(request.cwd, parsed.source)):
            return Here(Reason.MISSING_SOURCE, os.fsdecode(parsed.source))
        return parsed

    def _locale_files(self, request: Request, toolchain: Toolchain) -> tuple[bytes, ...]:
        """Which files the messages come from: libc opens them, so that no proof shows which it missed."""
        names = _locale_names(request.environment)
        if not names:
            return ()

        def find(seen: Sightings) -> tuple[bytes, ...]:
            speakers = (toolchain.programs.get(role) for role in ("c", "as"))
            catalogues = catalogues_of(toolchain.digest, tuple(filter(None, speakers)))
            return locale_files(names, catalogues, seen)

        return self._locales.answer((names, toolchain.digest), find)

    async def _prepare(
        self,
        request: Request,
        parsed: Compilation,
        classified: JobEnvironment,
        toolchain: Toolchain,
        search: SearchList,
        texts: Sequence[bytes],
        arrived: float,
        now: Callable[[], float],
    ) -> Prepared | Here:
        has_date = b"SOURCE_DATE_EPOCH" in classified.carried and _obeys_date(toolchain)
        if is_native(texts):
            parsed = replace(parsed, machine_dependent=(b"the compiler's configuration",))
        hindrance = _hindrance(parsed, has_date)
        if hindrance is not None:
            return hindrance
        if has_own_terminals(request, toolchain.family):
            return Here(Reason.TERMINAL_DESCRIPTION, "~/.terminfo")
        is_assembly = parsed.stops_at is StopsAt.ASSEMBLY
        main = way_of_main(toolchain.family, is_assembly, parsed.is_assembled_apart)
        outputs = Wanted(
            request.cwd, request.umask, toolchain.family, main, parsed.outputs, parsed.dumps
        ).find()
        if isinstance(outputs, Misplaced):
            return Here(outputs.reason, os.fsdecode(outputs.path))
        places, dumps = outputs.files, outputs.dumps
        if is_overwritten(parsed.source, request.cwd, places.outputs):
            return Here(Reason.OUTPUT_IS_SOURCE, os.fsdecode(parsed.source))
        if oddity := odd_path(request.environment.get(b"PATH"), request.cwd, toolchain):
            return Here(Reason.ENVIRONMENT, f"PATH: {oddity}")
        pwd = physical_pwd(request.environment, request.cwd)
        if isinstance(pwd, Misplaced):
            return Here(pwd.reason, os.fsdecode(pwd.path))
        variables = job_environment(request, classified, toolchain, pwd)
        if not can_be_run(request.argv, variables, _WORDS_SHARE):
            return Here(Reason.LONG_COMMAND, f"{len(request.argv)} arguments")
        profiles = _profiles(request, parsed, toolchain.family, pwd)
        for path in profiles if parsed.removes_profile else ():
            if os.path.lexists(os.path.join(request.cwd, path)):
                return Here(Reason.STALE_PROFILE, os.fsdecode(path))
        try:
            named = self._module_maps.named(parsed.module_maps, request.cwd)
        except CompilerError as error:
            return Here(Reason.MODULE_MAP, str(error))
        libraries = classified.libraries
        brought = await self.plugins.find(request, parsed, toolchain, libraries, texts)
        if isinstance(brought, Here):
            return brought
        renaming = find_renaming(parsed, toolchain.family, places.outputs, places.directories)
        scan = self._scan_request(request, parsed, has_date, search, toolchain)
        installed = self._sysroots.places(
            sysroots_of(parsed, request.executable, request.cwd, is_clang=scan.is_clang),
            is_clang=scan.is_clang,
            is_android=is_for_android(parsed),
        )
        scan = replace(
            scan,
            directories=(
                *(places.directories if renaming is None else ()),
                *dumps.directories,
                *([pwd] if pwd and not is_process_bound(pwd) else ()),
                *ways_to_compiler(request, variables),
                *_spelled(parsed),
                *(language_directories(request.environment) if scan.is_clang else ()),
                *installed.directories,
                *named.directories,
                *brought.directories,
                *_library_directories(classified, toolchain),
            ),
            mentioned=named.files,
            listed=installed.listed,
            extra_inputs=(
                *scan.extra_inputs,
                *await self._questions.own_files(request, parsed, parsed.toolchain_files),
                *brought.files,
            ),
            optional_inputs=(
                *scan.optional_inputs,
                *(profiles if parsed.reads_profile else ()),
                *brought.optional,
                *installed.files,
                *await self._questions.made_of(request, _precompiled(request, parsed, scan)),
                *filter(
                    os.path.isabs,
                    await self._questions.own_files(request, parsed, parsed.probed_files),
                ),
            ),
        )
        answer = await self._scans.closure(scan, arrived, now)
        unbounded: NotBounded | None = None
        if isinstance(answer, NotBounded):
            if brought.files:
                # The list would have to be asked of the plugin too, which may do more than answer.
                return Here(Reason.PLUGIN, f"{answer.reason}: {os.fsdecode(answer.detail)}")
            unbounded = answer
            answer = await self._list(request, parsed, toolchain, scan, now)
        if isinstance(answer, (NotScannable, NotBounded)):
            return Here(answer.reason, os.fsdecode(answer.detail))
        command = Job(
            toolchain=toolchain.digest,
            executable=request.executable,
            argv=request.argv,
            cwd=request.cwd,
            environment=variables,
            manifest=Manifest(),
            outputs=places.outputs,
            dumps=dumps.outputs,
            machine_class=_machine_class(parsed, toolchain.family, bool(brought.files)),
            terminal=terminal_of(request, toolchain.family),
        )
        prepared = self._jobs.prepared(
            command=command,
            closure=answer,
            unbounded=unbounded,
            source=os.path.join(request.cwd, parsed.source),
            root=self.projects.root_of(request.cwd),
            toolchain=toolchain,
            base=self.projects.base_of(
                parsed, toolchain, request.cwd, request.environment, classified.search
            ),
            renaming=renaming,
        )
        return prepared if isinstance(prepared, Here) else _placed(prepared, outputs)

    def keep_in_place(self, prepared: Prepared) -> None:
        """This command came to nothing when it was moved."""
        self._jobs.keep_in_place(prepared)

    async def _list(
        self,
        request: Request,
        parsed: Compilation,
        toolchain: Toolchain,
        scan: ScanRequest,
        now: Callable[[], float],
    ) -> Closure | NotScannable | NotBounded:
        """The listed way: the compiler itself says what it reads."""
        begun = now()
        ran = await self._questions.listing(request, parsed, toolchain.family)
        if ran.exit_status != 0:
            return NotScannable(Reason.LISTING, ran.stderr[:200])
        try:
            paths = parse_listing(ran.stdout)
        except CompilerError as error:
            return NotScannable(Reason.LISTING, os.fsencode(str(error)))
        return await self._scans.listed(scan, paths, begun, now)

    def _scan_request(
        self,
        request: Request,
        parsed: Compilation,
        has_date: bool,
        search: SearchList,
        toolchain: Toolchain,
    ) -> ScanRequest:
        source_dir = os.path.dirname(os.path.join(request.cwd, parsed.source))
        source_dir = physical(source_dir) or source_dir
        roots = {
            self.projects.root_of(request.cwd),
            self.projects.root_of(source_dir),
            *SYSTEM_ROOTS,
        }
        kinds = {"include": Forced.INCLUDE, "imacros": Forced.MACROS}
        return ScanRequest(
            cwd=request.cwd,
            source=parsed.source,
            language=parsed.language,
            search=search,
            roots=tuple(sorted(roots)),
            loose=b"" if self.projects.checkout_of(source_dir) else source_dir,
            forced=tuple((kinds[kind], name) for kind, name in parsed.forced_includes),
            assembler_directories=parsed.assembler_directories,
            assembler_sources=parsed.assembler_sources,
            defines=parsed.defines,
            extra_inputs=parsed.extra_inputs,
            precompiled=(parsed.include_pch,) if parsed.include_pch else (),
            tells_precompiled=parsed.tells_precompiled,
            has_modules=parsed.has_modules,
            module_mapper=parsed.module_mapper,
            lexis=_lexis(parsed, toolchain),
            optional_inputs=(
                *self._locale_files(request, toolchain),
                *charset_files(parsed.charsets),
                *terminal_files(request, toolchain.family),
            ),
            is_clang=toolchain.family is Family.CLANG,
            has_source_date_epoch=has_date,
            names_offloaded=toolchain.family is Family.CLANG
            and any(word.startswith(b"-fopenmp") for word in parsed.search_arguments),
        )


def _unusable_temporary(request: Request, family: Family) -> str:
    """The variable that keeps a clang from writing temporary files here, where there are any: on a node it
    could. gcc passes over such a directory."""
    if family is not Family.CLANG:
        return ""
    name = temporary_variable(request.environment, family)
    if name is None or temporary_directory(request.environment, family, request.cwd) is not None:
        return ""
    return os.fsdecode(name)


# A build's calls share a handful of environments.
_classified = lru_cache(256)(environment.classify)
_locale_names = lru_cache(256)(locale_names)


def _obeys_date(toolchain: Toolchain) -> bool:
    """Whether SOURCE_DATE_EPOCH is this compiler's clock: gcc's since 7, clang's since 16."""
    return release_of(toolchain) >= (7 if toolchain.family is Family.GCC else 16)


def _lexis(parsed: Compilation, toolchain: Toolchain) -> Lexis:
    """gcc and clang take C++ for C++14 since 6, both of them."""
    is_old = parsed.lexis is Lexis.CXX and release_of(toolchain) < 6
    return Lexis.C if is_old else parsed.lexis


def _library_directories(classified: JobEnvironment, toolchain: Toolchain) -> tuple[bytes, ...]:
    value = classified.carried.get(b"LIBRARY_PATH")
    if value is None or toolchain.family is not Family.GCC:
        return ()  # clang hands it to the linker and looks at nothing
    return environment.library_directories(value, toolchain.target, toolchain.version)


def _machine_class(parsed: Compilation, family: Family, has_plugins: bool) -> bytes:
    """Which machines would write the same. A plugin's own arithmetic may be the processor's."""
    if parsed.machine_dependent:
        return processor_class()
    return floating_point_class() if family is Family.CLANG or has_plugins else b""


def _bytes_read(command: _Command, parsed: Compilation | arguments.Local) -> int:
    return _COMMAND_BYTES + _WORD_BYTES * len(command[0])


def _placed(prepared: Prepared, outputs: Outputs) -> Prepared | Here:
    """The job with what is to be known of its outputs here."""
    if prepared.renaming is None and DROPPED in outputs.files.outputs:
        return Here(Reason.OUTPUT_TO_DEVICE, "the farm cannot give it another name")
    return replace(prepared, outputs=outputs)


def _hindrance(parsed: Compilation, has_date: bool) -> Here | None:
    """What the farm cannot do as this machine would, by the command line alone."""
    # The variable decides __DATE__ and __TIME__, never __TIMESTAMP__.
    times = [text for text in parsed.time_macros if not has_date or b"__TIMESTAMP__" in text]
    rows = (
        (Reason.NATIVE, () if processor_class() else parsed.machine_dependent),
        (Reason.TIME_MACRO, times),
    )
    for reason, names in rows:
        if names:
            return Here(reason, os.fsdecode(names[0]))
    return None


def _wrapped(request: Request) -> Here | None:
    """For ccache and its like: they run here, and what they call may be zcc again."""
    if not naming.is_wrapper(request.executable):
        return None
    if naming.will_return(request):
        return Here(Reason.WRAPPER)
    return Here(Reason.WRAPPER_WITHOUT_ZCC, "CCACHE_PREFIX=zcc sends what ccache misses")


def _precompiled(request: Request, parsed: Compilation, scan: ScanRequest) -> tuple[bytes, ...]:
    """The precompiled headers that clang will read: gcc asks for nothing that they were made of."""
    implied = stand_ins(parsed.forced_includes) if scan.is_clang else ()
    found = [at for at in implied if os.path.isfile(os.path.join(request.cwd, at))]
    return (*scan.precompiled, *found[:1])


def _spelled(parsed: Compilation) -> list[bytes]:
    """Search directories as the command line has them: clang calls two that are the same by the name of the
    first, but goes through `a/b/../..` of the second all the same. gcc calls a link that is a system directory
    by the shorter name of what it leads to."""
    named = (os.fsencode(word.note) for word in parsed.words if word.role is Role.SEARCH)
    return [path for path in named if path]


def _profiles(
    request: Request, parsed: Compilation, family: Family, pwd: bytes | None
) -> list[bytes]:
    """Where this compile may find a profile; a directory among the places is none."""
    if not parsed.reads_profile and not parsed.removes_profile:
        return []
    cwds = dict.fromkeys((request.cwd, pwd or request.cwd))
    places = profile_places(family, parsed.profiles, parsed.gcda, cwds)
    return [at for at in places if not os.path.isdir(os.path.join(request.cwd, at))]


def _guess_family(request: Request) -> Family:
    return Family.CLANG if b"clang" in os.path.basename(request.executable) else Family.GCC


def names_cxx(request: Request) -> bool:
    return request.is_cxx or b"++" in os.path.basename(request.argv[0] or request.executable)
