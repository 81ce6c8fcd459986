"""The golden file of a release: the bytes of each kind of message, of jobs and of results, with what they say.

`make golden` writes the file of this release, once: what has been released stays as it is
(docs/reference/protocol.md, How the protocol grows).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from itertools import count
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgpack

from cache.digest import Digest, digest_of
from tests.unit.zcc.test_bounds import JOB, RESULT
from zcc import __version__, codec, messages
from zcc.bounds import Length, Range, hints_of
from zcc.job import encode_job, encode_result

DIRECTORY = Path(__file__).parent / "unit" / "golden"


def path_of(release: str) -> Path:
    return DIRECTORY / f"{release}.json"


def said(value: Any) -> Any:
    """A value as JSON has it: bytes in hexadecimal digits, a record by its fields' names."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, tuple):
        return [said(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: said(getattr(value, field.name)) for field in fields(value)}
    return value


def sample(hint: Any, numbers: Iterator[int]) -> Any:
    """A value of this type, within its bounds, and mostly another than its neighbours have."""
    origin = get_origin(hint)
    if origin is Annotated:
        base, bound = get_args(hint)
        return _bounded(base, bound, numbers)
    if origin is tuple:
        return tuple(sample(inner, numbers) for inner in get_args(hint))
    if origin in (Union, UnionType):
        return sample(get_args(hint)[0], numbers)
    if hint is bool:
        return True
    if hint is Digest:
        return digest_of(b"%d" % next(numbers))
    return hint(*(sample(inner, numbers) for inner in hints_of(hint).values()))


def _bounded(base: Any, bound: Any, numbers: Iterator[int]) -> Any:
    if get_origin(base) is tuple:
        return tuple(sample(get_args(base)[0], numbers) for _ in range(2))
    number = next(numbers)
    if isinstance(bound, Range):
        return base(min(number, bound.most)) + (0.5 if base is float else 0)
    assert isinstance(bound, Length)
    text = f"v{number}".ljust(bound.least, "x")
    return text if base is str else text.encode()


def document() -> dict[str, Any]:
    """What the file of this release says."""
    numbers = count(1)
    told: dict[str, Any] = {"protocol": messages.PROTOCOL.decode(), "messages": {}}
    for kind in messages.ALL:
        message = sample(kind, numbers)
        frames = [frame.hex() for frame in codec.encode(message)]
        told["messages"][kind.KIND.decode()] = {"fields": said(message), "frames": frames}
    ordinary = replace(JOB, dumps=(), listed=())
    told["jobs"] = [
        {"fields": said(job), "bytes": encode_job(job).hex()} for job in (ordinary, JOB)
    ]
    told["results"] = [{"fields": said(RESULT), "bytes": encode_result(RESULT).hex()}]
    return told


def with_more(header: bytes, *more: Any) -> bytes:
    """The same record as a later release would say it, with further fields."""
    packed: bytes = msgpack.packb([*msgpack.unpackb(header, raw=False), *more], use_bin_type=True)
    return packed


def main() -> None:
    path = path_of(__version__)
    if path.exists():
        sys.exit(
            f"{path} is there: a release says what it said. Raise the version in zcc/__init__.py"
        )
    DIRECTORY.mkdir(exist_ok=True)
    path.write_text(json.dumps(document(), indent=1) + "\n")


if __name__ == "__main__":
    main()
