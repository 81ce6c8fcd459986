"""Jobs that name what cannot be: the job is refused on its submitter's account, and no node is blamed.

Three jobs with an empty variable, a missing executable, an empty symlink target or a name of 300 bytes put the
whole farm into quarantine, for 30 s and then for longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cache.digest import digest_of
from tests.attacks.farm import SOURCE, AttackedFarm, Client, assert_unharmed, play, strike
from zcc.job import FileInput, Job, Manifest

OWN = FileInput(b"/src/a.c", digest_of(SOURCE))


def unreadable(job: Job) -> Iterator[Job]:
    for name in (b"", b"A=B", b"=", b"A\0"):
        yield replace(job, environment=((name, b"x"),))
    for target in (b"", b"a\0b", b"x" * 5000):
        yield replace(job, manifest=Manifest((OWN,), symlinks=((b"/src/l", target),)))
    for path in (b"/src/" + b"x" * 300, b"/src/../x", b"/src//x", b"/x" * 2200, b"/src/"):
        yield replace(job, manifest=Manifest((OWN, FileInput(path, OWN.digest))))
        yield replace(job, outputs=(path,))
        yield replace(job, cwd=path)
        yield replace(job, executable=path)
    yield replace(job, outputs=(b"/",))
    yield replace(job, argv=())


def impossible(job: Job) -> Iterator[Job]:
    """Well-formed, and yet nothing that can be run."""
    yield replace(job, executable=b"/none")
    yield replace(job, executable=b"/src")
    yield replace(job, executable=b"/src/a.c")
    yield replace(job, executable=b"/mnt/cc/below")
    yield replace(job, cwd=b"/none")
    yield replace(job, cwd=b"/src/a.c")
    loop = Manifest((OWN,), symlinks=((b"/l", b"m"), (b"/m", b"l")))
    yield replace(job, manifest=loop, cwd=b"/l")
    yield replace(job, manifest=loop, executable=b"/l")
    for reserved in (b"/dev/null", b"/proc/x", b"/.zcc/log", b"/dev"):
        yield replace(job, manifest=Manifest((OWN, FileInput(reserved, OWN.digest))))


def odd(job: Job) -> Iterator[Job]:
    """What runs, or fails as a compiler does."""
    yield replace(job, argv=(b"",))
    yield replace(job, argv=(b"cc", b"-c", b"/none"), outputs=())
    yield replace(job, outputs=(b"/src/a.c/below", b"/none/x.o"))
    yield replace(job, outputs=(b"/src",))
    yield replace(job, environment=((b"LD_PRELOAD", b"/x"), (b"PATH", b"\xff\n"), (b" ", b"")))
    yield replace(job, manifest=Manifest((OWN,), symlinks=((b"/mnt", b"/src"),)))
    yield replace(job, manifest=Manifest((OWN,), symlinks=((b"/lib64", b"/src"),)))
    name = b"\xff\n\x01" * 80
    yield replace(job, manifest=Manifest((OWN, FileInput(b"/src/" + name, OWN.digest))))


async def struck(farm: AttackedFarm, innocent: Client, which: str) -> dict[str, Any]:
    return {"answers": await strike(farm, globals()[which](farm.job()), innocent)}


async def left_behind(farm: AttackedFarm, innocent: Client) -> dict[str, Any]:
    """Jobs that cover up the loader, each with a good one after it: both of one client, so in one tree."""
    attacker, answers = await farm.client("attacker"), []
    for number in range(4):
        name = b"l%d" % number
        files = (*farm.job(name=name).manifest.files, FileInput(b"/lib64/x", OWN.digest))
        for job in (farm.job(name=name, manifest=Manifest(files)), farm.job(name=b"g" + name)):
            answer = await attacker.outcome(await attacker.submit(job))
            answers.append(getattr(answer, "reason", type(answer).__name__).partition(":")[0])
    return {"answers": answers}


async def in_a_row(farm: AttackedFarm, innocent: Client) -> dict[str, Any]:
    return {"answers": await strike(farm, list(impossible(farm.job()))[:6])}


def test_what_no_system_takes_is_refused_by_the_broker() -> None:
    outcome = play(__name__, "struck", "unreadable")
    assert all(answer.startswith("Refused: unreadable") for answer in outcome["answers"]), outcome
    assert_unharmed(outcome)


def test_what_cannot_be_run_is_refused_by_the_first_node() -> None:
    outcome = play(__name__, "struck", "impossible")
    assert all(answer.startswith("Refused: job-refused") for answer in outcome["answers"]), outcome
    assert_unharmed(outcome)


def test_what_a_wrong_job_leaves_in_a_tree_lames_no_later_one() -> None:
    outcome = play(__name__, "left_behind")
    assert outcome["answers"] == ["job-refused", "Finished"] * 4, outcome
    assert_unharmed(outcome)


def test_wrong_jobs_of_many_keys_in_a_row_tell_on_no_node() -> None:
    outcome = play(__name__, "in_a_row")
    assert all(answer.startswith("Refused: job-refused") for answer in outcome["answers"]), outcome
    assert_unharmed(outcome)


def test_what_is_only_odd_gets_an_answer() -> None:
    outcome = play(__name__, "struck", "odd")
    assert "NoneType" not in outcome["answers"], outcome
    assert_unharmed(outcome)
