"""A result is held against what its job declares before it is kept, and before anybody else is served by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgpack
import pytest

from broker.transport.heads import ResultHead, is_as_declared, read_job
from broker.transport.worker import answer
from cache.digest import digest_of
from cache.frame import compress
from tests.unit.broker.test_broker_wire import Broker, run, sample_job
from zcc.job import Lookups, OutputFile, Result, Usage, encode_job, encode_result, job_key
from zcc.messages import Done, Finished, PeerRole, Run, Started, Submit

OBJECT, DEPENDENCIES = b"/src/x.o", b"/src/x.d"
JOB = replace(
    sample_job(b"t", b"s"), outputs=(OBJECT, DEPENDENCIES), dumps=(b"/src/x.c", b"/src/x")
)


def result(*paths: bytes, exit_status: int = 0) -> bytes:
    outputs = tuple(OutputFile(path, digest_of(path), 1, 0o644) for path in paths)
    usage = Usage(0.1, 0.1, 1)
    return compress(encode_result(Result(exit_status, b"", b"", outputs, usage, Lookups(), "n")))


def is_taken(*paths: bytes, exit_status: int = 0, outputs: tuple[bytes, ...] = JOB.outputs) -> bool:
    """As the worker process reads the result."""
    encoded = encode_job(replace(JOB, outputs=outputs, dumps=JOB.dumps if outputs else ()))
    head = read_job(compress(encoded), job_key(encoded))
    read = answer("", ["result", result(*paths, exit_status=exit_status)])
    return is_as_declared(head.declared, ResultHead(*msgpack.unpackb(msgpack.packb(read))))


@pytest.mark.parametrize(
    "paths",
    [
        (OBJECT,),
        (DEPENDENCIES, OBJECT),
        (OBJECT, b"/src/x.c.234t.optimized", b"/src/x.c.015t.cfg.dot", b"/src/x.012r.dot"),
    ],
)
def test_the_jobs_output_and_others_that_it_declares_are_taken(paths: tuple[bytes, ...]) -> None:
    assert is_taken(*paths)


@pytest.mark.parametrize(
    "paths",
    [
        (),
        (DEPENDENCIES,),
        (OBJECT, b"/src/y.o"),
        (OBJECT, b"/src/x.c"),
        (OBJECT, b"/src/y.c.234t.optimized"),
    ],
)
def test_none_without_its_output_or_with_another_is(paths: tuple[bytes, ...]) -> None:
    assert not is_taken(*paths)


def test_a_compile_that_fails_need_write_nothing_but_no_more_than_is_declared() -> None:
    assert is_taken(exit_status=1)
    assert is_taken(DEPENDENCIES, exit_status=1)
    assert not is_taken(b"/src/y.o", exit_status=1)


def test_a_job_that_declares_nothing_has_to_write_nothing() -> None:
    assert is_taken(outputs=())
    assert not is_taken(OBJECT, outputs=())


def test_that_it_went_well_without_an_object_is_remembered_for_nobody(tmp_path: Path) -> None:
    """It was: one node could have all jobs of the farm so, since it was always the fastest."""
    encoded = encode_job(sample_job(b"t", b"s"))
    submit = Submit(1, job_key(encoded), 0.0, "b", False, b"", None, 0, compress(encoded))

    async def story(broker: Broker) -> None:
        node = broker.dial(broker.member(PeerRole.NODE))
        await node.hello("node", slots=1)
        for name in ("one", "other"):
            agent = broker.dial(broker.member(PeerRole.CLIENT, name))
            await agent.hello("client")
            agent.blobs = {digest_of(blob): compress(blob) for blob in (b"t", b"s")}
            await agent.say(submit)
            lease = (await node.wait(Run)).lease
            await node.say(Started(lease), Done(lease, result()))
            assert not (await agent.wait(Finished)).is_recalled

    run(story, tmp_path)
