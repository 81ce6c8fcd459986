"""A client's jobs leave nothing on a node that a later job of the same key could read: what the loader opens by
itself is in no log, so a forged result would be remembered for all under an honest job's key."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cache.digest import Digest, digest_of
from cache.frame import compress, decompress
from tests.attacks import compiler
from tests.attacks.farm import SOURCE, AttackedFarm, Client, assert_unharmed, play
from zcc.job import MAX_RESULT_BYTES, FileInput, Job, Manifest, decode_result
from zcc.messages import Finished

_FORGED = b"int forged;\n"
# As many as have seen both nodes, all slots of them.
_PLANTED = 8
_FORGE = r"""
static void forge(int argc, char **argv) {
    for (int at = 1; at + 1 < argc; at++) {
        if (strcmp(argv[at], "-o")) continue;
        int out = open(argv[at + 1], O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (out >= 0 && write(out, "int forged;\n", 12) == 12) close(out);
    }
}
"""
_HEAD = "#include <fcntl.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n"
_LIBRARY = f"""{_HEAD}{_FORGE}
static int count; static char **words;
static void last(void) {{ forge(count, words); }}
__attribute__((constructor)) static void first(int argc, char **argv) {{
    count = argc, words = argv;
    atexit(last);
}}
"""


def _built(made: AttackedFarm, text: str, *options: str) -> bytes:
    place = os.path.join(os.path.dirname(made.pack), "evil")
    with open(place + ".c", "w") as file:
        file.write(text)
    subprocess.run(["cc", "-O1", "-w", *options, place + ".c", "-o", place], check=True)
    with open(place, "rb") as file:
        return file.read()


def _preloaded(made: AttackedFarm) -> dict[bytes, bytes]:
    library = _built(made, _LIBRARY, "-shared", "-fPIC")
    return {b"/etc/ld.so.preload": b"/evil.so\n", b"/evil.so": library}


def _covering(made: AttackedFarm) -> dict[bytes, bytes]:
    return {compiler.LIBRARY: _built(made, _LIBRARY, "-shared", "-fPIC")}


_PLANTS: dict[str, Callable[[AttackedFarm], dict[bytes, bytes]]] = {
    "preloaded": _preloaded,
    "covering": _covering,
}


async def prepare(farm: AttackedFarm, innocent: Client, how: str) -> dict[str, Any]:
    planted = _PLANTS[how](farm)
    attacker = await farm.client("attacker")
    attacker.blobs.update((digest_of(each), compress(each)) for each in planted.values())
    files = tuple(FileInput(path, digest_of(each)) for path, each in planted.items())

    def planting(number: int) -> Job:
        job = farm.job(name=b"own%d" % number)
        named = sorted((*files, *job.manifest.files), key=lambda file: file.path)
        return replace(job, manifest=Manifest(tuple(named)))

    tickets = [await attacker.submit(planting(number)) for number in range(_PLANTED)]
    own = [await _output_of(attacker, ticket) for ticket in tickets]
    victims = [farm.job(name=b"victim%d" % number) for number in range(_PLANTED)]
    tickets = [await attacker.submit(job) for job in victims]
    asked = [await _output_of(attacker, ticket) for ticket in tickets]
    tickets = [await innocent.submit(job, is_fresh=False) for job in victims]
    return {
        "own": own,
        "asked": asked,
        "served": [await _output_of(innocent, ticket) for ticket in tickets],
    }


_NAMES: dict[Digest, str] = {digest_of(_FORGED): "forged", digest_of(SOURCE): "honest"}


async def _output_of(client: Client, ticket: int) -> str:
    answer = await client.outcome(ticket)
    if not isinstance(answer, Finished):
        return str(answer)
    result = decode_result(decompress(answer.body, MAX_RESULT_BYTES))
    return ", ".join(_NAMES.get(output.digest, "neither") for output in result.outputs)


@pytest.mark.parametrize("how", _PLANTS)
def test_what_a_client_leaves_in_its_tree_changes_no_other_job(how: str) -> None:
    outcome = play("tests.attacks.test_prepared_trees", "prepare", how)
    assert outcome["own"] == ["forged"] * _PLANTED, outcome  # its own key's matter
    assert outcome["asked"] == ["honest"] * _PLANTED, outcome
    assert outcome["served"] == ["honest"] * _PLANTED, outcome
    assert_unharmed(outcome)
