"""`zcc-broker`: serve a farm, invite members, revoke and list their keys."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Annotated, Any, ClassVar

import typer

from broker.commands import audit, backup, members, tiers, tokens, why_node
from broker.commands.options import (
    DEFAULT_LISTEN,
    DEFAULT_PORT,
    DEFAULT_STATE,
    StateDir,
    TiersFile,
)
from broker.commands.program import HELP, PROGRAM, run
from broker.core.limits import KEY_CONNECTIONS, RUN_LIMIT_S
from broker.errors import StartError
from broker.listening import InterfaceListener, Whereabouts, announced_addresses
from broker.membership.registry import Registry
from broker.metrics.service import DEFAULT_ADDRESS, Metrics
from broker.results.tombstones import Tombstones, has_tombstones
from broker.results.voided import note_purge
from broker.service import reloadable, status_of
from broker.shell import Shell
from broker.state import (
    broker_keys,
    last_serving,
    record_serving,
    require_state,
    take_lock,
)
from broker.storage import commands
from broker.storage.service import Storage
from broker.storage.tokens import StorageAccess
from broker.tiers.opening import open_tiers
from broker.tiers.settings import TierSettings, read_tiers
from cache.stores import DiskStore
from zcc.cli.cache import cache_commands
from zcc.cli.program import Program
from zcc.cli.serving import (
    ServeCommand,
    add_settings,
    among,
    check_level,
    choose_level,
    reload_on_hangup,
    within,
)
from zcc.cli.version import add_version
from zcc.config import parse_duration, parse_share, parse_size
from zcc.descriptors import raise_descriptors
from zcc.discovery.announcement import fingerprint_of
from zcc.discovery.interfaces import InterfaceAddress
from zcc.discovery.multicast import Announcer
from zcc.farm import DEFAULT_FARM
from zcc.keys import KeyPair
from zcc.logs import log_to_stderr
from zcc.reaching import check_listening, split_endpoint, split_interface
from zcc.service import install
from zcc.service.manager import ServiceManager
from zcc.service.purge import BROKER_NAMES
from zcc.service.units import BROKER

DEFAULT_CACHE_SIZE = "10G"
# More than one broker has descriptors. A descriptor is an int of C.
MOST_CONNECTIONS = 1_000_000
MAX_DESCRIPTOR = (1 << 31) - 1

app = Program(help=HELP)


class MembersAccess(str, Enum):  # noqa: UP042 - typer's choices want plain strings
    WRITE = "write"
    READ = "read"
    OFF = "off"


add_version(app, PROGRAM)


class BrokerServe(ServeCommand):
    left_out: ClassVar = {"--metrics": DEFAULT_ADDRESS}
    file_name = "broker.toml"
    only_options = frozenset({"state", "ready_fd"})
    checks: ClassVar = {
        "listen": check_listening, "cache_size": parse_size, "quota": parse_size,
        "ccache_size": parse_size, "audit": parse_share, "run_limit": parse_duration,
        "log_level": check_level, "key_connections": within(1, MOST_CONNECTIONS),
        "ccache_members": among(each.value for each in MembersAccess),
    }  # fmt: skip


@app.command(cls=BrokerServe)
def serve(
    ctx: typer.Context,
    *,
    listen: Annotated[
        str,
        typer.Option(
            metavar="tcp://HOST:PORT|INTERFACE[:PORT]",
            help="Where to listen. To be reached from other machines name an address of this one,"
            " or tcp://0.0.0.0:PORT for all of them; or an interface, as in wg0:8317: it is waited for, and"
            " followed when its addresses change.",
        ),
    ] = DEFAULT_LISTEN,
    announce: Annotated[
        bool,
        typer.Option(
            "--announce",
            help="Tell the networks in which this broker is reached that it is there, by multicast DNS: the"
            " farm's name, the protocol, the address and the fingerprint of its key.",
        ),
    ] = False,
    state: StateDir = DEFAULT_STATE,
    tiers: TiersFile = "",
    farm: Annotated[
        str, typer.Option(metavar="NAME", help="The farm's name, as members see it.")
    ] = "",
    cache_size: Annotated[
        str, typer.Option(metavar="SIZE", help="The most that results and inputs may take on disk.")
    ] = DEFAULT_CACHE_SIZE,
    quota: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="The most that the results of one client's jobs may take, uncompressed; 0: no bound.",
        ),
    ] = "0",
    audit: Annotated[
        str,
        typer.Option(
            metavar="SHARE",
            help="The share of results that are run again on another node while the farm idles; 0: none.",
        ),
    ] = "1%",
    run_limit: Annotated[
        str,
        typer.Option(
            metavar="AGE",
            help="The longest that one run on a node may take: 16m, 1h. Nodes end a job after 15m themselves.",
        ),
    ] = f"{RUN_LIMIT_S:.0f}s",
    ccache_size: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="The most that values which ccache stores here may take; 0: it may store none.",
        ),
    ] = "5G",
    ccache_listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve ccache's remote storage by HTTP too, to holders of a storage-token.",
        ),
    ] = "",
    ccache_members: Annotated[
        MembersAccess,
        typer.Option(help="What members' ccaches may do with it over the farm's own connection."),
    ] = MembersAccess.WRITE,
    key_connections: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=MOST_CONNECTIONS,
            help="The most connections that one key may have: each agent, node and ccache helper has one.",
        ),
    ] = KEY_CONNECTIONS,
    metrics: Annotated[
        str,
        typer.Option(
            metavar="[HOST:PORT]",
            help=f"Serve metrics for Prometheus at http://HOST:PORT/metrics; alone: {DEFAULT_ADDRESS}. Whoever"
            " reaches the address may read them: they name no member, node or file.",
        ),
    ] = "",
    log_level: Annotated[
        str, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = "info",
    ready_fd: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=MAX_DESCRIPTOR,
            help="For programs: write one line with the endpoint to this descriptor.",
        ),
    ] = None,
) -> None:
    """Serve a farm until SIGTERM or Ctrl-C."""
    check_level(log_level)
    log_to_stderr(log_level.upper(), "%(asctime)s %(levelname)s %(name)s: %(message)s")
    manager = ServiceManager.of(os.environ)
    check_listening(listen)
    if ready_fd is not None:
        _check_open(ready_fd)
    limit_bytes, quota_bytes = parse_size(cache_size), parse_size(quota)
    storage_bytes = parse_size(ccache_size)
    if ccache_listen and not storage_bytes:
        raise typer.BadParameter("--ccache-listen needs a --ccache-size that is not 0")
    members = None if ccache_members.value == "off" else StorageAccess(ccache_members.value)
    options = _Options(
        listen,
        state,
        farm,
        limit_bytes,
        quota_bytes,
        storage_bytes,
        ccache_listen,
        members,
        parse_share(audit),
        key_connections,
        parse_duration(run_limit),
        metrics,
        announce,
        read_tiers(state, tiers),
    )
    asyncio.run(_serve(options, ready_fd, ctx, manager))


def _check_open(ready_fd: int) -> None:
    """Raises StartError when the caller has passed no such descriptor."""
    try:
        os.fstat(ready_fd)
    except OSError as error:
        raise StartError(f"--ready-fd {ready_fd}: no such descriptor is open here") from error


@dataclass(frozen=True, slots=True)
class _Options:
    """What `serve` was told; sizes in bytes."""

    listen: str
    state: str
    farm: str
    limit_bytes: int
    quota_bytes: int
    storage_bytes: int
    storage_listen: str
    members: StorageAccess | None
    audit_share: float
    key_connections: int
    run_limit_s: float
    metrics_listen: str
    announces: bool
    tiers: list[TierSettings]


async def _serve(
    options: _Options, ready_fd: int | None, ctx: typer.Context, manager: ServiceManager
) -> None:
    state = options.state
    raise_descriptors()
    keys = broker_keys(state)
    lock = take_lock(state)
    name = options.farm or last_serving(state)[1] or DEFAULT_FARM
    store = DiskStore(state, name, options.limit_bytes, options.quota_bytes)
    storage = Storage(state, options.storage_bytes, options.members)
    if options.storage_listen:  # what may fail comes before members are let in
        await storage.listen(options.storage_listen)
    metrics = Metrics(options.metrics_listen) if options.metrics_listen else None
    interface = split_interface(options.listen)
    if options.announces and interface is None:
        announced_addresses(options.listen)
    tombstones = Tombstones(state)
    shell = Shell(
        name,
        "" if interface else options.listen,
        keys,
        state,
        store,
        storage,
        options.audit_share,
        options.key_connections,
        run_limit_s=options.run_limit_s,
        metrics=metrics,
        tombstones=tombstones,
        tiers=open_tiers(state, options.tiers, store, tombstones),
    )
    if metrics is not None:
        await metrics.start()
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    failure: list[BaseException] = []

    def fail(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A mistake of ours: stop (members reconnect to the next broker) rather than limp on."""
        if isinstance(context.get("exception"), OSError) and "socket" in context:
            # No descriptor is left for an HTTP connection: asyncio tries again in a second.
            logging.warning("%s: %s", context["message"], context["exception"])
            return
        logging.error("%s", context["message"], exc_info=context.get("exception"))
        failure.append(context.get("exception") or RuntimeError(context["message"]))
        stopped.set()

    loop.set_exception_handler(fail)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    appliers = {"log_level": choose_level, **reloadable(store, shell.auditor)}
    reload_on_hangup(ctx, manager, appliers, partial(status_of, shell))
    whereabouts: Whereabouts | None = None
    try:
        record_serving(state, shell.endpoint or options.listen, name)
        serving = partial(_tell_serving, state, name, [] if ready_fd is None else [ready_fd])
        listener = _listener(interface, shell, serving)
        whereabouts = _whereabouts(options, name, keys, shell, listener)
        # Also while it waits for an interface: a manager would take it for one that does not come up.
        manager.ready(status_of(shell))
        manager.watch(partial(status_of, shell))
        await stopped.wait()
    finally:
        manager.stopping("says good-bye to the members")
        if whereabouts is not None:
            await whereabouts.close()
        shell.close()
        manager.close()
        os.close(lock)
    if failure:
        raise SystemExit(70)  # EX_SOFTWARE


def _listener(
    interface: tuple[str, int | None] | None, shell: Shell, serving: Callable[[str], None]
) -> InterfaceListener | None:
    """What follows the interface by whose name it listens, if it does so; `serving` hears of each address."""
    if interface is None:
        serving(shell.endpoint)
        return None
    name, port = interface
    listener = InterfaceListener(name, port or DEFAULT_PORT, shell.bind, shell.unbind, serving)
    listener.look()
    return listener


def _tell_serving(state: str, farm: str, ready: list[int], endpoint: str) -> None:
    """Who asks later reads it, and who has started us is told once."""
    record_serving(state, endpoint, farm)
    if ready:
        with os.fdopen(ready.pop(), "w") as told:
            told.write(endpoint + "\n")


def _whereabouts(
    options: _Options, farm: str, keys: KeyPair, shell: Shell, listener: InterfaceListener | None
) -> Whereabouts:
    """What follows the addresses that there are, and announces them if it is to."""

    def where() -> tuple[list[InterfaceAddress], int]:
        if listener is not None:
            addresses = [each for each in listener.bound_addresses() if not each.is_local]
            return addresses, listener.port
        return announced_addresses(options.listen), split_endpoint(shell.endpoint)[1]

    announcer = None
    if options.announces:
        announcer = Announcer(farm, keys.public)
        logging.info(
            "announces itself as %s, with the fingerprint %s", farm, fingerprint_of(keys.public)
        )
    return Whereabouts(listener, announcer, where)


tokens.register(app)
members.register(app)
tiers.register(app)
backup.register(app)
commands.register(app)


def _open_results(state: str) -> DiskStore:
    """The shared cache of the farm that was last served from here."""
    require_state(state)
    farm = last_serving(state)[1] or DEFAULT_FARM
    return DiskStore(state, farm, parse_size(DEFAULT_CACHE_SIZE), is_strict=True)


install.register(app, BROKER, BROKER_NAMES)
add_settings(app, "serve", BROKER)
audit.register(app, _open_results)
why_node.register(app)


def _in_tiers(store: DiskStore) -> list[str] | None:
    """The keys of all whose results tiers may hold; None: there have been no tiers."""
    if not has_tombstones(store.directory):
        return None
    with closing(Registry(store.directory)) as registry:
        return [row.public_key for row in registry.rows()]


results = cache_commands(_open_results, DEFAULT_STATE, "--state", note_purge, _in_tiers)
app.add_typer(results, name="cache")


def main() -> None:
    run(app)


if __name__ == "__main__":
    main()
