"""What goes along with a command beyond what its source includes: who knows of something.

A kind of input with a rule of its own is a function and a row of `CONTRIBUTORS`, and where it has something to
remember, a field of `Finders`. What an option names and the compiler opens plainly needs none of this: a row of
`zcc/compiler/commandline/file_options.py` is enough.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache

from cache.digest import Digest
from zcc.agent.analysis.charsets import charset_files
from zcc.agent.analysis.command import Command
from zcc.agent.analysis.helpers_on_path import ways_to_compiler
from zcc.agent.analysis.locales import catalogues_of, locale_files
from zcc.agent.analysis.outcome import Here
from zcc.agent.analysis.output_places import is_process_bound
from zcc.agent.analysis.plugins import PluginFinder
from zcc.agent.analysis.questions import Questions
from zcc.agent.analysis.terminals import terminal_files
from zcc.compiler.commandline import environment
from zcc.compiler.commandline.environment import language_directories
from zcc.compiler.commandline.tables import Family, Role
from zcc.compiler.disk.signatures import Memo, Sightings
from zcc.compiler.scan.module_maps import ModuleMaps
from zcc.compiler.scan.precompiled import stand_ins
from zcc.compiler.scan.provision import NOTHING, Provision, together
from zcc.compiler.toolchain.sysroots import Sysroots, is_for_android, sysroots_of
from zcc.errors import CompilerError
from zcc.reasons import Reason

# Finding the files of a locale costs 0.2 ms.
MAX_LOCALES = 64

# A build's calls share a handful of environments.
_locale_names = lru_cache(256)(environment.locale_names)


@dataclass
class Finders:
    """What contributors remember. One for each agent."""

    questions: Questions
    plugins: PluginFinder
    module_maps: ModuleMaps = field(default_factory=ModuleMaps)
    sysroots: Sysroots = field(default_factory=Sysroots)
    locales: Memo[tuple[tuple[bytes, ...], Digest], tuple[bytes, ...]] = field(
        default_factory=lambda: Memo(MAX_LOCALES)
    )


async def _places_written_to(_: Finders, command: Command) -> Provision:
    """The outputs' directories; those of outputs that are renamed are the farm's own."""
    outputs = command.outputs
    files = outputs.files.directories if command.renaming is None else ()
    return Provision(directories=(*files, *outputs.dumps.directories))


async def _working_directory(_: Finders, command: Command) -> Provision:
    pwd = command.pwd
    return Provision(directories=(pwd,)) if pwd and not is_process_bound(pwd) else NOTHING


async def _ways_to_compiler(_: Finders, command: Command) -> Provision:
    return Provision(directories=tuple(ways_to_compiler(command.request, command.variables)))


async def _search_directories(_: Finders, command: Command) -> Provision:
    """As the command line has them.

    clang calls two that are the same by the name of the first, but goes through `a/b/../..` of the second all
    the same. gcc calls a link that is a system directory by the shorter name of what it leads to. The variables
    of other languages are looked at by clang alone.
    """
    words = command.parsed.words
    named = (os.fsencode(word.note) for word in words if word.role is Role.SEARCH)
    of_languages = language_directories(command.request.environment) if command.is_clang else ()
    return Provision(directories=(*filter(None, named), *of_languages))


async def _library_directories(_: Finders, command: Command) -> Provision:
    """Those of LIBRARY_PATH: clang hands it to the linker and looks at nothing."""
    value = command.environment.carried.get(b"LIBRARY_PATH")
    if value is None or command.family is not Family.GCC:
        return NOTHING
    toolchain = command.toolchain
    found = environment.library_directories(value, toolchain.target, toolchain.version)
    return Provision(directories=found)


async def _sysroots(finders: Finders, command: Command) -> Provision:
    request, parsed, is_clang = command.request, command.parsed, command.is_clang
    named = sysroots_of(parsed, request.executable, request.cwd, is_clang=is_clang)
    return finders.sysroots.places(named, is_clang=is_clang, is_android=is_for_android(parsed))


async def _module_maps(finders: Finders, command: Command) -> Provision | Here:
    try:
        return finders.module_maps.named(command.parsed.module_maps, command.cwd)
    except CompilerError as error:
        return Here(Reason.MODULE_MAP, str(error))


async def _plugins(finders: Finders, command: Command) -> Provision | Here:
    return await finders.plugins.find(command)


async def _own_files(finders: Finders, command: Command) -> Provision:
    """What an option names among the compiler's own files, to be read or asked for."""
    request, parsed = command.request, command.parsed
    find = finders.questions.own_files
    probed = await find(request, parsed, parsed.probed_files)
    return Provision(
        required=tuple(await find(request, parsed, parsed.toolchain_files)),
        optional=tuple(filter(os.path.isabs, probed)),
    )


async def _locales(finders: Finders, command: Command) -> Provision:
    """Where the messages come from: libc opens the files, so that no proof shows which it missed."""
    names = _locale_names(command.request.environment)
    if not names:
        return NOTHING
    toolchain = command.toolchain

    def find(seen: Sightings) -> tuple[bytes, ...]:
        speakers = (toolchain.programs.get(role) for role in ("c", "as"))
        catalogues = catalogues_of(toolchain.digest, tuple(filter(None, speakers)))
        return locale_files(names, catalogues, seen)

    return Provision(optional=finders.locales.answer((names, toolchain.digest), find))


async def _charsets(_: Finders, command: Command) -> Provision:
    return Provision(optional=charset_files(command.parsed.charsets))


async def _terminal(_: Finders, command: Command) -> Provision:
    return Provision(optional=terminal_files(command.request, command.family))


async def _profiles(_: Finders, command: Command) -> Provision:
    return (
        Provision(optional=tuple(command.profiles())) if command.parsed.reads_profile else NOTHING
    )


async def _precompiled(finders: Finders, command: Command) -> Provision:
    """What the precompiled headers that clang will read were made of; gcc asks for nothing of that."""
    parsed = command.parsed
    named = [parsed.include_pch] if parsed.include_pch else []
    implied = stand_ins(parsed.forced_includes) if command.is_clang else ()
    found = [at for at in implied if os.path.isfile(os.path.join(command.cwd, at))]
    headers = (*named, *found[:1])
    return Provision(optional=tuple(await finders.questions.made_of(command.request, headers)))


# In the order in which they are asked: the first that says why the command stays here is what the user reads.
CONTRIBUTORS: tuple[Callable[[Finders, Command], Awaitable[Provision | Here]], ...] = (
    _module_maps,
    _plugins,
    _places_written_to,
    _working_directory,
    _ways_to_compiler,
    _search_directories,
    _sysroots,
    _library_directories,
    _own_files,
    _locales,
    _charsets,
    _terminal,
    _profiles,
    _precompiled,
)


async def provision_of(finders: Finders, command: Command) -> Provision | Here:
    """What all contributors know of; why the command stays here, where one of them says so."""
    provisions: list[Provision] = []
    for contributor in CONTRIBUTORS:
        brought = await contributor(finders, command)
        if isinstance(brought, Here):
            return brought
        provisions.append(brought)
    return together(provisions)
