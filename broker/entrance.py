"""`zcc-broker`: the commands that only read and write the registry, without what serving a farm needs, which
would cost them twice their own CPU time."""

from __future__ import annotations

import sys
from importlib import import_module

from broker.commands.program import HELP, PROGRAM, run
from zcc.cli.program import Program
from zcc.cli.version import add_version

# Each of them, and the module whose `register` adds it.
_LIGHT = {
    "token": "broker.commands.tokens",
    "keys": "broker.commands.members",
    "revoke": "broker.commands.members",
    "storage-token": "broker.storage.commands",
    "storage-tokens": "broker.storage.commands",
    "storage-revoke": "broker.storage.commands",
}


def main() -> None:
    module = _LIGHT.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if module is None:
        run(import_module("broker.main").app)
        return
    app = Program(help=HELP)
    add_version(app, PROGRAM)
    import_module(module).register(app)
    run(app)
