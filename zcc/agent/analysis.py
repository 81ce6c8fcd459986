"""From a launcher's request to a job, or to the reason why there is none.

Owns the order of the questions. What needs another process (the search list, the listed way, packing a
toolchain) is awaited; everything else is a look at memory and at the disk.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from cache.blobs import compress
from cache.digest import Digest, digest_of, short
from zcc.agent import naming
from zcc.agent.locales import locale_files
from zcc.agent.places import Misplaced, find_places, physical_pwd
from zcc.agent.terminals import has_own_terminals, terminal_files, terminal_of
from zcc.agent.wire import Request
from zcc.compiler import arguments, environment, languages, precompiled
from zcc.compiler.arguments import Compilation
from zcc.compiler.closure import Closure, Forced, NotBounded, Reason, ScanRequest, project_root
from zcc.compiler.closure import Local as NotScannable
from zcc.compiler.disk import Disk
from zcc.compiler.environment import JobEnvironment, locale_names
from zcc.compiler.listing import parse_listing
from zcc.compiler.options import Family
from zcc.compiler.precompiled import InputsMemo, signature
from zcc.compiler.profiles import profile_places
from zcc.compiler.scanner import Scanner
from zcc.compiler.search import (
    QUERY_ENVIRONMENT,
    SearchKey,
    SearchList,
    SearchMemo,
    parse_search_list,
    query_arguments,
)
from zcc.compiler.toolchain import Toolchain
from zcc.errors import CompilerError
from zcc.job import Job, Manifest, encode_job, job_key
from zcc.machine_class import floating_point_class

# Reasons by which a command is none that a farm could take; running it here is no fallback.
CHOICES = frozenset(
    (
        "not-a-compile",
        "preprocess-only",
        "no-source",
        "stdin-source",
        "output-to-stdout",
        "output-to-device",
        "syntax-only",
        "information",
        "other-action",
        "makes-pch",
        "conftest",
        "no-compiler",
        "missing-source",
        "wrapper",
    )
)


MAX_ROOTS = 4096
# Jobs that are remembered ready; their inputs are the scanner's own memory.
MAX_PREPARED = 8192


@dataclass(frozen=True, slots=True)
class Here:
    """The command runs on this machine. `reason` is machine-readable."""

    reason: str
    detail: str = ""

    @property
    def is_choice(self) -> bool:
        return self.reason in CHOICES


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job, ready to be looked up or submitted.

    `encoded` are its canonical bytes, empty for a job that was prepared before: most of those are hits.
    """

    job: Job
    key: Digest
    encoded: bytes
    closure: Closure
    way: str
    source: bytes
    build: str
    toolchain: Toolchain

    def frame(self) -> bytes:
        """The job's canonical bytes, compressed."""
        return compress(self.encoded or encode_job(self.job))


@dataclass(frozen=True, slots=True)
class Ran:
    """What a query of the compiler gave."""

    exit_status: int
    stdout: bytes
    stderr: bytes


class Surroundings:
    """What the analysis needs others to do; the agent's shell and `zcc explain` supply it."""

    def __init__(
        self,
        run: Callable[[list[bytes], bytes, Mapping[bytes, bytes]], Awaitable[Ran]],
        toolchain: Callable[[bytes, bytes, bytes], Awaitable[Toolchain]],
    ) -> None:
        self.run = run
        # (executable, argv[0], PATH) -> the packed toolchain; raises CompilerError.
        self.toolchain = toolchain


class Analyser:
    """Turns requests into jobs. One for each agent: it remembers what it has learnt of the disk."""

    def __init__(self, surroundings: Surroundings, home: bytes) -> None:
        self.disk = Disk()
        self._surroundings = surroundings
        self._scanner = Scanner(self.disk, home)
        self._searches = SearchMemo()
        self._pch_inputs = InputsMemo()
        self._named_files: dict[tuple[bytes, ...], bytes] = {}
        self._home = os.path.realpath(home)
        # By the job without its inputs. Writing 500 inputs down and hashing them costs 0.5 ms.
        self._prepared: OrderedDict[Job, Prepared] = OrderedDict()
        # Where a project begins is asked once for each directory: it is about 60 us of look-ups, and an
        # answer that has aged makes a compile take the listed way, nothing worse.
        self._root_of = lru_cache(MAX_ROOTS)(lambda at: project_root(at, self._home))

    def checkout_of(self, directory: bytes) -> bytes | None:
        """The checkout that a directory lies in; None outside of any. An answer may have aged."""
        # Of a directory outside of any the root is the directory itself: one that cannot be there tells.
        below = os.path.join(directory, b"\n")
        root = self._root_of(below)
        return None if root == below else root

    async def family(self, request: Request) -> Family:
        """Which family the compiler belongs to; by its name where it does not say."""
        try:
            toolchain = await self._surroundings.toolchain(
                request.executable, request.argv[0], request.environment.get(b"PATH", b"")
            )
        except CompilerError:
            return _guess_family(request)
        return toolchain.family

    async def analyse(
        self, request: Request, arrived: float, now: Callable[[], float]
    ) -> Prepared | Here:
        """What to do with this request. Never raises for a command that is merely odd."""
        if not request.executable:
            return Here("no-compiler")
        is_cxx = names_cxx(request)
        guess = _guess_family(request)
        parsed = _parse(request, guess, is_cxx)
        if isinstance(parsed, Here):
            return _wrapped(request) or parsed
        classified = environment.classify(request.environment, request.terminal is not None)
        if isinstance(classified, arguments.Local):
            return Here(classified.reason, classified.detail)
        path = request.environment.get(b"PATH", b"")
        try:
            toolchain = await self._surroundings.toolchain(
                request.executable, request.argv[0], path
            )
            if toolchain.family is not guess:
                parsed = _parse(request, toolchain.family, is_cxx)
                if isinstance(parsed, Here):
                    return parsed
            search = await self._search(request, parsed, toolchain, classified)
        except CompilerError as error:
            return _wrapped(request) or Here("compiler-not-understood", str(error))
        return await self._prepare(request, parsed, classified, toolchain, search, arrived, now)

    async def _prepare(
        self,
        request: Request,
        parsed: Compilation,
        classified: JobEnvironment,
        toolchain: Toolchain,
        search: SearchList,
        arrived: float,
        now: Callable[[], float],
    ) -> Prepared | Here:
        hindrance = _hindrance(parsed, classified)
        if hindrance is not None:
            return hindrance
        if has_own_terminals(request, toolchain.family):
            return Here("terminal-description", "~/.terminfo")
        places = find_places(request.cwd, parsed.outputs, request.umask)
        if isinstance(places, Misplaced):
            return Here(places.reason, os.fsdecode(places.path))
        pwd = physical_pwd(request.environment, request.cwd)
        profiles = _profiles(request, parsed, toolchain.family, pwd)
        for path in profiles if parsed.removes_profile else ():
            if os.path.lexists(os.path.join(request.cwd, path)):
                return Here("stale-profile", os.fsdecode(path))
        scan = self._scan_request(request, parsed, classified, search, toolchain)
        scan = replace(
            scan,
            directories=(*places.directories, *([pwd] if pwd else ())),
            extra_inputs=(*scan.extra_inputs, *await self._toolchain_files(request, parsed)),
            optional_inputs=(
                *scan.optional_inputs,
                *(profiles if parsed.reads_profile else ()),
                *await self._made_of(request, scan),
            ),
        )
        answer = self._scanner.scan(scan, now(), arrived)
        way = "scanned"
        if isinstance(answer, NotBounded):
            way = "listed"
            answer = await self._list(request, parsed, toolchain, scan, now)
        if isinstance(answer, (NotScannable, NotBounded)):
            return Here(answer.reason.value, os.fsdecode(answer.detail))
        command = Job(
            toolchain=toolchain.digest,
            executable=request.executable,
            argv=request.argv,
            cwd=request.cwd,
            environment=_job_environment(request, classified, toolchain, pwd),
            manifest=Manifest(),
            outputs=places.outputs,
            machine_class=floating_point_class() if toolchain.family is Family.CLANG else b"",
            terminal=terminal_of(request, toolchain.family),
        )
        known = self._prepared.get(command)
        # The scanner gives the same object as long as nothing in it has changed.
        if known is not None and known.closure is answer:
            self._prepared.move_to_end(command)
            return known
        job = replace(command, manifest=answer.manifest)
        encoded = encode_job(job)
        source = os.path.join(request.cwd, parsed.source)
        build = short(digest_of(self._root_of(request.cwd)))
        key = job_key(encoded)
        prepared = Prepared(job, key, encoded, answer, way, source, build, toolchain)
        if way == "scanned":
            self._remember(command, replace(prepared, encoded=b""))
        return prepared

    def _remember(self, command: Job, prepared: Prepared) -> None:
        self._prepared[command] = prepared
        if len(self._prepared) > MAX_PREPARED:
            self._prepared.popitem(last=False)

    async def _search(
        self,
        request: Request,
        parsed: Compilation,
        toolchain: Toolchain,
        classified: JobEnvironment,
    ) -> SearchList:
        language = languages.ASKED_AS.get(parsed.language, parsed.language)
        key = SearchKey(
            executable=request.executable,
            toolchain=toolchain.digest,
            language=language,
            arguments=parsed.search_arguments,
            cwd=request.cwd,
            environment=tuple(sorted(classified.search.items())),
        )
        known = self._searches.get(key)
        if known is not None:
            return known
        asked = dict(request.environment) | dict(QUERY_ENVIRONMENT)
        command = [
            request.executable,
            *query_arguments(parsed.search_arguments, language),
        ]
        ran = await self._surroundings.run(command, request.cwd, asked)
        search = parse_search_list(ran.stderr, parsed.search_arguments)
        self._searches.put(key, search)
        return search

    async def _made_of(self, request: Request, scan: ScanRequest) -> list[bytes]:
        """What clang will look at again for the precompiled headers that the command line names."""
        inputs: list[bytes] = []
        for path in scan.precompiled:
            at = os.path.join(request.cwd, path)
            known = self._pch_inputs.get(request.executable, at)
            if known is None:
                asked = signature(at)
                command = [request.executable, *precompiled.query_arguments(path)]
                ran = await self._surroundings.run(command, request.cwd, request.environment)
                known = precompiled.parse_inputs(ran.stdout)
                self._pch_inputs.put(request.executable, at, asked, known)
            inputs += known
        return inputs

    async def _toolchain_files(self, request: Request, parsed: Compilation) -> list[bytes]:
        """Where gcc finds the specs that the command line names without a directory.

        An answer is remembered for good: where another file goes before it since, the proof shows that.
        """
        found = []
        for name in parsed.toolchain_files:
            asked = (*parsed.search_arguments, b"-print-file-name=" + name)
            key = (request.executable, request.cwd, *asked)
            if key not in self._named_files:
                command = [request.executable, *asked]
                ran = await self._surroundings.run(command, request.cwd, request.environment)
                if len(self._named_files) >= MAX_ROOTS:
                    self._named_files.clear()
                self._named_files[key] = ran.stdout.partition(b"\n")[0]
            found.append(self._named_files[key] or name)
        return found

    async def _list(
        self,
        request: Request,
        parsed: Compilation,
        toolchain: Toolchain,
        scan: ScanRequest,
        now: Callable[[], float],
    ) -> Closure | NotScannable | NotBounded:
        """The listed way: the compiler itself says what it reads."""
        command = [request.executable, *arguments.dependency_arguments(parsed, toolchain.family)]
        begun = now()
        ran = await self._surroundings.run(command, request.cwd, request.environment)
        if ran.exit_status != 0:
            return NotScannable(Reason.LISTING, ran.stderr[:200])
        try:
            paths = parse_listing(ran.stdout)
        except CompilerError as error:
            return NotScannable(Reason.LISTING, str(error).encode())
        return self._scanner.closure_from_listing(scan, paths, now(), begun)

    def _scan_request(
        self,
        request: Request,
        parsed: Compilation,
        classified: JobEnvironment,
        search: SearchList,
        toolchain: Toolchain,
    ) -> ScanRequest:
        source_dir = os.path.dirname(os.path.join(request.cwd, parsed.source))
        roots = {
            self._root_of(request.cwd),
            self._root_of(os.path.realpath(source_dir)),
        }
        kinds = {"include": Forced.INCLUDE, "imacros": Forced.MACROS}
        return ScanRequest(
            cwd=request.cwd,
            source=parsed.source,
            language=parsed.language,
            search=search,
            roots=tuple(sorted(roots)),
            forced=tuple((kinds[kind], name) for kind, name in parsed.forced_includes),
            assembler_directories=parsed.assembler_directories,
            defines=parsed.defines,
            extra_inputs=parsed.extra_inputs,
            precompiled=(parsed.include_pch,) if parsed.include_pch else (),
            optional_inputs=(
                *locale_files(locale_names(request.environment)),
                *terminal_files(request, toolchain.family),
            ),
            is_clang=toolchain.family is Family.CLANG,
            has_source_date_epoch=b"SOURCE_DATE_EPOCH" in classified.carried,
        )


def _parse(request: Request, family: Family, is_cxx: bool) -> Compilation | Here:
    def read(name: bytes) -> bytes | None:
        try:
            with open(os.path.join(request.cwd, name), "rb") as file:
                return file.read()
        except OSError:
            return None

    parsed = arguments.parse(request.argv[1:], family, is_cxx, request.cwd, read)
    if isinstance(parsed, arguments.Local):
        return Here(parsed.reason, parsed.detail)
    if not os.path.isfile(os.path.join(request.cwd, parsed.source)):
        return Here("missing-source", os.fsdecode(parsed.source))
    return parsed


def _hindrance(parsed: Compilation, classified: JobEnvironment) -> Here | None:
    """What the farm cannot do as this machine would, by the command line alone."""
    has_date = b"SOURCE_DATE_EPOCH" in classified.carried
    # The variable decides __DATE__ and __TIME__, never __TIMESTAMP__.
    times = [text for text in parsed.time_macros if not has_date or b"__TIMESTAMP__" in text]
    rows = (
        ("native", parsed.machine_dependent),
        ("plugin", parsed.plugins),
        ("time-macro", times),
        ("pch-preprocess", (parsed.source,) if parsed.is_pch_preprocessed else ()),
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
        return Here("wrapper")
    return Here("wrapper-without-zcc", "CCACHE_PREFIX=zcc sends what ccache misses")


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


def _job_environment(
    request: Request, classified: JobEnvironment, toolchain: Toolchain, pwd: bytes | None
) -> tuple[tuple[bytes, bytes], ...]:
    """What the command gets: the variables that count, and a PATH of the directories that do."""
    programs = (request.executable, *toolchain.programs.values())
    used = {os.path.dirname(program) for program in programs}
    path = [at for at in request.environment.get(b"PATH", b"").split(b":") if at in used]
    variables = dict(classified.carried) | dict(classified.search)
    variables[b"PATH"] = b":".join(dict.fromkeys(path)) or os.path.dirname(request.executable)
    if pwd is not None:
        variables[b"PWD"] = pwd
    return tuple(sorted(variables.items()))
