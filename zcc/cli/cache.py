"""`zcc cache` and `zcc-broker cache`: what is remembered, and how to make it less.

Both work on the store's files, beside the agent or broker whose store it is: what they remove is a miss there.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict

import typer

from cache.selection import Selection
from cache.stores import DiskStore
from cache.upkeep import Removed, clear, holding, purge, trim, verify
from zcc import config as configuration
from zcc.agent.results.local_cache import SPACE
from zcc.cli import agent
from zcc.cli.figures import size_text
from zcc.cli.program import Program
from zcc.cli.terminal import say
from zcc.config import parse_duration, parse_size
from zcc.errors import ConfigError
from zcc.member_id import member_id

# A longer verification says how far it is, so often.
PROGRESS_S = 1.0


def open_own(directory: str) -> DiskStore:
    """This user's own results, once a running agent has written down all that it knows."""
    if not directory:
        agent.ask({"op": "settle"})
    elif not os.path.isdir(directory):
        raise ConfigError(f"{directory} holds no results: zcc config says where yours are kept")
    config = configuration.load(os.environ)
    place = directory or configuration.cache_dir(os.environ, config)
    return DiskStore(place, SPACE, config.cache_bytes, is_strict=True)


def cache_commands(
    open_store: Callable[[str], DiskStore],
    default: str,
    option: str,
    note: Callable[[DiskStore, Selection], Callable[[], None]] = lambda store, selection: (
        lambda: None
    ),
    others: Callable[[DiskStore], Sequence[str] | None] = lambda store: None,
) -> typer.Typer:
    """The command group for the stores that `open_store(DIR)` opens; `option` names the directory.

    `note` is told what is about to be purged; what it answers is called when that is done, or has failed.
    `others` are the public keys of those who may have results elsewhere, which `note` reaches; None: all are
    here.
    """
    app = Program(help="Show, trim, purge and verify remembered results.")
    where = typer.Option(default, option, metavar="DIR", help="Where the results are kept.")
    as_json = typer.Option(False, "--json", help="One JSON object, for scripts.")

    @app.command("show")
    def show_(directory: str = where, as_json: bool = as_json) -> None:
        """How much is remembered, and from whom."""
        with closing(open_store(directory)) as store:
            show(store, as_json)

    @app.command("trim")
    def trim_(
        size: str = typer.Argument("", metavar="SIZE", help="Down to this; default the limit."),
        directory: str = where,
        as_json: bool = as_json,
    ) -> None:
        """Remove the least recently used down to a size, and forget the results that need it."""
        with closing(open_store(directory)) as store:
            removed = trim(store, parse_size(size) if size else store.limit_bytes)
        agent.ask({"op": "recount"})
        say(told(removed, as_json))

    @app.command("purge")
    def purge_(
        *,
        everything: bool = typer.Option(False, "--all", help="All results."),
        unused: str = typer.Option("", metavar="AGE", help="Not used for so long: 30m, 12h, 7d."),
        older: str = typer.Option("", metavar="AGE", help="Made longer ago than that."),
        node: str = typer.Option("", metavar="NAME|ID", help="Compiled by this node."),
        user: str = typer.Option("", metavar="ID", help="Of jobs that this member submitted."),
        toolchain: str = typer.Option(
            "", metavar="DIGEST", help="Made with this toolchain; the first digits are enough."
        ),
        key: str = typer.Option("", metavar="DIGEST", help="Of this job; the first digits do."),
        directory: str = where,
        as_json: bool = as_json,
    ) -> None:
        """Forget the results that match all that is given, and remove what only they need.

        --all removes inputs and toolchains as well, if these are kept here.
        """
        if not (unused or older or node or user or toolchain or key or everything):
            raise ConfigError("say which results to forget (see --help), or --all")
        with closing(open_store(directory)) as store:
            elsewhere = others(store)
            node = key_of(store, "node_key", node, elsewhere or ())
            user = key_of(store, "user", user, elsewhere or ())
            selection = _selection(unused, older, node, user, toolchain, key)
            if elsewhere is None:
                refuse_strangers(store, selection)
            tell = note(store, selection)
            try:
                removed = clear(store) if selection == Selection() else purge(store, selection)
            finally:  # what is gone already is not found by another attempt
                tell()
        agent.ask({"op": "recount"})
        say(told(removed, as_json))

    @app.command("verify")
    def verify_(directory: str = where, as_json: bool = as_json) -> None:
        """Read everything; drop what is rotten. Exit status 1 when there was any.

        Results whose blobs were evicted are forgotten, which is no damage.
        """
        with closing(open_store(directory)) as store:
            found = verify(store, _Progress())
        if as_json:
            typer.echo(json.dumps(asdict(found)))
        else:
            say(f"{found.blobs} blobs, {found.rotten} of them rotten and removed")
            say(f"{found.results} results, {found.lost} of them without their blobs and forgotten")
        raise typer.Exit(1 if found.rotten else 0)

    return app


def told(removed: Removed, as_json: bool) -> str:
    """What a purge or a trim did."""
    if as_json:
        return json.dumps(
            {
                "forgotten": removed.results,
                "removed": removed.blobs,
                "freed_bytes": removed.freed_bytes,
            }
        )
    freed = f"removed {removed.blobs} blobs, {size_text(removed.freed_bytes)}"
    return f"forgot {removed.results} results, {freed}"


def show(store: DiskStore, as_json: bool) -> None:
    held = holding(store)
    labels = {name: store.index.by_label(name) for name in ("node", "user")}
    if as_json:
        rows = {
            f"by_{name}": [
                {name: label, "results": count, "size_bytes": size} for label, count, size in found
            ]
            for name, found in labels.items()
        }
        document = {"directory": store.directory, "limit_bytes": store.limit_bytes}
        typer.echo(json.dumps(document | asdict(held) | rows))
        return
    say(f"{store.directory}, limit {size_text(store.limit_bytes)}")
    say(f"results {held.results:>10}   {size_text(held.result_bytes)} of outputs")
    say(f"blobs   {held.blobs:>10}   {size_text(held.stored_bytes)} on disk, compressed")
    for name, found in labels.items():
        for label, count, size in found:
            if label:
                label = member_id(label) if name == "user" else label
                say(f"{name} {label}: {count} results, {size_text(size)}")


def _selection(
    unused: str, older: str, node: str, user: str, toolchain: str, key: str
) -> Selection:
    now = time.time()
    return Selection(
        used_before_s=now - parse_duration(unused) if unused else None,
        made_before_s=now - parse_duration(older) if older else None,
        node=node if not _is_key(node) else "",
        node_key=node if _is_key(node) else "",
        user=user,
        toolchain_prefix=_digits(toolchain),
        key_prefix=_digits(key),
    )


def by_node(node: str) -> Selection:
    """The results that this node, a name or a key, has made."""
    return Selection(node_key=node) if _is_key(node) else Selection(node=node)


def _is_key(node: str) -> bool:
    return len(node) == 40  # in Z85


def key_of(store: DiskStore, column: str, called: str, others: Sequence[str] = ()) -> str:
    """The public key, among those that results bear and these others, which has this id; anything else as it
    is."""
    if not called.startswith("k-"):
        return called
    keys = [key for key, _, _ in store.index.by_label(column) if key]
    return next((key for key in (*keys, *others) if member_id(key) == called), called)


def refuse_strangers(store: DiskStore, selection: Selection) -> None:
    """A mistyped name must not look like one of which there is nothing left to do.

    Raises:
        ConfigError: no result is by that node, or of that user; the message says who has some.
    """
    for column, made in (
        ("node", "compiled by"),
        ("node_key", "compiled by"),
        ("user", "of jobs of"),
    ):
        wanted = getattr(selection, column)
        labels = store.index.by_label(column) if wanted else []
        known = [label for label, _, _ in labels if label]
        if wanted and wanted not in known:
            names = known if column == "node" else [member_id(key) for key in known]
            there = f"there are results {made} {', '.join(names)}" if known else "there are none"
            raise ConfigError(f"no result here is {made} {wanted}: {there}")


def _digits(text: str) -> bytes:
    """The bytes that a digest's first digits name."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is not the beginning of a digest: give an even number of its digits"
        ) from error


class _Progress:
    """A line on the terminal, for what takes longer than a moment."""

    def __init__(self) -> None:
        self._next_s = time.monotonic() + PROGRESS_S

    def __call__(self, done: int, all_: int) -> None:
        now = time.monotonic()
        if now >= self._next_s and sys.stderr.isatty():
            self._next_s = now + PROGRESS_S
            end = "\n" if done == all_ else ""
            sys.stderr.write(f"\r{done} of {all_}{end}")
            sys.stderr.flush()


app = cache_commands(open_own, "", "--dir")
