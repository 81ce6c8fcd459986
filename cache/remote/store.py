"""A `Store` on an engine of others: what goes there is sealed, and what comes from there is checked.

Owns the names of values there, and the counts of what was no good. Records are under the farm's seal
(`cache/remote/seal.py`), blobs are frames named by their digests, whose content their reader checks.

    zcc1/FARM/r/HEX    the sealed record of the job HEX; FARM: `name_of_farm`
    zcc1/FARM/b/HEX    the zstd frame of the blob HEX
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cache.digest import Digest
from cache.errors import RecordCorruptError, StoreError
from cache.record import Record
from cache.remote.engine import Engine
from cache.remote.seal import ForgedError, Sealed, Stamp, name_of_farm, seal, unseal

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sealing:
    """How a farm seals: `stamp` says up to where it has heard of what is void, now; None: nothing may be
    written. `is_void` says of what was sealed whether it was taken back since."""

    secret: bytes
    space: str
    stamp: Callable[[], Stamp | None]
    is_void: Callable[[Sealed], bool]


class RemoteStore:
    """Safe to use from as many threads as its engine.

    `counts`: `forged`, `damaged` and `stale` values of what was read, each a miss; `too_large` records were
    not written.
    """

    def __init__(self, engine: Engine, sealing: Sealing, max_value_bytes: int) -> None:
        self.engine = engine
        self.counts = Counter[str]()
        self.max_value_bytes = max_value_bytes
        self._lock = threading.Lock()  # of the counts
        self._sealing = sealing
        self._root = f"zcc1/{name_of_farm(sealing.secret)}"

    # --- records, as what is written behind and read through needs them ---------------------------

    def get_sealed(self, keys: Iterable[Digest]) -> dict[Digest, Sealed]:
        """Those that this farm has sealed and has not taken back."""
        names = {self.record_name(key): key for key in keys}
        found = {}
        for name, value in self.engine.get(names).items():
            sealed = self._unsealed(names[name], value)
            if sealed is not None:
                found[names[name]] = sealed
        return found

    def put_sealed(self, values: Iterable[Sealed], frames: Mapping[Digest, bytes]) -> int:
        """Write these behind their blobs; those that lack one, or with too large a one, are left out.
        How many bytes were written."""
        batch: dict[str, bytes] = {}
        records: dict[str, bytes] = {}
        for sealed in values:
            blobs = sealed.record.blobs
            if not all(blob in frames for blob in blobs):
                continue
            value = seal(sealed, self._sealing.secret, self._sealing.space)
            if max(len(value), *(len(frames[blob]) for blob in blobs), 0) > self.max_value_bytes:
                with self._lock:
                    self.counts["too_large"] += 1
                continue
            batch |= {self.blob_name(blob): frames[blob] for blob in blobs}
            records[self.record_name(sealed.record.key)] = value
        # The blobs first: a record must not name what is not there.
        for values_there in filter(None, (batch, records)):
            self.engine.put(values_there)
        return sum(map(len, (*batch.values(), *records.values())))

    def note_damaged_blob(self, digest: Digest) -> None:
        """Its content is not what its name says."""
        self._note("damaged", f"something else as the blob {digest.hex()}")

    def record_name(self, key: Digest) -> str:
        return f"{self._root}/r/{key.hex()}"

    def blob_name(self, digest: Digest) -> str:
        return f"{self._root}/b/{digest.hex()}"

    def _unsealed(self, key: Digest, value: bytes) -> Sealed | None:
        sealing = self._sealing
        try:
            sealed = unseal(value, key, sealing.secret, sealing.space)
        except ForgedError as error:
            self._note("forged", str(error))
            return None
        except RecordCorruptError as error:
            self._note("damaged", str(error))
            return None
        if sealing.is_void(sealed):
            with self._lock:
                self.counts["stale"] += 1
            return None
        return sealed

    def _note(self, what: str, detail: str) -> None:
        with self._lock:
            self.counts[what] += 1
            count = self.counts[what]
        if count.bit_count() == 1:  # 1, 2, 4, 8 ...: nobody fills the log with them
            logger.warning("%d %s values in a tier, one of them: %s", count, what, detail)

    # --- a Store's ----------------------------------------------------------------------------------

    def get_records(self, keys: Iterable[Digest]) -> dict[Digest, Record]:
        return {key: sealed.record for key, sealed in self.get_sealed(keys).items()}

    def put_records(self, records: Iterable[Record]) -> None:
        """Their blobs are there already."""
        stamp, sealing = self._sealing.stamp(), self._sealing
        if stamp is None:
            raise StoreError("what is void could not be written down: nothing is put into a tier")
        self.engine.put(
            {
                self.record_name(record.key): seal(
                    Sealed(record, stamp), sealing.secret, sealing.space
                )
                for record in records
            }
        )

    def remove_records(self, keys: Iterable[Digest]) -> None:
        self.engine.remove(map(self.record_name, keys))

    def remove_all_records(self) -> None:
        """Not by their names, which nobody knows: a new list of void results makes all of them void."""
        raise StoreError("a tier forgets everything by a new list of void results")

    def has_blobs(self, digests: Iterable[Digest]) -> set[Digest]:
        return set(self.get_blobs(digests))

    def get_blobs(self, digests: Iterable[Digest]) -> dict[Digest, bytes]:
        names = {self.blob_name(digest): digest for digest in digests}
        return {names[name]: frame for name, frame in self.engine.get(names).items()}

    def put_blobs(self, frames: Mapping[Digest, bytes]) -> None:
        self.engine.put({self.blob_name(digest): frame for digest, frame in frames.items()})

    def remove_blobs(self, digests: Iterable[Digest]) -> None:
        self.engine.remove(map(self.blob_name, digests))

    def maintain(self) -> int:
        """What is too old or too much is the engine's business."""
        return 0

    def close(self) -> None:
        self.engine.close()
