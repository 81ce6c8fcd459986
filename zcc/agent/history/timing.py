"""Where the time of a remote compile goes. Pure.

    total    from Submit to Finished, on this machine's clock
    queue    that the job waited at the broker for a node: the broker's figure
    compile  that the compiler ran: the node's figure
    return   from the first chunk of the job's outputs to Finished
    send     in which this agent had inputs to send that the farm had asked for
    other    what is left: the network's latency, the node's sandbox, the broker

The farm asks for a digest once, whoever's job needs it, so `send` is the time that the job shared with any
upload: with many jobs under way it is more than the job's own files took. It never exceeds what queue,
compile and return leave of the total.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Split:
    """Seconds; they add up to the total, unless queue and compile alone are more (clocks differ)."""

    queued_s: float
    sending_s: float
    compile_s: float
    returning_s: float
    other_s: float


@dataclass(frozen=True, slots=True)
class Trip:
    """What was known at Submit. `sending_s`: how long this session had been sending until then."""

    submitted_s: float
    sending_s: float

    def split(
        self, now_s: float, queued_s: float, compile_s: float, sending_s: float, first_s: float
    ) -> Split:
        """`now_s` is Finished; `sending_s` as above, now; `first_s` when the first output came."""
        rest_s = max(0.0, now_s - self.submitted_s - queued_s - compile_s)
        returning_s = min(rest_s, max(0.0, now_s - first_s))
        sending_s = min(rest_s - returning_s, max(0.0, sending_s - self.sending_s))
        other_s = rest_s - returning_s - sending_s
        return Split(queued_s, sending_s, compile_s, returning_s, other_s)
