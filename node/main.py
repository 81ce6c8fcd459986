"""`zcc-node`: lends this machine to a farm."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar

import platformdirs
import typer

from node.apparmor import profile_of
from node.core.lending import MODES, Lending
from node.errors import CgroupError, NodeError
from node.host import Host
from node.naming import keep_name, settled_name
from node.orders import Orders, ask_to_drain, is_serving, keep_mode, kept_mode, parse_mode
from node.owner import Owner
from node.probe import find_bubblewrap, probe
from node.sandbox.cgroup import Cgroups, claim_cgroups
from node.sandbox.command_line import Limits, SandboxMode
from node.sandbox.freshness import Freshness
from node.sandbox.keeper import end_left, kept, mark_of
from node.sandbox.memory import Gauge
from node.sandbox.priority import LOWEST
from node.sandbox.seats import own_user_namespace
from node.shell import NodeShell
from node.user import STAY, User, become, choose_user, default_state
from zcc import farm
from zcc.bounds import MAX_SLOTS
from zcc.capacity import processors
from zcc.cli import joining, leaving
from zcc.cli.program import Program, run_program
from zcc.cli.serving import (
    ServeCommand,
    add_settings,
    among,
    check_level,
    choose_level,
    reload_on_hangup,
    within,
)
from zcc.cli.terminal import say
from zcc.cli.version import add_version
from zcc.config import parse_duration, parse_size
from zcc.descriptors import raise_descriptors
from zcc.documents import read_text
from zcc.errors import ZccError
from zcc.logs import log_to_stderr
from zcc.service import install
from zcc.service.manager import ServiceManager
from zcc.service.purge import NODE_NAMES, Keeping
from zcc.service.units import NODE

app = Program(
    help="Lend this machine to a farm: it compiles others' jobs in sandboxes.\n\n"
    "First `zcc-node join TOKEN` with a token that `zcc-broker token --role node` printed, then"
    " `zcc-node serve`. No compiler is needed here: toolchains come with the jobs.",
)
State = Annotated[
    str,
    typer.Option("--state", metavar="DIR", help="Where keys, inputs and toolchains are kept."),
]
DEFAULT_STATE = default_state(platformdirs.user_state_dir("zcc-node", False))
AsUser = Annotated[
    str,
    typer.Option(
        "--user",
        metavar="NAME",
        help="Whom a node that root starts becomes: NAME; root stays root; any stays root only where"
        " nobody else can do it. Default: the state directory's owner, or zcc, or a number of its own.",
    ),
]
WAYS = {"auto": SandboxMode.FULL, "bwrap": SandboxMode.FULL, "none": SandboxMode.NONE}
# The credential with which a node that a service manager starts joins by itself.
CREDENTIAL = "zcc-node.token"
# Beyond its grace a node has so long to end its jobs and say good-bye.
AFTER_GRACE_S = 20.0
logger = logging.getLogger("zcc.node")


add_version(app, "zcc-node")


@app.command(cls=joining.DiscoveringCommand)
def join(
    token: Annotated[
        str,
        typer.Argument(metavar="TOKEN", show_default=False, help=joining.HELP.format("node")),
    ] = "",
    state: State = DEFAULT_STATE,
    discover: joining.Discover = None,
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help="What others call this node, its key and its results."),
    ] = os.uname().nodename,
) -> None:
    """Enrol this machine with a join token (role node)."""
    told, endpoints = joining.told(token, discover)
    access = farm.join(told, state, name, ("node",), endpoints)
    keep_name(state, name)
    where = "" if state == DEFAULT_STATE else f" --state {shlex.quote(state)}"
    say(f"joined {farm.spoken(access.farm)} at {access.endpoint}; now: zcc-node serve{where}")


@app.command()
def leave(
    state: State = DEFAULT_STATE,
    yes: bool = leaving.YES,
    local: bool = leaving.LOCAL,
    with_all: bool = leaving.PURGE,
) -> None:
    """Leave the farm: the broker revokes this node's key, and it is removed here."""
    again = "zcc-node join TOKEN"
    if not with_all:
        leaving.leave(state, again, yes, local)
        return

    def leave_now() -> None:
        if is_serving(state):
            raise NodeError(f"a node serves with --state {state}: zcc-node drain --wait")
        leaving.leave_if_member(state, again, local)

    install.purge_service(
        NODE, [Keeping(state, NODE_NAMES)], leaving.told_first(state), not os.geteuid(),
        is_sure=yes, before=leave_now,
    )  # fmt: skip


@app.command()
def check(state: State = DEFAULT_STATE, user: AsUser = "") -> None:
    """Try out whether a sandbox that holds can be made on this machine, as serve does, and as whom it does."""
    cgroups = _claimed_cgroups()
    chosen = choose_user(user, state)
    directory = state
    if chosen is not None and not _is_owned_by(chosen, state):
        # What serve would give away for good is none of a check's.
        directory = tempfile.mkdtemp(prefix="zcc-node-check-")
    try:
        _become_nobody_special(chosen, directory, cgroups)
        own_user_namespace()
        found = probe(directory, cgroups=cgroups)
    finally:
        if directory != state:
            shutil.rmtree(directory, ignore_errors=True)
    whose = f", as the user {chosen.name}" if chosen is not None else ""
    say(f"{found.bubblewrap} isolates, filters and logs on this machine{whose}")
    for weakness in found.weaker:
        say(f"weaker than elsewhere: {weakness}")


@app.command()
def apparmor_profile() -> None:
    """Print an AppArmor profile by which bubblewrap may make sandboxes, for systems that ask for one.

    Ubuntu does so from 23.10 on. Keep it as /etc/apparmor.d/zcc-bwrap, and load it with `apparmor_parser -r`.
    """
    typer.echo(profile_of(find_bubblewrap()), nl=False)


@app.command()
def mode(
    word: Annotated[
        str, typer.Argument(metavar="MODE", help=f"{', '.join(MODES)}; none: say which it is.")
    ] = "",
    state: State = DEFAULT_STATE,
) -> None:
    """Say when this node takes jobs, from now on: a node that serves follows within seconds.

    dedicated: always. proportional: on the processors that others on this machine leave. idle: while
    nobody works on it. off: never.
    """
    if not word:
        say(kept_mode(state).value)
        return
    keep_mode(state, parse_mode(word, "zcc-node mode"))
    say(f"the mode is {word}" + ("" if is_serving(state) else "; no node serves now"))


@app.command()
def drain(
    state: State = DEFAULT_STATE,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when the node has left, not at once.")
    ] = False,
) -> None:
    """Have the node that serves here leave: no more jobs, and gone when the last one is handed over."""
    ask_to_drain(state, waits=wait)
    say("the node has left" if wait else "the node takes no more jobs, and leaves")


class NodeServe(ServeCommand):
    file_name = "node.toml"
    only_options = frozenset({"state", "own"})
    alone = frozenset({"--own"})  # a user's own node is no service
    checks: ClassVar = {
        "mode": among(("", *MODES)), "sandbox": among(WAYS), "slots": within(0, MAX_SLOTS),
        "nice": within(0, LOWEST),
        "idle_after": parse_duration, "grace": parse_duration, "recheck": parse_duration,
        "cache_size": parse_size, "memory": parse_size, "log": check_level,
    }  # fmt: skip


@app.command(cls=NodeServe)
def serve(
    ctx: typer.Context,
    *,
    state: State = DEFAULT_STATE,
    slots: Annotated[
        int,
        typer.Option(
            min=0,
            max=MAX_SLOTS,
            metavar="N",
            help="Compiles at a time; 0: one a processor that may be used.",
        ),
    ] = 0,
    mode: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help=f"When jobs are taken: {', '.join(MODES)} (`zcc-node mode --help`). Kept from then on;"
            " without one the kept one, at first dedicated.",
        ),
    ] = "",
    idle_after: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Mode idle: how long nobody must have worked on this machine."
        ),
    ] = "5m",
    nice: Annotated[
        int,
        typer.Option(
            min=0, max=LOWEST, metavar="N", help="How much jobs give way to others' processes."
        ),
    ] = LOWEST,
    grace: Annotated[
        str,
        typer.Option(metavar="TIME", help="How long jobs may still run after SIGTERM."),
    ] = "60s",
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help="Instead of the name given to join, from now on."),
    ] = "",
    sandbox: Annotated[
        str, typer.Option(metavar="WAY", help="auto, bwrap, or none (unsafe).")
    ] = "auto",
    cache_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Disk for inputs and toolchains.")
    ] = "10G",
    memory: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Memory for all jobs together, and for one; 0: what there is, less a sixteenth.",
        ),
    ] = "0",
    recheck: Annotated[
        str,
        typer.Option(
            metavar="AGE",
            help="How long inputs that were read and found sound are believed, unless they look different;"
            " toolchains 24 times as long.",
        ),
    ] = "1h",
    log: Annotated[
        str, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = "info",
    own: Annotated[
        bool,
        typer.Option(
            "--own",
            help="With this user's own key, a publisher's, for the jobs of that key alone;"
            " `zcc publish` starts such a node.",
        ),
    ] = False,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow/--no-follow",
            help="A broker that cannot be reached is looked for in the networks at hand, by its key.",
        ),
    ] = True,
    user: AsUser = "",
) -> None:
    """Compile for the farm until `zcc-node drain` (finishes what runs), SIGTERM (the same, for --grace at most)
    or a second one (ends at once)."""
    check_level(log)
    log_to_stderr(log.upper(), "%(asctime)s %(levelname)s %(message)s")
    # Before this process is somebody else, in a user namespace of his own.
    manager = ServiceManager.of(os.environ)
    access = (
        _own_access()
        if own
        else farm.load_access(state, follows=follow) or _joined_by_credential(state)
    )
    if access is None:
        raise NodeError(f"{state} holds no key yet: zcc-node join TOKEN --state {state}")
    way = WAYS.get(sandbox)
    if way is None:
        raise NodeError(f"--sandbox {sandbox}: expected auto, bwrap or none")
    chosen = parse_mode(mode, "--mode") if mode else kept_mode(state)
    idle_after_s, grace_s = parse_duration(idle_after), parse_duration(grace)
    cgroups = _claimed_cgroups()
    # With --own every job is this user's own, whose key lies where only he can read.
    _become_nobody_special(choose_user(STAY if own else user, state), state, cgroups)
    os.makedirs(state, mode=0o700, exist_ok=True)
    orders = Orders(state)
    # Before this node is in a user namespace of its own: from there another's processes cannot be told.
    if left := end_left(mark_of(state)):
        logger.warning("%d processes of jobs were left by a node that was killed; ended", left)
    own_user_namespace()
    raise_descriptors()
    found = probe(state, way, cgroups)
    for weakness in found.weaker:
        logger.info("weaker than elsewhere: %s", weakness)
    slots = slots or processors()
    group = found.cgroups.path if found.cgroups is not None else ""
    if mode:
        keep_mode(state, chosen)
    lending = Lending(slots, len(os.sched_getaffinity(0)), idle_after_s)
    host = Host(lending, chosen, orders, partial(Owner, group))
    freshness = Freshness(parse_duration(recheck))
    stop = _Stopping(manager, grace_s)
    appliers = {
        "log": choose_level,
        "grace": stop.choose_grace,
        "idle_after": lambda text: lending.choose_idle_after(parse_duration(text)),
        "recheck": lambda text: setattr(freshness, "every_s", parse_duration(text)),
    }
    make_shell = partial(
        NodeShell,
        access,
        settled_name(state, name),
        slots,
        state,
        found,
        parse_size(cache_size),
        Limits(nice=nice),
        freshness=freshness,
        host=host,
        gauge=_gauge(parse_size(memory)),
    )
    with kept(found.mark):
        asyncio.run(_serve(make_shell, stop, ctx, appliers))


def _joined_by_credential(state: str) -> farm.Access | None:
    """The access that a join token gives which the service manager has handed over (systemd.exec(5),
    LoadCredential=); None: it has handed over none."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    try:
        token = read_text(os.path.join(directory, CREDENTIAL))
    except FileNotFoundError:
        return None
    logger.info("joining with the token that the service manager has handed over")
    name = os.uname().nodename
    access = farm.join(token, state, name, ("node",))
    keep_name(state, name)
    return access


def _gauge(limit_bytes: int) -> Gauge:
    """What jobs may have of this machine's memory."""
    gauge = Gauge(limit_bytes)
    logger.info("jobs may have %d MiB of memory together", gauge.limit_bytes >> 20)
    return gauge


def _claimed_cgroups() -> Cgroups | str:
    """The control groups for jobs, or why there are none."""
    try:
        return claim_cgroups()
    except CgroupError as error:
        return str(error)


def _is_owned_by(user: User, state: str) -> bool:
    return os.path.isdir(state) and os.stat(state).st_uid == user.uid


def _become_nobody_special(user: User | None, state: str, cgroups: Cgroups | str) -> None:
    if user is None:
        return
    if isinstance(cgroups, Cgroups):
        cgroups.give_to(user.uid)
    become(user, state)
    logger.info("root has become the user %s", user.name)


def _own_access() -> farm.Access:
    """The access of this machine's user, as a node."""
    return replace(farm.publisher_access(os.environ), role="node")


class _Stopping:
    """How a node that is told to end does so: what runs may end, for the grace; told twice, at once."""

    def __init__(self, manager: ServiceManager, grace_s: float) -> None:
        self.manager = manager
        self._grace_s = grace_s
        self._was_asked = False

    def choose_grace(self, text: str) -> None:
        self._grace_s = parse_duration(text)

    def ask(self, shell: NodeShell) -> None:
        if self._was_asked:
            self._end(shell)
            return
        self._was_asked = True
        # Whatever the unit allows: the grace is this node's own setting.
        self.manager.stopping("takes no more jobs, ends what runs", self._grace_s + AFTER_GRACE_S)
        asyncio.get_running_loop().call_later(self._grace_s, self._end_late, shell)
        shell.stop()

    def _end_late(self, shell: NodeShell) -> None:
        logger.warning("jobs still run after %g s: others get them", self._grace_s)
        self._end(shell)

    def _end(self, shell: NodeShell) -> None:
        if not shell.left.done():
            shell.left.set_result(None)


async def _serve(
    make_shell: Callable[[], NodeShell],
    stop: _Stopping,
    ctx: typer.Context,
    appliers: Mapping[str, Callable[[Any], None]],
) -> None:
    shell = make_shell()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.ask, shell)
    reload_on_hangup(ctx, stop.manager, appliers, lambda: shell.status)
    try:
        stop.manager.ready(shell.status)
        stop.manager.watch(lambda: shell.status)
        await shell.left
    finally:
        stop.manager.stopping("says good-bye to the broker")
        shell.close()
        stop.manager.close()


install.register(app, NODE)
add_settings(app, "serve", NODE)


def main() -> None:
    """The entry point: errors that are the user's to mend come without a traceback."""
    run_program(app, "zcc-node", (NodeError, ZccError, OSError))


if __name__ == "__main__":
    main()
