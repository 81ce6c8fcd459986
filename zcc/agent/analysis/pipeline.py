"""From a launcher's request to a job, or to the reason why there is none.

Owns the order of the questions. What needs another process (the search list, the listed way, packing a
toolchain) is awaited; everything else is a look at memory and at the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from zcc.agent.analysis.command import Command, command_of
from zcc.agent.analysis.compiler_config import Configurations, what_stays
from zcc.agent.analysis.contributors import Finders, provision_of
from zcc.agent.analysis.hindrances import hindrance_of
from zcc.agent.analysis.library_path import LibraryPath, is_preloaded
from zcc.agent.analysis.outcome import Here, JobMemo, Prepared
from zcc.agent.analysis.output_places import Outputs, first_linked, physical
from zcc.agent.analysis.plugins import PluginFinder
from zcc.agent.analysis.projects import Projects, release_of
from zcc.agent.analysis.questions import Questions, Surroundings
from zcc.agent.analysis.scan_slices import Scans
from zcc.agent.analysis.terminals import terminal_of
from zcc.agent.launchers import compiler_name
from zcc.agent.launchers.wire import Request
from zcc.agent.memory import MemoryShares
from zcc.agent.results.assembler_listings import temporary_directory, temporary_variable
from zcc.bounded import Bounded
from zcc.compiler.commandline import arguments, environment
from zcc.compiler.commandline.arguments import Compilation
from zcc.compiler.commandline.environment import JobEnvironment
from zcc.compiler.commandline.make_rule import parse_listing
from zcc.compiler.commandline.response import MAX_BYTES as MAX_RESPONSE_BYTES
from zcc.compiler.commandline.tables import Family
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.mounts import MOUNTS
from zcc.compiler.neutral.renaming import DROPPED
from zcc.compiler.scan.closure import (
    SYSTEM_ROOTS,
    Closure,
    Forced,
    NotBounded,
    NotScannable,
    ScanRequest,
)
from zcc.compiler.scan.provision import Provision
from zcc.compiler.scan.scanner import Scanner
from zcc.compiler.scan.search_list import SearchList
from zcc.compiler.text.lexing import Lexis
from zcc.compiler.toolchain.index import Toolchain
from zcc.errors import CompilerError, NoRoomError
from zcc.job import Job, Manifest
from zcc.machine_class import architecture, floating_point_class, processor_class
from zcc.reasons import Reason
from zcc.regular import opener

# Of a command that is remembered as read, and of each word; measured.
_COMMAND_BYTES = 1000
_WORD_BYTES = 150

# Arguments, family, whether the driver is for C++, working directory.
_Words = tuple[tuple[bytes, ...], Family, bool, bytes]


@dataclass(frozen=True, slots=True)
class _Read:
    """A command line and an environment as read, and the compiler that they are read for."""

    parsed: Compilation
    environment: JobEnvironment
    toolchain: Toolchain


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
        memory: MemoryShares = MemoryShares(),  # noqa: B008 - it is frozen
    ) -> None:
        self._note_unknown = note_unknown
        self.disk = Disk(limit_bytes=memory.disk)
        self._surroundings = surroundings
        self._questions = Questions(surroundings.run)
        scanner = Scanner(self.disk, home, memory.scans)
        self._scans = Scans(scanner)
        self._library_path = LibraryPath()
        self.plugins = PluginFinder(self._questions.named_file)
        self._finders = Finders(self._questions, self.plugins)
        self._configurations = Configurations(self._questions.named_file)
        self.projects = Projects(home, base_dir)
        self._jobs = JobMemo(memory.jobs)
        self._parsed: Bounded[_Words, Compilation | arguments.Local] = Bounded(
            memory.commands, _bytes_read
        )
        self._known_scans = scanner.known

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
        try:
            read = await self._read(request)
            if isinstance(read, Here):
                return read
            parsed, toolchain = read.parsed, read.toolchain
            texts = await self._configurations.texts(request, parsed, toolchain)
            if configured := what_stays(texts):
                return Here(Reason.CONFIG_FILE, f"the compiler's configuration says {configured}")
            search = await self._questions.search_list(
                request, parsed, toolchain, read.environment.search
            )
        except NoRoomError as error:
            return _wrapped(request) or Here(Reason.NO_ROOM, str(error))
        except CompilerError as error:
            return _wrapped(request) or Here(Reason.COMPILER_NOT_UNDERSTOOD, str(error))
        command = command_of(request, parsed, read.environment, toolchain, texts)
        if isinstance(command, Here):
            return command
        return hindrance_of(command) or await self._prepare(command, search, arrived, now)

    async def _read(self, request: Request) -> _Read | Here:
        """The command with its compiler, as far as that may be asked anything here.

        Raises:
            CompilerError: the compiler is none that we know, or there is no room to pack it.
        """
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
        toolchain = await self._surroundings.toolchain(request.executable, request.argv[0], path)
        if toolchain.family is Family.CLANG and compiler_name.has_other_mode(request):
            return Here(Reason.CONFIG_FILE, "its name says --driver-mode")
        if toolchain.family is not guess:
            parsed = self._parse(request, toolchain.family, is_cxx)
            if isinstance(parsed, Here):
                return parsed
        oddity = self._odd_surroundings(request, classified, toolchain)
        return Here(Reason.ENVIRONMENT, oddity) if oddity else _Read(parsed, classified, toolchain)

    def _odd_surroundings(
        self, request: Request, classified: JobEnvironment, toolchain: Toolchain
    ) -> str:
        """What would have this compiler be another here than on a node; empty where nothing would."""
        if is_preloaded():
            return "/etc/ld.so.preload: code inside the compiler"
        if path := classified.libraries:
            shadow = self._library_path.first_shadow(path, request.cwd, toolchain)
            if shadow is not None:
                return f"LD_LIBRARY_PATH: {os.fsdecode(shadow)}"
        return _unusable_temporary(request, toolchain.family)

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

    async def _prepare(
        self, command: Command, search: SearchList, arrived: float, now: Callable[[], float]
    ) -> Prepared | Here:
        provision = await provision_of(self._finders, command)
        if isinstance(provision, Here):
            return provision
        scan = self._scan_request(command, search, provision)
        answer = await self._scans.closure(scan, arrived, now)
        unbounded: NotBounded | None = None
        if isinstance(answer, NotBounded):
            if provision.has_code:
                # The list would have to be asked of the plugin too, which may do more than answer.
                return Here(Reason.PLUGIN, f"{answer.reason}: {os.fsdecode(answer.detail)}")
            unbounded = answer
            answer = await self._list(command, scan, now)
        if isinstance(answer, (NotScannable, NotBounded)):
            return Here(answer.reason, os.fsdecode(answer.detail))
        if command.request.is_named and (path := _first_unstamped(answer)):
            return Here(
                Reason.DISK, f"ccache has read it before, and it has no time of change: {path}"
            )
        return self._job(command, answer, unbounded, has_code=provision.has_code)

    def _job(
        self,
        command: Command,
        closure: Closure,
        unbounded: NotBounded | None,
        *,
        has_code: bool,
    ) -> Prepared | Here:
        request, parsed, toolchain = command.request, command.parsed, command.toolchain
        outputs = command.outputs
        job = Job(
            toolchain=toolchain.digest,
            executable=request.executable,
            argv=request.argv,
            cwd=request.cwd,
            environment=command.variables,
            manifest=Manifest(),
            outputs=outputs.files.outputs,
            dumps=outputs.dumps.outputs,
            machine_class=_machine_class(parsed, command.family, has_code),
            terminal=terminal_of(request, command.family),
        )
        base = self.projects.base_of(
            parsed, toolchain, request.cwd, request.environment, command.environment.search
        )
        prepared = self._jobs.prepared(
            command=job,
            closure=closure,
            unbounded=unbounded,
            source=command.source,
            root=self.projects.root_of(request.cwd),
            toolchain=toolchain,
            base=base,
            renaming=command.renaming,
        )
        return prepared if isinstance(prepared, Here) else _placed(prepared, outputs)

    def keep_in_place(self, prepared: Prepared) -> None:
        """This command came to nothing when it was moved."""
        self._jobs.keep_in_place(prepared)

    async def _list(
        self, command: Command, scan: ScanRequest, now: Callable[[], float]
    ) -> Closure | NotScannable | NotBounded:
        """The listed way: the compiler itself says what it reads."""
        begun = now()
        ran = await self._questions.listing(command.request, command.parsed, command.family)
        if ran.exit_status != 0:
            return NotScannable(Reason.LISTING, ran.stderr[:200])
        try:
            paths = parse_listing(ran.stdout)
        except CompilerError as error:
            return NotScannable(Reason.LISTING, os.fsencode(str(error)))
        return await self._scans.listed(scan, paths, begun, now)

    def _scan_request(
        self, command: Command, search: SearchList, provision: Provision
    ) -> ScanRequest:
        parsed, cwd = command.parsed, command.cwd
        source_dir = os.path.dirname(command.source)
        source_dir = physical(source_dir) or source_dir
        projects = self.projects
        roots = {projects.root_of(cwd), projects.root_of(source_dir), *SYSTEM_ROOTS}
        kinds = {"include": Forced.INCLUDE, "imacros": Forced.MACROS}
        return ScanRequest(
            cwd=cwd,
            source=parsed.source,
            language=parsed.language,
            search=search,
            roots=tuple(sorted(roots)),
            loose=b"" if projects.checkout_of(source_dir) else source_dir,
            forced=tuple((kinds[kind], name) for kind, name in parsed.forced_includes),
            assembler_directories=parsed.assembler_directories,
            assembler_sources=parsed.assembler_sources,
            defines=parsed.defines,
            extra_inputs=(*parsed.extra_inputs, *provision.required),
            optional_inputs=provision.optional,
            mentioned=provision.mentioned,
            directories=provision.directories,
            listed=provision.listed,
            precompiled=(parsed.include_pch,) if parsed.include_pch else (),
            tells_precompiled=parsed.tells_precompiled,
            has_modules=parsed.has_modules,
            module_mapper=parsed.module_mapper,
            lexis=_lexis(parsed, command.toolchain),
            is_clang=command.is_clang,
            has_source_date_epoch=command.has_date,
            names_offloaded=command.is_clang
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


def _lexis(parsed: Compilation, toolchain: Toolchain) -> Lexis:
    """gcc and clang take C++ for C++14 since 6, both of them."""
    is_old = parsed.lexis is Lexis.CXX and release_of(toolchain) < 6
    return Lexis.C if is_old else parsed.lexis


def _machine_class(parsed: Compilation, family: Family, has_plugins: bool) -> bytes:
    """Which machines can run the toolchain, and would write the same. A plugin's own arithmetic may be the
    processor's."""
    if parsed.machine_dependent:
        return processor_class()
    return floating_point_class() if family is Family.CLANG or has_plugins else architecture()


def _bytes_read(command: _Words, parsed: Compilation | arguments.Local) -> int:
    return _COMMAND_BYTES + _WORD_BYTES * len(command[0])


def _placed(prepared: Prepared, outputs: Outputs) -> Prepared | Here:
    """The job with what is to be known of its outputs here."""
    if prepared.renaming is None and DROPPED in outputs.files.outputs:
        return Here(Reason.OUTPUT_TO_DEVICE, "the farm cannot give it another name")
    if outputs.files.written_into:
        inputs = (file.path for file in prepared.closure.manifest.files)
        if both := first_linked(outputs.files.written_into, inputs):
            return Here(Reason.OUTPUT_IS_INPUT, os.fsdecode(both))
    return replace(prepared, outputs=outputs)


def _wrapped(request: Request) -> Here | None:
    """For ccache and its like: they run here, and what they call may be zcc again."""
    if not compiler_name.is_wrapper(request.executable):
        return None
    if compiler_name.will_return(request):
        return Here(Reason.WRAPPER)
    return Here(Reason.WRAPPER_WITHOUT_ZCC, "CCACHE_PREFIX=zcc sends what ccache misses")


def _guess_family(request: Request) -> Family:
    return Family.CLANG if b"clang" in os.path.basename(request.executable) else Family.GCC


def names_cxx(request: Request) -> bool:
    return request.is_cxx or b"++" in os.path.basename(request.argv[0] or request.executable)


def _first_unstamped(closure: Closure) -> str:
    """An input of which nothing can show later that it was not touched; empty where there is none."""
    return os.fsdecode(
        MOUNTS.first_unstamped(file.path for file in closure.manifest.every_name()) or b""
    )
