"""Results that are not what a compiler made, put where right ones lie: what a bad node or disk would leave."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from cache.frame import compress, decompress
from cache.stores import DiskStore
from zcc.job import MAX_RESULT_BYTES, Result, decode_result, encode_result

Change = Callable[[DiskStore, Result], Result]


def forge(directory: Path, space: str, change: Change, *, is_packed: bool) -> int:
    """Change each result in a store, with all digests right; returns how many.

    `is_packed`: bodies are zstd frames, as in the broker's store.
    """
    with closing(DiskStore(str(directory), space, 1 << 30)) as store:
        records = list(store.index.records())
        for record in records:
            body = decompress(record.body, MAX_RESULT_BYTES) if is_packed else record.body
            result = change(store, decode_result(body))
            encoded = encode_result(result)
            # Each result another member's: one member's alone are not believed against a node.
            source = replace(record.source, user=record.source.user + record.key.hex()[:4])
            packed = compress(encoded) if is_packed else encoded
            blobs = tuple(each.digest for each in result.outputs)
            store.put_records((replace(record, body=packed, blobs=blobs, source=source),))
        store.index.flush()
        return len(records)


def other_object(store: DiskStore, result: Result) -> Result:
    """One bit of the main output is another."""
    first, *others = result.outputs
    content = bytearray(store.blobs.read(first.digest))
    content[-1] ^= 1
    digest = store.blobs.put(bytes(content))
    return replace(result, outputs=(replace(first, digest=digest), *others))


def missing(path: Path) -> Change:
    """The compiler is said to have looked for this in vain."""

    def change(_: DiskStore, result: Result) -> Result:
        miss = (bytes(path.parent), (path.name.encode(),))
        misses = tuple(sorted((*result.lookups.misses, miss)))
        return replace(result, lookups=replace(result.lookups, misses=misses))

    return change


def no_misses(_: DiskStore, result: Result) -> Result:
    """The compiler is said to have found all that it looked for."""
    return replace(result, lookups=replace(result.lookups, misses=()))
