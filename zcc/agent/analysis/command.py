"""A compile command of which all is known but its inputs."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from zcc.agent.analysis.compiler_config import is_native
from zcc.agent.analysis.helpers_on_path import job_environment
from zcc.agent.analysis.outcome import Here
from zcc.agent.analysis.output_places import Misplaced, Outputs, Wanted, physical_pwd
from zcc.agent.analysis.overwriting import way_of_main
from zcc.agent.analysis.projects import release_of
from zcc.agent.launchers.wire import Request
from zcc.compiler.commandline.compilation import Compilation, StopsAt
from zcc.compiler.commandline.environment import JobEnvironment
from zcc.compiler.commandline.tables import Family
from zcc.compiler.neutral.renaming import Renaming, find_renaming
from zcc.compiler.toolchain.index import Toolchain
from zcc.compiler.toolchain.profiles import profile_places


@dataclass(frozen=True, slots=True)
class Command:
    """What a launcher asks for, as it was read, with its compiler and the places that it writes to.

    `environment` are the variables that count, `variables` what the job gets for its environment. `texts` are
    what configures the compiler (`Configurations.texts`). `pwd` is PWD, where the compiler believes it.
    `renaming` is how the outputs are called on the farm, None: as here.
    """

    request: Request
    parsed: Compilation
    environment: JobEnvironment
    toolchain: Toolchain
    texts: tuple[bytes, ...]
    outputs: Outputs
    pwd: bytes | None
    variables: tuple[tuple[bytes, bytes], ...]
    renaming: Renaming | None

    @property
    def cwd(self) -> bytes:
        return self.request.cwd

    @property
    def family(self) -> Family:
        return self.toolchain.family

    @property
    def is_clang(self) -> bool:
        return self.toolchain.family is Family.CLANG

    @property
    def has_date(self) -> bool:
        """Whether SOURCE_DATE_EPOCH is this compiler's clock: gcc's since 7, clang's since 16."""
        is_set = b"SOURCE_DATE_EPOCH" in self.environment.carried
        return is_set and release_of(self.toolchain) >= (16 if self.is_clang else 7)

    @property
    def source(self) -> bytes:
        """The source's path from the root."""
        return os.path.join(self.request.cwd, self.parsed.source)

    def profiles(self) -> list[bytes]:
        """Where this compile may find a profile; a directory among the places is none."""
        parsed, cwd = self.parsed, self.request.cwd
        if not parsed.reads_profile and not parsed.removes_profile:
            return []
        cwds = dict.fromkeys((cwd, self.pwd or cwd))
        places = profile_places(self.family, parsed.profiles, parsed.gcda, cwds)
        return [at for at in places if not os.path.isdir(os.path.join(cwd, at))]


def command_of(
    request: Request,
    parsed: Compilation,
    environment: JobEnvironment,
    toolchain: Toolchain,
    texts: tuple[bytes, ...],
) -> Command | Here:
    """The command with its places here; why it stays, where only the compiler itself can write as it would."""
    family = toolchain.family
    if is_native(texts):
        parsed = replace(parsed, machine_dependent=(b"the compiler's configuration",))
    is_assembly = parsed.stops_at is StopsAt.ASSEMBLY
    main = way_of_main(family, is_assembly, parsed.is_assembled_apart)
    outputs = Wanted(request.cwd, request.umask, family, main, parsed.outputs, parsed.dumps).find()
    if isinstance(outputs, Misplaced):
        return Here(outputs.reason, os.fsdecode(outputs.path))
    pwd = physical_pwd(request.environment, request.cwd)
    if isinstance(pwd, Misplaced):
        return Here(pwd.reason, os.fsdecode(pwd.path))
    files = outputs.files
    return Command(
        request=request,
        parsed=parsed,
        environment=environment,
        toolchain=toolchain,
        texts=texts,
        outputs=outputs,
        pwd=pwd,
        variables=job_environment(request, environment, toolchain, pwd),
        renaming=find_renaming(parsed, family, files.outputs, files.directories),
    )
