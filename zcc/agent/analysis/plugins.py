"""The plugins of a command: where they lie, what goes along, and which have to stay.

Owns what this agent has learnt of plugins. Must not know how libraries are found
(`compiler/toolchain/plugin_files.py`).
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict

from zcc.agent.analysis.command import Command
from zcc.agent.analysis.outcome import Here
from zcc.agent.analysis.questions import NamedFile
from zcc.compiler.commandline.tables import Family
from zcc.compiler.scan.provision import NOTHING, Provision
from zcc.compiler.toolchain.plugin_files import Plugins
from zcc.errors import CompilerError
from zcc.job import Job
from zcc.reasons import Reason

MAX_COMMANDS = 8192
MAX_DISTRUSTED = 1024
# Where gcc looks for plugins that are named without a directory.
_OWN = b"plugin"
# What specs give to each compile; Fedora's bring annobin so. They may do it under a condition: a plugin too
# many is a file too many, and one that stands in no text (`%include`) is the proof's to find.
_GIVEN = re.compile(rb"-fplugin=([^\s%{}|;]+)")
_ASKED = b"%:find-plugindir("


class PluginFinder:
    """One for each agent. `named_file` asks the compiler for a file among its own."""

    def __init__(self, named_file: NamedFile) -> None:
        self._named_file = named_file
        self._plugins = Plugins()
        # By arguments and working directory.
        self._used: OrderedDict[tuple[tuple[bytes, ...], bytes], tuple[bytes, ...]] = OrderedDict()
        self._distrusted: OrderedDict[tuple[bytes, ...], str] = OrderedDict()

    async def find(self, command: Command) -> Provision | Here:
        """What this command's plugins need, or why it stays here."""
        request, parsed, texts = command.request, command.parsed, command.texts
        given = [name for text in texts for name in _GIVEN.findall(text)]
        paths = [*parsed.plugins, *(name for name in given if b"/" in name)]
        names = [*parsed.plugin_names, *(name for name in given if b"/" not in name)]
        has_plugins = bool(paths or names)
        if not has_plugins and not any(_ASKED in text for text in texts):
            return NOTHING
        # Under any -fplugin= the driver asks whether this directory is there.
        own = b""
        if command.family is Family.GCC:
            own = await self._named_file(request, parsed.search_arguments, _OWN)
        if not has_plugins:
            return Provision(directories=(own,) if own.startswith(b"/") else ())
        paths += [os.path.join(own, name + b".so") for name in names]
        plugins = tuple(os.path.join(request.cwd, path) for path in dict.fromkeys(paths))
        if command.environment.libraries:
            return Here(Reason.PLUGIN, "LD_LIBRARY_PATH: its libraries could lie there")
        if plugins in self._distrusted:
            return Here(Reason.PLUGIN, self._distrusted[plugins])
        try:
            brought = self._plugins.brought(plugins, command.toolchain)
        except CompilerError as error:
            return Here(Reason.PLUGIN, str(error))
        self._used[request.argv, request.cwd] = plugins
        if len(self._used) > MAX_COMMANDS:
            self._used.popitem(last=False)
        named = {path: os.path.join(request.cwd, path) for path in parsed.plugin_arguments}
        directories = tuple(path for path, at in named.items() if os.path.isdir(at))
        # What an argument names may be read; if it is written, nobody has declared that.
        optional = tuple(path for path in named if path not in directories and b"\n" not in path)
        return Provision(
            required=(*plugins, *brought.required),
            optional=(*optional, *brought.optional),
            directories=(own, *directories) if own.startswith(b"/") else directories,
            has_code=True,
        )

    def distrust(self, job: Job, why: str) -> bool:
        """Keep the plugins of this job here from now on; False where it has none.

        What a plugin reads, asks for or writes beyond what its command declares is no fault of a scanner's,
        and it would do it again.
        """
        plugins = self._used.get((job.argv, job.cwd))
        if plugins is None:
            return False
        self._distrusted[plugins] = why
        if len(self._distrusted) > MAX_DISTRUSTED:
            self._distrusted.popitem(last=False)
        return True
