"""`zcc SUBCOMMAND`: the launcher execs this for every word that is no compiler."""

from __future__ import annotations

import sys

from cache.errors import CacheError
from zcc.cli import agent, cache, doctor, explain, farm, masquerade, publish, seeing, stats, up, why
from zcc.cli.program import Program
from zcc.cli.version import add_version
from zcc.errors import ZccError, told

app = Program(
    name="zcc",
    help="Distribute C and C++ compiles over your team's machines.\n\n"
    "In front of a compiler: `zcc gcc -c x.c`, `make -j64 CC='zcc gcc'`,"
    " `cmake -DCMAKE_C_COMPILER_LAUNCHER=zcc`.\n\n"
    "Set ZCC_DISABLE=1 to run the compiler directly, ZCC_FALLBACK=never to make every fallback to"
    " a local compile an error that names its reason.",
)
app.command("up", context_settings={"allow_interspersed_args": False})(up.up)
app.command("publish", context_settings={"allow_interspersed_args": False})(publish.publish)
app.command("join")(farm.join)
app.command("nodes")(farm.nodes)
app.command("stats", cls=stats.StatsCommand)(stats.stats)
app.command("config")(seeing.config)
app.command("doctor")(doctor.doctor)
app.command(
    "explain",
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
)(explain.explain)
app.command(
    "why",
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
)(why.why)
app.command("masquerade")(masquerade.masquerade)
app.command("toolchain")(explain.toolchain)
app.add_typer(agent.app, name="agent")
app.add_typer(cache.cache_commands(cache.open_own, "", "--dir"), name="cache")


add_version(app, "zcc")


def main() -> None:
    """The entry point: errors that are the user's to mend come without a traceback."""
    try:
        app(prog_name="zcc")
    except (ZccError, CacheError, OSError) as error:
        sys.exit(f"zcc: {told(error)}")


if __name__ == "__main__":
    main()
