"""Which files are dumps of gcc's passes, in a job and in what a command leaves behind."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from cache.digest import digest_of
from node.sandbox.collect import find_dumps, find_unlisted
from zcc.agent.analysis.output_places import Misplaced, Places, find_dump_places
from zcc.dumps import MAX_DUMPS, is_dump
from zcc.errors import JobError
from zcc.job import FileInput, Job, Manifest, decode_job, encode_job

JOB = Job(
    toolchain=digest_of(b""),
    executable=b"/usr/bin/gcc",
    argv=(b"gcc",),
    cwd=b"/p",
    environment=(),
    manifest=Manifest(),
    outputs=(b"/p/a.o",),
)


@pytest.mark.parametrize(
    "name",
    ["a.c.005t.original", "a.c.337r.final", "a.c.000i.ipa-clones", "a.c.003l.raw", "a.c.015t.cfg.dot"],
)  # fmt: skip
def test_dumps_have_a_base_a_number_a_kind_and_a_name(name: str) -> None:
    assert is_dump(b"/p/" + name.encode(), [b"/p/b.c", b"/p/a.c"])


@pytest.mark.parametrize(
    "name",
    ["a.c", "a.o", "a.c.05t.x", "a.c.005x.x", "a.c.005t.", "a.c.005t.x/y", "a.c.005t../../x", "b.c.005t.x",
     "a.c.005t.x\n", "a.c.005t.x.sh", "a.cc.005t.x", "sub/a.c.005t.x", "a.c.005t." + "x" * 81],
)  # fmt: skip
def test_nothing_else_is_one(name: str) -> None:
    assert not is_dump(b"/p/" + name.encode(), [b"/p/a.c"])


def test_a_job_declares_its_outputs_and_the_dumps_of_its_bases() -> None:
    job = replace(JOB, dumps=(b"/p/a.c",))
    assert job.declares(b"/p/a.o")
    assert job.declares(b"/p/a.c.005t.original")
    assert not job.declares(b"/p/a.c")
    assert not JOB.declares(b"/p/a.c.005t.original")


def test_a_job_with_bases_is_of_another_format_and_comes_back() -> None:
    job = replace(JOB, dumps=(b"/p/a.c",))
    encoded, plain = encode_job(job), encode_job(JOB)
    assert decode_job(encoded) == job
    assert decode_job(plain) == JOB
    # Behind the array's length, which takes one byte up to 15.
    assert (plain[1], encoded[3]) == (1, 2)
    # Neither number goes with the other's fields.
    for mixed in (plain[:1] + b"\2" + plain[2:], encoded[:3] + b"\1" + encoded[4:]):
        with pytest.raises(JobError, match="job format"):
            decode_job(mixed)
    with pytest.raises(JobError, match="absolute"):
        decode_job(encode_job(replace(JOB, dumps=(b"a.c",))))
    with pytest.raises(JobError, match="absolute"):
        decode_job(encode_job(replace(JOB, dumps=(b"/p/../a.c",))))


def test_a_job_that_may_list_a_directory_says_so_in_the_same_format() -> None:
    job = replace(JOB, listed=(b"/p/x.h.gch",))
    encoded = encode_job(job)
    assert encoded[3] == 2
    assert decode_job(encoded) == job
    assert decode_job(encode_job(replace(job, dumps=(b"/p/a.c",)))).listed == job.listed


def test_what_lies_in_a_listed_directory_beyond_the_manifest_is_found(tmp_path: Path) -> None:
    for root, name in (("tree", "one"), ("tree", "left"), ("toolchain", "own")):
        above = tmp_path / root / "p" / "x.h.gch"
        above.mkdir(parents=True, exist_ok=True)
        (above / name).touch()
    roots = [bytes(tmp_path / "tree"), bytes(tmp_path / "toolchain"), bytes(tmp_path / "none")]
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "p").symlink_to(tmp_path / "tree" / "p")
    roots.append(bytes(tmp_path / "host"))
    (tmp_path / "tree" / "p" / "x.h.gch" / "left").rename(tmp_path / "toolchain/p/x.h.gch/left")
    manifest = Manifest(files=(FileInput(b"/p/x.h.gch/one", digest_of(b"")),))
    job = replace(JOB, manifest=manifest, listed=(b"/p/x.h.gch",))
    assert find_unlisted(job, roots) == {b"/p/x.h.gch/left", b"/p/x.h.gch/own"}
    assert find_unlisted(replace(job, listed=()), roots) == set()


def test_what_was_written_is_found_without_following_links(tmp_path: Path) -> None:
    upper = bytes(tmp_path)
    (tmp_path / "p").mkdir()
    (tmp_path / "q").symlink_to("p")
    for name in ("a.c.005t.x", "a.c.337r.y", "a.c", "b.c.005t.x"):
        (tmp_path / "p" / name).write_text("")
    found = [b"/p/a.c.005t.x", b"/p/a.c.337r.y"]
    assert find_dumps(upper, [b"/p/a.c"]) == found
    assert find_dumps(upper, [b"/q/a.c"]) == []
    assert find_dumps(upper, [b"/none/a.c"]) == []
    assert find_dumps(upper, []) == []


def test_no_more_dumps_are_taken_than_a_compiler_has_passes(tmp_path: Path) -> None:
    for number in range(MAX_DUMPS + 1):
        (tmp_path / f"a.c.{number % 1000:03}{'ti'[number // 1000]}.x").touch()
    assert len(find_dumps(bytes(tmp_path), [b"/a.c"])) == MAX_DUMPS


def test_dumps_are_placed_beside_what_is_there(tmp_path: Path) -> None:
    cwd, old_umask = bytes(tmp_path), os.umask(0o022)
    try:
        (tmp_path / "d").mkdir()
        (tmp_path / "l").symlink_to("d")
        (tmp_path / "d" / "a.c.005t.x").touch()
        (tmp_path / "d" / "a.c").touch(0o600)
    finally:
        os.umask(old_umask)
    places = find_dump_places(cwd, [b"l/a.c"], 0o022)
    assert isinstance(places, Places)
    assert places.outputs == (os.path.realpath(cwd + b"/d") + b"/a.c",)
    (tmp_path / "d" / "a.c.006t.y").symlink_to("a.c")
    refused = find_dump_places(cwd, [b"l/a.c"], 0o022)
    assert isinstance(refused, Misplaced)
    assert (refused.reason, os.path.basename(refused.path)) == ("output-not-plain", b"a.c.006t.y")
    assert isinstance(find_dump_places(cwd, [b"none/a.c"], 0o022), Misplaced)
