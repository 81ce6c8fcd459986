"""What the broker tells who watches, and how little it does for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.core import events
from broker.core.limits import STARTUP_GRACE_S
from broker.tiers.numbers import TierNumbers
from broker.watching.feed import TOO_MANY_WATCHERS, Ring
from broker.watching.limits import (
    FEED_LINGERS_S,
    MAX_BATCHES,
    MAX_BATCHES_BYTES,
    MAX_BATCHES_DUE,
    MAX_WATCHERS,
    MAX_WATCHERS_PER_KEY,
)
from tests.support.broker_world import Desk, JobFacts, blob, job
from tests.support.watched import BEGAN_S, Feed, Seer, described, present
from zcc.events import (
    AgentCounted,
    FarmEvent,
    FarmPulse,
    HitServed,
    JobFinished,
    JobLeased,
    JobQueued,
    LeaseLost,
    NodeShown,
    QueueShown,
    RequestRefused,
    TierShown,
)
from zcc.messages import (
    Beat,
    Cancel,
    Enrol,
    Enrolled,
    Failed,
    Fault,
    Finished,
    Happened,
    LocalCounts,
    PeerRole,
    Refused,
    Snapshot,
    Started,
    Watch,
)
from zcc.subject import BuildCounts, BuildName, LocalFile, Subject

SUBJECT = Subject(BuildName(1_700_000_000_000, "hello 12:00:00"), "src/x.c", "c", "gcc 12.2.0", 7)


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.pass_time(STARTUP_GRACE_S + 0.5)
    return desk


@pytest.fixture
def feed(desk: Desk) -> Feed:
    return Feed(desk.machine.farm)


def named(name: str, inputs: tuple[str, ...] | None = ()) -> JobFacts:
    return replace(job(name, inputs), subject=SUBJECT)


def heard(feed: Feed, seer: Seer) -> list[FarmEvent]:
    feed.tick()
    return seer.read()


def names_of(told: list[FarmEvent]) -> list[str]:
    introduced = ("farm", "member", "toolchain", "build", "node", "pulse", "queue")
    return [event.NAME for event in told if event.NAME not in introduced]


def one(kind: type[FarmEvent], told: list[FarmEvent]) -> FarmEvent:
    (found,) = [event for event in told if type(event) is kind]
    return found


def test_a_jobs_events_come_in_order_with_its_outcome_and_its_phases(
    desk: Desk, feed: Feed
) -> None:
    seer = feed.begin("seer")
    client, node = desk.client("c"), desk.node("n")
    desk.submit(client, 1, named("w"))
    (run,) = desk.runs(node)
    desk.now += 2.0
    desk.say(node, Started(run.lease))
    desk.now += 5.0
    desk.done(node, run.lease, wall_s=4.0, cpu_s=3.0, peak_bytes=9)
    told = heard(feed, seer)
    assert names_of(told) == ["queued", "leased", "started", "finished"]
    queued, leased = one(JobQueued, told), one(JobLeased, told)
    assert isinstance(queued, JobQueued)
    assert isinstance(leased, JobLeased)
    assert (queued.file, queued.language, queued.scan_ms) == ("src/x.c", "c", 7)
    assert queued.key == blob("job w").hex()[:12]
    assert (leased.reason, leased.slots, leased.idle) == ("longest", 2, 2)
    finished = one(JobFinished, told)
    assert isinstance(finished, JobFinished)
    assert (finished.outcome, finished.status, finished.twins) == ("ok", 0, 0)
    assert (finished.cpu_ms, finished.wall_ms, finished.peak_bytes) == (3000, 4000, 9)
    phases = finished.queue_ms, finished.send_ms, finished.fetch_ms, finished.return_ms
    assert phases == (0, 0, 2000, 1000)
    assert finished.at_ms - queued.at_ms == 7000
    state = seer.state
    (build,) = state.known_builds.values()
    assert (build.name, build.shown.host) == ("hello 12:00:00", "c")
    (past,) = build.past
    assert (past.phase, past.file) == ("ok", "src/x.c")
    assert past.toolchain is not None
    assert past.toolchain.name == "gcc 12.2.0"
    assert past.run is not None
    assert (past.run.slot, past.run.ending) == (0, "ok")
    assert past.ended_s == BEGAN_S + finished.at_ms / 1000
    assert not state.jobs


def test_a_compile_that_fails_says_so(desk: Desk, feed: Feed) -> None:
    seer = feed.begin("seer")
    client, node = desk.client("c"), desk.node("n")
    desk.submit(client, 1, named("w"))
    (run,) = desk.runs(node)
    desk.done(node, run.lease, exit_status=2)
    finished = one(JobFinished, heard(feed, seer))
    assert isinstance(finished, JobFinished)
    assert (finished.outcome, finished.status) == ("failed", 2)


def test_inputs_that_have_to_come_are_a_phase_of_their_own(desk: Desk, feed: Feed) -> None:
    seer = feed.begin("seer")
    client, node = desk.client("c"), desk.node("n")
    desk.submit(client, 1, named("w", ("w.c",)))
    assert names_of(heard(feed, seer)) == ["queued", "sending"]
    assert [each.sending for each in seer.state.waiting()] == ["inputs"]
    desk.now += 3.0
    desk.stored(blob("w.c"))
    (run,) = desk.runs(node)
    desk.say(node, Started(run.lease))
    desk.done(node, run.lease)
    told = heard(feed, seer)
    assert names_of(told) == ["sending", "leased", "started", "finished"]
    finished = one(JobFinished, told)
    assert isinstance(finished, JobFinished)
    assert (finished.queue_ms, finished.send_ms) == (0, 3000)


def test_twins_are_told_and_each_of_them_may_leave(desk: Desk, feed: Feed) -> None:
    seer = feed.begin("seer")
    agents = [desk.client(name) for name in ("a", "b", "c")]
    node = desk.node("n")
    for agent in agents:
        desk.submit(agent, 1, named("w"))
    desk.say(agents[0], Cancel(1))
    later = feed.begin("later")
    told = heard(feed, seer)
    assert names_of(told) == ["queued", "leased", "twin", "twin", "left"]
    later.read()
    assert present(later.state) == present(seer.state)
    (shown,) = seer.state.jobs.values()
    assert [each.member.name for each in shown.requests if each.member] == ["user-b", "user-c"]
    (run,) = desk.runs(node)
    desk.done(node, run.lease)
    finished = one(JobFinished, heard(feed, seer))
    assert isinstance(finished, JobFinished)
    assert finished.twins == 1
    counts = {build.shown.host: dict(build.counts) for build in seer.state.known_builds.values()}
    assert counts == {"a": {"cancelled": 1}, "b": {"ok": 1}, "c": {"twin": 1}}


def test_an_answer_from_memory_is_a_hit_and_nothing_else(desk: Desk, feed: Feed) -> None:
    seer = feed.begin("seer")
    client = desk.client("c")
    desk.node("n")
    recalled = events.Recalled("maker", (blob("o"),), b"result", "user-n", 33)
    desk.submit(client, 1, named("w"), recalled)
    told = heard(feed, seer)
    assert names_of(told) == ["hit"]
    hit = one(HitServed, told)
    assert isinstance(hit, HitServed)
    assert (hit.job, hit.file, hit.node, hit.output_bytes) == (0, "src/x.c", "maker", 33)
    (build,) = seer.state.known_builds.values()
    assert build.counts == {"hit": 1}


def test_what_is_refused_says_why(desk: Desk, feed: Feed) -> None:
    seer = feed.begin("seer")
    desk.submit(desk.client("c"), 1, named("w"))
    refused = one(RequestRefused, heard(feed, seer))
    assert isinstance(refused, RequestRefused)
    assert (refused.job, refused.reason, refused.file) == (0, "no-nodes", "src/x.c")


def test_a_run_that_is_lost_is_told_with_its_fault_and_the_job_goes_on(
    desk: Desk, feed: Feed
) -> None:
    seer = feed.begin("seer")
    client, first = desk.client("c"), desk.node("n")
    desk.node("m")
    desk.submit(client, 1, named("w"))
    node = first if desk.sent[b"n"] and any(desk.runs(first)) else None
    lease = next(iter(desk.machine.farm.leases))
    at = first if node is first else desk.hello("m", PeerRole.NODE, 2, (lease,))
    desk.say(at, Failed(lease, Fault.SANDBOX.value, "no\nway"))
    told = heard(feed, seer)
    assert names_of(told) == ["queued", "leased", "unleased", "leased"]
    lost = one(LeaseLost, told)
    assert isinstance(lost, LeaseLost)
    assert (lost.why, lost.detail, lost.is_fault) == ("sandbox", "", True)
    (shown,) = seer.state.jobs.values()
    assert [run.ending for run in shown.runs] == ["sandbox", ""]
    assert seer.state.lines[-1][1] == lost


def test_what_agents_do_by_themselves_is_counted_while_somebody_watches(
    desk: Desk, feed: Feed
) -> None:
    client = desk.client("c")
    counts = BuildCounts(
        SUBJECT.build,
        3,
        500,
        (("not-a-compile", 2),),
        (("first", 1), ("of-a-later-release", 2), ("\x1b[0m", 3)),
        (LocalFile("not-a-compile", "a\x1b[0m.c", 9),),
    )
    desk.say(client, LocalCounts((counts,)))
    desk.pass_time(1.0, frozenset((client,)))
    beats = [each for each in desk.got(client, Beat) if isinstance(each, Beat)]
    assert not beats[-1].is_watched
    seer = feed.begin("seer")
    desk.pass_time(1.0, frozenset((client,)))
    beats = [each for each in desk.got(client, Beat) if isinstance(each, Beat)]
    assert beats[-1].is_watched
    desk.say(client, LocalCounts((counts,)))
    counted = one(AgentCounted, heard(feed, seer))
    assert isinstance(counted, AgentCounted)
    assert (counted.local_hits, counted.local) == (3, (("not-a-compile", 2),))
    assert counted.missed == (("first", 1), ("other", 5))
    assert counted.files == (("not-a-compile", "a?[0m.c", 9),)
    (build,) = seer.state.known_builds.values()
    assert (build.counts["local-hit"], build.local, build.saved_s) == (3, {"not-a-compile": 2}, 0.5)


def test_nothing_is_noted_while_nobody_watches(desk: Desk, feed: Feed) -> None:
    client, node = desk.client("c"), desk.node("n")
    desk.submit(client, 1, named("w"))
    feed.tick()
    assert desk.machine.farm.watch is None
    seer = feed.begin("seer")
    feed.watching.forget(b"seer")
    desk.now += FEED_LINGERS_S / 2
    desk.happen()
    feed.tick()
    again = feed.begin("seer", seer.feed, 1)
    assert desk.machine.farm.watch is not None
    feed.watching.forget(b"seer")
    desk.now += FEED_LINGERS_S + 1
    desk.happen()
    feed.tick()
    assert desk.machine.farm.watch is None
    later = feed.begin("later", again.feed, 1)
    feed.tick()
    later.read()
    assert later.feed != seer.feed
    assert later.snapshots == 1
    (shown,) = later.state.jobs.values()
    assert shown.phase == "leased"
    desk.done(node, desk.runs(node)[0].lease)
    assert names_of(heard(feed, later)) == ["finished"]


def test_who_comes_back_misses_nothing(desk: Desk, feed: Feed) -> None:
    seer = feed.begin("seer")
    client, node = desk.client("c"), desk.node("n")
    heard(feed, seer)
    feed.watching.forget(b"seer")
    desk.submit(client, 1, named("w"))
    feed.tick()
    desk.done(node, desk.runs(node)[0].lease)
    feed.tick()
    back = feed.begin("seer", seer.feed, seer.next)
    back.feed, back.next = seer.feed, seer.next
    feed.tick()
    assert names_of(back.read()) == ["queued", "leased", "finished"]
    assert back.snapshots == 0
    # What is still to come was never said: nobody has it.
    other = feed.begin("other", seer.feed, back.next + 5)
    feed.tick()
    other.read()
    assert other.snapshots == 1


def test_who_does_not_read_has_few_messages_due_and_then_a_snapshot(desk: Desk, feed: Feed) -> None:
    seer, slow = feed.begin("seer"), feed.begin("slow")
    slow.read()
    feed.has_room = lambda route: route != b"slow"
    client = desk.client("c")
    desk.node("n")
    for number in range(MAX_BATCHES + MAX_BATCHES_DUE):
        desk.say(client, Beat(0.0))
        desk.submit(client, number + 1, named(f"w{number}"))
        feed.tick()
        seer.read()
    assert seer.snapshots == 1
    assert len(feed.watching._ring._batches) == MAX_BATCHES
    feed.has_room = lambda _: True
    desk.now += 2.0
    desk.happen()
    feed.tick()
    slow.read()
    assert slow.snapshots == 2
    feed.tick()
    slow.read()
    seer.read()
    assert present(slow.state) == present(seer.state)
    assert len(slow.state.gaps) == 1


def test_snapshots_for_many_are_made_once(desk: Desk, feed: Feed) -> None:
    desk.node("n")
    seers = [feed.begin(f"s{number}") for number in range(5)]
    messages = [feed.inboxes[f"s{number}".encode()][0] for number in range(5)]
    assert all(isinstance(each, Snapshot) for each in messages)
    assert all(each is messages[0] for each in messages)
    for seer in seers:
        seer.read()
        assert [node.shown.name for node in seer.state.nodes.values()] == ["n"]


def test_watchers_are_few(desk: Desk, feed: Feed) -> None:
    for number in range(MAX_WATCHERS_PER_KEY):
        route = b"%d" % number
        feed.inboxes[route] = []
        assert feed.watching.watch(route, "one", Watch(b"", 0)) is None
    assert feed.watching.watch(b"more", "one", Watch(b"", 0)) == Refused(0, TOO_MANY_WATCHERS)
    for number in range(MAX_WATCHERS - MAX_WATCHERS_PER_KEY):
        feed.begin(f"other{number}")
    assert feed.watching.watch(b"more", "two", Watch(b"", 0)) == Refused(0, TOO_MANY_WATCHERS)
    feed.watching.forget(b"0")
    feed.begin("two")


def test_a_ring_is_bounded_in_number_and_in_bytes() -> None:
    ring = Ring(b"feed0001")
    for _ in range(MAX_BATCHES + 3):
        ring.add(b"x")
    assert (ring.first, ring.next) == (4, MAX_BATCHES + 4)
    ring.add(bytes(MAX_BATCHES_BYTES))
    assert ring.first == ring.next - 1, "one that is too large by itself is kept alone"
    assert ring.get(ring.next - 1) is not None
    assert ring.get(ring.next) is None
    assert ring.get(ring.first - 1) is None


def test_words_of_members_come_printable_and_short(desk: Desk, feed: Feed) -> None:
    seer = feed.begin("seer")
    wild = replace(
        SUBJECT,
        file="\x1b]0;x\x07<script>\udcff" + "y" * 300,
        build=BuildName(1, "a\nb\u202e"),
        toolchain="\r",
    )
    desk.node("n")
    desk.submit(desk.client("c"), 1, replace(job("w", ()), subject=wild))
    heard(feed, seer)
    (shown,) = seer.state.jobs.values()
    assert shown.file.startswith("?]0;x?<script>?y")
    assert len(shown.file.encode()) <= 256
    assert shown.build is not None
    assert shown.build.name == "a?b?"
    assert shown.toolchain is not None
    assert shown.toolchain.name == "?"


def test_nodes_are_told_when_they_come_change_and_go(desk: Desk, feed: Feed) -> None:
    seer = feed.begin("seer")
    node = desk.node("n", 4)
    shown = one(NodeShown, heard(feed, seer))
    assert isinstance(shown, NodeShown)
    assert (shown.name, shown.slots, shown.state, shown.version) == ("n", 4, "ready", "0")
    desk.say(node, Beat(0.0, "its disk is full"))
    desk.pass_time(1.0, frozenset((node,)))
    told = [event for event in heard(feed, seer) if isinstance(event, NodeShown)]
    assert [(each.state, each.reason) for each in told] == [("paused", "its disk is full")]
    desk.say(node, Beat(0.0, "its disk is full"))
    desk.pass_time(1.0, frozenset((node,)))
    further = heard(feed, seer)
    assert not [event for event in further if isinstance(event, NodeShown)], "nothing is new"
    assert [event for event in further if isinstance(event, FarmPulse)]
    desk.happen(events.PeerUnreachable(node.route))
    assert names_of(heard(feed, seer)) == ["node-left"]
    assert not seer.state.nodes
    assert seer.state.past_nodes[-1].left_why == "unreachable"


def test_the_queue_is_told_in_order_of_service_with_why(desk: Desk, feed: Feed) -> None:
    seer = feed.begin("seer")
    client, other = desk.client("c"), desk.client("d")
    node = desk.node("n", 1)
    for number in range(9):
        desk.submit(client, number + 1, named(f"w{number}"))
    desk.submit(other, 1, named("x"))
    desk.pass_time(1.0, frozenset((client, other, node)))
    feed.tick()
    seer.read()
    queue = seer.state.queue
    assert isinstance(queue, QueueShown)
    waiting = {row.member: row.queued + row.ready + row.sending + row.parked for row in queue.rows}
    named_waiting = {seer.state.members[number].name: many for number, many in waiting.items()}
    held = len(desk.machine.farm.leases)
    assert sum(named_waiting.values()) == 10 - held
    assert set(named_waiting) == {"user-c", "user-d"}
    assert {row.why for row in queue.rows} == {"all-busy"}
    assert queue.others == 0


def test_who_joins_is_told(desk: Desk, feed: Feed) -> None:
    feed.watching.membership_changed("j", Enrol("new", "x"), Enrolled("farm", "client"))
    seer = feed.begin("seer")
    feed.watching.membership_changed("j", Enrol("new", "x"), Enrolled("farm", "client"))
    feed.watching.membership_changed("j", Enrol("new", "x"), Refused(0, "used up"))
    assert names_of(heard(feed, seer)) == ["joined", "turned-away"]


def test_a_batch_is_one_object_for_all(desk: Desk, feed: Feed) -> None:
    for name in ("a", "b"):
        feed.begin(name)
    desk.node("n")
    feed.tick()
    first, second = (feed.inboxes[name][-1] for name in (b"a", b"b"))
    assert isinstance(first, Happened)
    assert isinstance(second, Happened)
    assert first.body is second.body


def test_a_mistake_of_ours_in_the_telling_harms_no_job_and_the_feed_begins_anew(
    desk: Desk, feed: Feed
) -> None:
    seer = feed.begin("seer")
    node = desk.node("n")
    client = desk.client("c")
    heard(feed, seer)
    before = seer.feed

    def broken(user: str) -> tuple[str, str, str]:
        raise KeyError(user)

    feed.describe = broken
    desk.submit(client, 1, named("w"))
    (run,) = desk.runs(node)
    feed.describe = described
    feed.tick()
    seer.read()
    assert [type(each) for each in feed.failures] == [KeyError]
    assert seer.feed != before
    assert [each.phase for each in seer.state.jobs.values()] == ["leased"]
    desk.done(node, run.lease)
    assert len(desk.got(client, Finished)) == 1
    assert names_of(heard(feed, seer)) == ["finished"]


def test_tiers_are_told_when_they_change_and_to_who_comes_later(desk: Desk, feed: Feed) -> None:
    seer = feed.begin("seer")
    numbers = TierNumbers("near", "closed", "read-only", hits=3, bad={"forged": 1, "too_large": 9})

    def told(numbers: TierNumbers) -> list[FarmEvent]:
        feed.watching.note_tiers(lambda: [numbers.row()])
        desk.pass_time(1.1)
        return [event for event in heard(feed, seer) if isinstance(event, TierShown)]

    (first,) = told(numbers)
    assert isinstance(first, TierShown)
    assert (first.name, first.hits, first.bad, first.writes) == ("near", 3, 1, "read-only")
    assert told(numbers) == []
    (second,) = told(replace(numbers, state="open"))
    late = feed.begin("late")
    late.read()
    assert seer.state.tiers == {"near": second}
    assert late.state.tiers["near"].state == "open"
