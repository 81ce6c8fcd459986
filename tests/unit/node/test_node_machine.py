"""The node's core: what it does with leases, exactly."""

from __future__ import annotations

from cache.digest import Digest, digest_of
from node.core.effects import (
    FetchInputs,
    FetchToolchain,
    ForgetLease,
    InstallToolchain,
    KillJob,
    LeaveFarm,
    SayState,
    SendBehind,
    SendToBroker,
    StartJob,
    StepBack,
)
from node.core.events import (
    BlobArrived,
    BlobFailed,
    JobEnded,
    JobFaulted,
    JobSpoiled,
    LeaseRevoked,
    LeaseSettled,
    OfferChanged,
    RoomChanged,
    RunAsked,
    SessionLost,
    StopAsked,
    ToolchainFailed,
    ToolchainGone,
    ToolchainReady,
    Welcomed,
)
from node.core.machine import MAX_INSTALLING, MAX_SPOILED, NodeMachine
from zcc.messages import Done, Failed, Fault, Offer, Started

TOOLCHAIN = digest_of(b"toolchain")
HEADER = digest_of(b"header")


def lease(number: int) -> bytes:
    return bytes([number]) * 16


def asked(number: int, *missing: Digest, here: bool = True) -> RunAsked:
    return RunAsked(lease(number), TOOLCHAIN, frozenset(missing), here)


def started(number: int) -> list[object]:
    return [SendToBroker(Started(lease(number))), StartJob(lease(number))]


def test_a_job_with_everything_here_starts_at_once() -> None:
    machine = NodeMachine(slots=1)
    assert machine.handle(asked(1)) == started(1)
    machine.validate()


def test_a_job_beyond_the_slots_waits_for_one() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1))
    assert machine.handle(asked(2)) == []
    done = JobEnded(lease(1), (HEADER,), b"result")
    ended = SendBehind((HEADER,), Done(lease(1), b"result"))
    assert machine.handle(done) == [ended, *started(2)]


def test_a_missing_input_is_asked_for_once_for_all_jobs_that_lack_it() -> None:
    machine = NodeMachine(slots=4)
    assert machine.handle(asked(1, HEADER)) == [FetchInputs((HEADER,))]
    assert machine.handle(asked(2, HEADER)) == []
    assert machine.handle(BlobArrived(HEADER)) == started(1) + started(2)


def test_a_toolchain_is_fetched_installed_and_only_then_used() -> None:
    machine = NodeMachine(slots=4)
    assert machine.handle(asked(1, here=False)) == [FetchToolchain(TOOLCHAIN)]
    assert machine.handle(asked(2, here=False)) == []
    assert machine.handle(BlobArrived(TOOLCHAIN)) == [InstallToolchain(TOOLCHAIN)]
    assert machine.handle(asked(3, here=False)) == []
    assert machine.handle(ToolchainReady(TOOLCHAIN)) == started(1) + started(2) + started(3)


def test_toolchains_are_unpacked_a_few_at_a_time_and_only_while_somebody_waits() -> None:
    machine = NodeMachine(slots=1)
    toolchains = [digest_of(b"toolchain %d" % number) for number in range(MAX_INSTALLING + 2)]
    effects = []
    for number, digest in enumerate(toolchains):
        machine.handle(RunAsked(lease(number), digest, frozenset(), False))
    for digest in toolchains:
        effects += machine.handle(BlobArrived(digest))
        machine.validate()
    first, (unwanted, last) = toolchains[:MAX_INSTALLING], toolchains[MAX_INSTALLING:]
    assert effects == [InstallToolchain(digest) for digest in first]
    again = RunAsked(lease(20), last, frozenset(), False)
    assert machine.handle(again) == []  # it is here
    machine.handle(LeaseRevoked(lease(toolchains.index(unwanted))))
    failed = machine.handle(ToolchainFailed(first[0], "no loader"))
    assert failed[1:] == [InstallToolchain(last)]
    machine.validate()


def test_a_client_of_many_toolchains_has_others_wait_for_one_of_them_only() -> None:
    machine = NodeMachine(slots=1)
    toolchains = [digest_of(b"toolchain %d" % number) for number in range(MAX_INSTALLING + 5)]
    *many, late = toolchains
    effects = []
    for number, digest in enumerate(toolchains):
        client = b"late" if digest == late else b"many"
        machine.handle(RunAsked(lease(number), digest, frozenset(), False, client=client))
    for digest in toolchains:
        effects += machine.handle(BlobArrived(digest))
    assert effects == [InstallToolchain(digest) for digest in many[:MAX_INSTALLING]]
    assert InstallToolchain(late) in machine.handle(ToolchainReady(many[0]))
    assert InstallToolchain(many[MAX_INSTALLING]) in machine.handle(ToolchainReady(late))
    machine.validate()


def test_a_toolchain_that_does_not_work_gives_its_jobs_back() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1, here=False))
    machine.handle(BlobArrived(TOOLCHAIN))
    failed = Failed(lease(1), Fault.TOOLCHAIN.value, "no loader")
    assert machine.handle(ToolchainFailed(TOOLCHAIN, "no loader")) == [SendBehind((), failed)]
    machine.validate()


def test_an_input_that_does_not_come_gives_the_job_back() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1, HEADER))
    failed = Failed(lease(1), Fault.INPUT.value, "gone")
    assert machine.handle(BlobFailed(HEADER, "gone")) == [SendBehind((), failed)]


def test_a_revoked_sandbox_keeps_its_slot_until_it_is_gone() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1))
    machine.handle(asked(2))
    assert machine.handle(LeaseRevoked(lease(1))) == [KillJob(lease(1))]
    assert machine.running == 1
    ended = machine.handle(JobEnded(lease(1), (), b""))
    assert ended == [ForgetLease(lease(1)), *started(2)]


def test_a_last_word_is_said_again_to_a_broker_that_comes_back() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1))
    machine.handle(JobEnded(lease(1), (HEADER,), b"result"))
    machine.handle(SessionLost())
    assert machine.open_leases() == (lease(1),)
    again = SendBehind((HEADER,), Done(lease(1), b"result"))
    assert machine.handle(Welcomed()) == [again]
    assert machine.handle(LeaseSettled(lease(1))) == [ForgetLease(lease(1))]
    assert machine.handle(Welcomed()) == []


def test_inputs_under_way_are_asked_for_again_after_a_lost_session() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1, HEADER, here=False))
    machine.handle(SessionLost())
    assert machine.handle(Welcomed()) == [FetchToolchain(TOOLCHAIN), FetchInputs((HEADER,))]


def test_a_blob_that_is_stored_between_two_sessions_is_not_asked_for_again() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1, HEADER))
    machine.handle(SessionLost())
    assert machine.handle(BlobArrived(HEADER)) == started(1)
    assert machine.handle(Welcomed()) == []


def test_a_stopping_node_gives_back_what_does_not_run_and_leaves_when_all_is_settled() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(Welcomed())
    machine.handle(asked(1))
    machine.handle(asked(2))
    failed = Failed(lease(2), Fault.STOPPING.value, "the node is leaving")
    assert machine.handle(StopAsked()) == [SayState(), SendBehind((), failed)]
    assert machine.offer.is_leaving
    assert machine.handle(StopAsked()) == []
    assert machine.handle(LeaseSettled(lease(2))) == [ForgetLease(lease(2))]
    machine.handle(JobEnded(lease(1), (), b"result"))
    assert machine.handle(LeaseSettled(lease(1))) == [ForgetLease(lease(1)), LeaveFarm()]


def test_a_stopping_node_that_has_lost_its_broker_leaves_when_nothing_runs() -> None:
    """Nobody is there to take what has ended."""
    machine = NodeMachine(slots=1)
    machine.handle(Welcomed())
    machine.handle(asked(1))
    machine.handle(StopAsked())
    assert machine.handle(SessionLost()) == []
    ended = SendBehind((), Done(lease(1), b"result"))
    assert machine.handle(JobEnded(lease(1), (), b"result")) == [ended, LeaveFarm()]


def test_a_node_whose_broker_goes_while_its_last_word_is_out_leaves() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(Welcomed())
    machine.handle(asked(1))
    machine.handle(JobEnded(lease(1), (), b"result"))
    assert machine.handle(StopAsked()) == [SayState()]
    assert machine.handle(SessionLost()) == [LeaveFarm()]


def spoiled(number: int, *missing: Digest, here: bool = True) -> JobSpoiled:
    return JobSpoiled(lease(number), frozenset(missing), here, "x.h is rotten")


def test_a_job_that_read_rotten_files_runs_again_when_they_came_anew() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1))
    assert machine.handle(spoiled(1, HEADER)) == [FetchInputs((HEADER,))]
    machine.validate()
    assert machine.handle(BlobArrived(HEADER)) == started(1)


def test_a_job_whose_tree_alone_was_rotten_runs_again_at_once() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1))
    assert machine.handle(spoiled(1)) == started(1)


def test_a_rotten_toolchain_is_fetched_once_for_all_that_need_it() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1))
    machine.handle(asked(2))
    assert machine.handle(ToolchainGone(TOOLCHAIN)) == [FetchToolchain(TOOLCHAIN)]
    machine.validate()
    assert machine.handle(spoiled(1, here=False)) == []
    assert machine.handle(BlobArrived(TOOLCHAIN)) == [InstallToolchain(TOOLCHAIN)]
    assert machine.handle(ToolchainReady(TOOLCHAIN)) == started(1)
    machine.validate()


def test_a_job_whose_files_rot_again_and_again_is_another_nodes() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1))
    for _ in range(MAX_SPOILED):
        assert machine.handle(spoiled(1)) == started(1)
    failed = Failed(lease(1), Fault.INTERNAL.value, "x.h is rotten")
    assert machine.handle(spoiled(1)) == [SendBehind((), failed)]


def test_a_revoked_job_that_read_rotten_files_is_over() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1))
    assert machine.handle(LeaseRevoked(lease(1))) == [KillJob(lease(1))]
    assert machine.handle(spoiled(1, HEADER)) == [ForgetLease(lease(1))]


def test_a_node_without_room_says_so_first_and_gives_back_what_does_not_run() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1))
    machine.handle(asked(2))
    machine.handle(asked(3, HEADER))
    back = [
        SendBehind((), Failed(lease(number), Fault.PAUSED.value, "the disk is full"))
        for number in (2, 3)
    ]
    assert machine.handle(RoomChanged("the disk is full")) == [SayState(), *back]
    assert machine.leases[lease(1)].last_word is None
    machine.validate()


def test_a_node_without_room_takes_no_job_until_it_has_some() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(RoomChanged("the disk is full"))
    no = SendToBroker(Failed(lease(1), Fault.PAUSED.value, "the disk is full"))
    assert machine.handle(asked(1)) == [no]
    assert machine.leases == {}
    assert machine.handle(RoomChanged("the disk is full")) == []
    assert machine.handle(RoomChanged("")) == [SayState()]
    assert machine.handle(asked(2)) == started(2)


def test_a_toolchain_that_is_too_large_gives_its_jobs_back_as_unfit() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1, here=False))
    failed = Failed(lease(1), Fault.UNFIT.value, "too large")
    gone = BlobFailed(TOOLCHAIN, "too large", Fault.UNFIT)
    assert machine.handle(gone) == [SendBehind((), failed)]


def test_what_breaks_ends_a_lease_whatever_it_waits_for() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1, HEADER, here=False))
    failed = Failed(lease(1), Fault.INTERNAL.value, "a bug")
    ended = machine.handle(JobFaulted(lease(1), Fault.INTERNAL, "a bug"))
    assert ended == [SendBehind((), failed)]
    machine.validate()


def lent(slots: int) -> OfferChanged:
    return OfferChanged(Offer(slots, "proportional", "others use it"))


def test_a_node_that_lends_less_says_so_and_lets_what_runs_end_behind_all_others() -> None:
    machine = NodeMachine(slots=3)
    for number in (1, 2, 3, 4):
        machine.handle(asked(number))
    assert machine.handle(lent(1)) == [SayState(), StepBack(lease(2)), StepBack(lease(3))]
    assert machine.running == 3
    assert machine.handle(lent(1)) == []
    ended = SendBehind((), Done(lease(1), b"result"))
    assert machine.handle(JobEnded(lease(1), (), b"result")) == [ended]
    machine.handle(JobEnded(lease(2), (), b"result"))
    assert machine.handle(JobEnded(lease(3), (), b"result"))[1:] == started(4)
    machine.validate()


def test_a_node_that_lends_none_starts_nothing_until_it_lends_some() -> None:
    machine = NodeMachine(slots=2)
    machine.handle(lent(0))
    no = SendToBroker(Failed(lease(1), Fault.PAUSED.value, "others use it"))
    assert machine.handle(asked(1)) == [no]
    assert machine.handle(lent(2)) == [SayState()]
    assert machine.handle(asked(2)) == started(2)


def test_a_node_that_lends_none_any_more_gives_back_what_has_not_begun() -> None:
    machine = NodeMachine(slots=1)
    machine.handle(asked(1))
    machine.handle(asked(2))
    machine.handle(asked(3, HEADER))
    back = [
        SendBehind((), Failed(lease(number), Fault.PAUSED.value, "others use it"))
        for number in (2, 3)
    ]
    assert machine.handle(lent(0)) == [SayState(), StepBack(lease(1)), *back]
    machine.validate()


def test_a_node_that_leaves_lends_nothing_whatever_its_owner_does() -> None:
    machine = NodeMachine(slots=2)
    machine.handle(Welcomed())
    machine.handle(asked(1))
    machine.handle(StopAsked())
    machine.handle(lent(2))
    assert machine.offer == Offer(
        0, "proportional", "it ends what runs, and leaves", is_leaving=True
    )
