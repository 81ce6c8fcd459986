"""`zcc-agent`: the one Python program that launchers start, as the agent or as the command line.

Every way of installing zcc puts it beside the launchers, with the right interpreter in its first line. So no
launcher has to find out where Python and the package lie, and no program is on PATH that nobody calls.
"""

from __future__ import annotations

import os
import sys

_USAGE = """usage: zcc-agent serve

The agent stands between the launchers (zcc, zcc++) and the farm. The first compile starts it and it
leaves when idle; `zcc agent start|stop|status` is the way to do so by hand.

`zcc-agent cli ...` is what `zcc` becomes for its subcommands (zcc --help).
"""


def main() -> None:
    """Serve as an agent, or be the command line.

    Each imports only its own: the other's modules would cost every start some 50 ms.
    """
    match sys.argv[1:]:
        case ["serve"]:
            from zcc.agent.main import main as serve  # noqa: PLC0415

            serve()
        case ["cli", *words]:
            # The launcher's word to this interpreter (zcc.c, exec_cli), and to no program that it starts.
            if os.environ.get("PYTHONCOERCECLOCALE") == "0":
                del os.environ["PYTHONCOERCECLOCALE"]
            from zcc.cli.main import main as run  # noqa: PLC0415

            run(words)
        case ["-h" | "--help"]:
            print(_USAGE, end="")
        case _:
            sys.exit(_USAGE)


if __name__ == "__main__":
    main()
