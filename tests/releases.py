"""A broker, a node or an agent as another release would have it: `python -m tests.releases RELEASE PART ...`.

    newer   messages have a field more, at their end, and each part says kinds of which nobody has heard
    older   fields that have a default are not there yet, and some kinds are not

What is patched is the table of messages, before anything else is imported; then the part's own main runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from typing import Any, ClassVar

from zcc import messages
from zcc.bounds import Name

LATER = "of a later release"
GROWN = (
    "Hello", "Welcome", "Beat", "Submit", "Want", "Run", "Started", "Done", "Settled", "Finished", "Busy",
    "AskVoided", "Voided", "Offer",
)  # fmt: skip
# Behind which messages a newer part says one of a kind of its own.
FOLLOWED = frozenset((b"submit", b"welcome", b"started", b"run", b"enrolled"))
NOT_YET = ("memory", "offer", "used_bytes")
LACKING = (messages.AskVoided, messages.Voided, messages.AskPlaced, messages.Placed)


@dataclass(frozen=True, slots=True)
class Progress(messages.Message):
    KIND: ClassVar[bytes] = b"progress"
    note: Name


def make_newer() -> None:
    grown: dict[Any, Any] = {}
    for name in GROWN:
        old = getattr(messages, name)
        more = [("later", Name, field(default=LATER))]
        new = make_dataclass(name, more, bases=(old,), frozen=True, slots=True)
        grown[old] = new
        setattr(messages, name, new)
    messages.ALL = (*(grown.get(kind, kind) for kind in messages.ALL), Progress)

    from zcc import codec, link

    progress = codec.encode(Progress(LATER))
    send = link.DealerLink.send

    def send_and_more(self: link.DealerLink, frames: list[bytes]) -> bool:
        return send(self, frames) and (frames[1] not in FOLLOWED or send(self, progress))

    link.DealerLink.send = send_and_more  # type: ignore[method-assign]

    from broker import shell
    from broker.core import roles
    from broker.transport import router

    roles._KINDS.update({role: kinds | {Progress.KIND} for role, kinds in roles._KINDS.items()})
    shell._READERS[Progress] = lambda *_: None
    send_to = router.RouterLink.send

    def send_to_and_more(self: router.RouterLink, routing_id: bytes, frames: list[bytes]) -> bool:
        has_gone = send_to(self, routing_id, frames)
        return has_gone and (frames[1] not in FOLLOWED or send_to(self, routing_id, progress))

    router.RouterLink.send = send_to_and_more  # type: ignore[method-assign]

    from zcc.agent.analysis import outcome
    from zcc.job import Job, encode_job

    # A field of the Job that tells on nothing: a hint.
    def encode_grown(job: Job, unknown: Sequence[Any] = (LATER,)) -> bytes:
        return encode_job(job, unknown)

    outcome.encode_job = encode_grown  # type: ignore[attr-defined]


def make_older() -> None:
    messages.ALL = tuple(kind for kind in messages.ALL if kind not in LACKING)

    from zcc import codec

    for kind in messages.ALL:
        rules, body_at = codec._RULES[kind.KIND]
        while rules and rules[-1][0] in NOT_YET:
            rules = rules[:-1]
        codec._RULES[kind.KIND] = (rules, body_at)
        codec._DECODERS[kind.KIND] = codec._decoder_of(kind)

    from zcc.agent.farm import session

    ask = session.FarmSession.ask
    session.FarmSession.ask = (  # type: ignore[method-assign]
        lambda self, message: not isinstance(message, LACKING) and ask(self, message)
    )


def main() -> None:
    release, part, *sys.argv[1:] = sys.argv[1:]
    {"newer": make_newer, "older": make_older}[release]()
    if part == "zcc-broker":
        from broker.main import main as run
    elif part == "zcc-node":
        from node.main import main as run
    else:
        from zcc.entrance import main as run
    run()


if __name__ == "__main__":
    main()
