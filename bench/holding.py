"""Question: what does it cost an agent to show that it holds its jobs' inputs?

500 files of usual sizes are the inputs of jobs. First session: all of them are shown, as for the first job
after a start of the agent or the broker. Edited: each job has one input that is new. Warm: nothing is new. The
bound of the first is to read and hash the same files once, which the scanner has done before anyway; the
others are set against what a remote compile costs the client at all (bench/client.py).
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from pathlib import Path

from cache.digest import digest_of
from cache.frame import compress
from zcc import codec
from zcc.agent.farm.showing import Showing
from zcc.holding import HOLDING_KEY_BYTES
from zcc.job import FileInput, Job, Manifest, encode_job, job_key
from zcc.messages import Submit

INPUTS = 500
EDITS = 200
JOBS = 1000
# Client CPU of one remote compile, agent and launchers, by bench/client.py on the same machine.
CLIENT_MS = 14.7


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="zcc-holding-") as directory:
        files = [written(Path(directory), at) for at in range(INPUTS + EDITS)]
        asyncio.run(measure(files))


def written(directory: Path, at: int) -> FileInput:
    content = random.Random(at).randbytes(random.Random(at).randint(500, 20_000))
    path = directory / f"{at}.h"
    path.write_bytes(content)
    return FileInput(bytes(path), digest_of(content))


async def measure(files: list[FileInput]) -> None:
    paths = {file.digest: file.path for file in files}
    sent: list[Submit] = []
    showing = Showing(sent.append, paths.get)
    showing.welcomed(os.urandom(HOLDING_KEY_BYTES))
    common = files[:INPUTS]

    began = time.process_time()
    for file in common:
        digest_of(Path(os.fsdecode(file.path)).read_bytes())
    bound_ms = 1e3 * (time.process_time() - began)

    began = time.process_time()
    showing.submit(submit(1, common), common)
    while not sent:
        await asyncio.sleep(0.001)
    first_ms = 1e3 * (time.process_time() - began)

    edited = [(*common[:-1], file) for file in files[INPUTS:]]
    jobs = [submit(2 + at, list(inputs)) for at, inputs in enumerate(edited)]
    began = time.process_time()
    for job, inputs in zip(jobs, edited, strict=True):
        showing.submit(job, inputs)
    edited_ms = 1e3 * (time.process_time() - began) / EDITS
    assert len(sent) == 1 + EDITS

    began = time.process_time()
    for _ in range(JOBS):
        showing.submit(jobs[0], common)
    warm_ms = 1e3 * (time.process_time() - began) / JOBS

    plain_bytes = sum(map(len, codec.encode(jobs[0])))
    print(
        f"first session, {INPUTS} inputs: {first_ms:.1f} ms CPU, {first_ms / bound_ms:.1f} of read and hash"
    )
    print(
        f"one input edited: {edited_ms:.3f} ms CPU a job, {edited_ms / CLIENT_MS:.2%} of the client's"
    )
    print(f"nothing new: {warm_ms:.3f} ms CPU a job, {warm_ms / CLIENT_MS:.2%} of the client's")
    print(
        f"bytes: first session {len(sent[0].shown)}, one edited {len(sent[1].shown)}, nothing new 0;"
        f" a Submit has {plain_bytes} ({len(sent[1].shown) / plain_bytes:.2%})"
    )


def submit(ticket: int, inputs: list[FileInput]) -> Submit:
    manifest = Manifest(tuple(sorted(inputs, key=lambda file: file.path)))
    job = Job(
        digest_of(b"t"),
        b"/usr/bin/g++",
        (b"g++", b"-c", b"x.cc"),
        b"/p",
        (),
        manifest,
        (b"/p/x.o",),
    )
    encoded = encode_job(job)
    return Submit(ticket, job_key(encoded), 0.0, "b", False, b"", None, 0, compress(encoded))


if __name__ == "__main__":
    main()
