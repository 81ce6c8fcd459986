"""`zcc-node` on a machine that is bad for as long as a file says so: `python bad_node.py FILE serve ...`.

The file's word: `fails`, no job comes to an end there; `flips`, one bit of each first output is another than
the compiler wrote, as of a bad memory; anything else, the node is well.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from node.errors import SandboxError
from node.main import main
from node.sandbox import collect, remains
from node.sandbox.collect import Collected
from node.sandbox.proof import World


def worsen(file: Path) -> None:
    """Have what jobs leave collected as a bad machine would."""

    def collected(
        upper: bytes, outputs: Collection[bytes], world: World, limit_bytes: int
    ) -> Collected:
        word = file.read_text().strip()
        found = collect.collect(upper, outputs, world, limit_bytes)
        if word == "fails":
            raise SandboxError("this machine is bad")
        if word == "flips" and found.files:
            first, *others = found.files
            content = bytearray(first.data)
            content[-1] ^= 1
            found = replace(found, files=(replace(first, data=bytes(content)), *others))
        return found

    remains.collect = collected  # type: ignore[attr-defined]


if __name__ == "__main__":
    worsen(Path(sys.argv.pop(1)))
    main()
