"""One thread that writes, so that nobody else waits for a disk.

Owns the queue, the thread and what becomes of a task that fails: it is logged with its traceback, counted and
dropped, and the thread goes on. A thread that ended all the same is an error that is logged and counted, and
another one takes its place. Knows nothing of what is written, nor where.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

_Task = TypeVar("_Task")

# Whoever leaves, or asks for what is written, waits so long for a disk: the process's user waits for him.
PATIENCE_S = 10.0
# How often who waits looks whether the thread lives.
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is to be done besides, at most so often and only when something has been written since, or when
    `work` has said that it is not done yet."""

    work: Callable[[], bool]
    every_s: float


class Writer(Generic[_Task]):
    """Tasks, written in order by `perform`, as many in one go as wait but at most `most_at_once`.

    A `perform` that raises must have done nothing: of several tasks each is then tried by itself, so that the
    one at fault is the only one that is lost. The queue is bounded: `limit` is in what `put` calls a size. The
    thread begins with the first task.
    """

    def __init__(
        self,
        name: str,
        perform: Callable[[list[_Task]], None],
        limit: int,
        most_at_once: int = 1,
        upkeep: Upkeep | None = None,
    ) -> None:
        self.dropped = 0  # tasks that found the queue full
        self.failed = 0  # tasks, and upkeeps, that ended in an exception
        self.deaths = 0  # threads that ended
        self._name = name
        self._perform = perform
        self._limit = limit
        self._most_at_once = most_at_once
        self._upkeep = upkeep
        self._changed = threading.Condition()
        self._waiting: deque[tuple[_Task, int]] = deque()
        self._size = 0  # of what waits or is being written
        self._taken = self._done = 0  # tasks since the start
        self._upkeep_s: float | None = None
        self._is_closing = False
        self._thread: threading.Thread | None = None

    @property
    def faults(self) -> int:
        return self.failed + self.deaths

    def put(self, task: _Task, size: int = 1) -> bool:
        """Have this done soon; False when too much waits already, or it is closed."""
        return all(self.put_all([(task, size)]))

    def put_all(self, tasks: Iterable[tuple[_Task, int]]) -> list[bool]:
        """Have these done soon, each with its size, and wake the thread once for all; which were taken."""
        taken = []
        with self._changed:
            for task, size in tasks:
                has_room = not self._is_closing and self._size + size <= self._limit
                taken.append(has_room)
                if has_room:
                    self._waiting.append((task, size))
                    self._size += size
                else:
                    self.dropped += 1
            if any(taken):
                self._taken += sum(taken)
                self._see_to_thread()
                self._changed.notify_all()
        return taken

    def wait_done(self, patience_s: float = PATIENCE_S) -> bool:
        """Wait until all that was put before is done; False when it takes longer than that."""
        ends_s = time.monotonic() + patience_s
        with self._changed:
            target = self._taken
            while self._done < target:
                left_s = ends_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._see_to_thread()
                self._changed.wait(min(left_s, _LOOK_EVERY_S))
        return True

    def close(self, patience_s: float = PATIENCE_S) -> bool:
        """Write what waits and end the thread; False when it is left behind, still writing."""
        with self._changed:
            if self._waiting:
                self._see_to_thread()
            self._is_closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is None:
            return True
        thread.join(patience_s)
        if thread.is_alive():
            lost = self._taken - self._done
            logger.error(
                "the %s has not ended within %.0f s: %d pieces of writing are lost",
                self._name, patience_s, lost,
            )  # fmt: skip
            return False
        return True

    def _see_to_thread(self) -> None:
        """To be called with the lock."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self._thread is not None and not self._is_closing:
            self.deaths += 1
            logger.error("the thread of the %s has ended: beginning another", self._name)
        # A daemon: a disk that stands still must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            if not batch:
                self._do_upkeep()
                continue
            try:
                self._write([task for task, _ in batch])
            finally:
                with self._changed:
                    self._size -= sum(size for _, size in batch)
                    self._done += len(batch)
                    self._changed.notify_all()

    def _next(self) -> list[tuple[_Task, int]] | None:
        """What is to be written now; empty when upkeep is due, None when nothing will come any more."""
        with self._changed:
            while True:
                left_s = None if self._upkeep_s is None else self._upkeep_s - time.monotonic()
                if left_s is not None and left_s <= 0:
                    self._upkeep_s = None
                    return []
                if self._waiting:
                    break
                if self._is_closing:
                    return None
                self._changed.wait(left_s)
            if self._upkeep is not None and self._upkeep_s is None:
                self._upkeep_s = time.monotonic() + self._upkeep.every_s
            count = min(len(self._waiting), self._most_at_once)
            return [self._waiting.popleft() for _ in range(count)]

    def _write(self, tasks: list[_Task]) -> None:
        try:
            self._perform(tasks)
        except Exception as error:
            if len(tasks) > 1:
                logger.warning("%s: %r: each task by itself", self._name, error)
                for task in tasks:
                    self._write([task])
            else:
                self.failed += 1
                logger.exception("%s: a task is dropped", self._name)

    def _do_upkeep(self) -> None:
        assert self._upkeep is not None
        try:
            if self._upkeep.work():
                with self._changed:
                    self._upkeep_s = time.monotonic() + self._upkeep.every_s
        except Exception:
            self.failed += 1
            logger.exception("%s: upkeep", self._name)
