"""Which build a call belongs to, told by where it is made and when. Pure.

A build is the calls of one project without a pause. The project of a working directory is the checkout that
it lies in; outside of any, it is the nearest directory above in which a build is under way, else the
directory itself (so `make` in a build directory elsewhere, going from folder to folder, is one build). A
pause is BUILD_GAP_S in which no call of the project arrived, ran or ended.

Times are Unix seconds: builds outlive agents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

# Between two calls of one build lies a configure step, a code generator or a test at most; between two
# builds an edit. Longer pauses in a build cut it in two, quicker hands make one of two.
BUILD_GAP_S = 10.0
# Projects that are remembered; what is over goes first.
_MAX_LIVE = 256


@dataclass(slots=True, eq=False)
class Build:
    """`number` is the millisecond in which it began: it rises, and stays when the agent does not."""

    number: int
    project: bytes
    begun_s: float
    active_s: float
    open_calls: int = 0

    def is_over(self, now_s: float) -> bool:
        return not self.open_calls and now_s - self.active_s > BUILD_GAP_S


class Builds:
    """The builds under way. `root_of` gives the checkout that a directory lies in, None outside of any."""

    def __init__(
        self, root_of: Callable[[bytes], bytes | None], resumed: Iterable[Build] = ()
    ) -> None:
        self._root_of = root_of
        self._live = {build.project: build for build in resumed}
        self._last = 0
        self.latest: Build | None = None

    def enter(self, cwd: bytes, now_s: float) -> Build:
        """The build of a call that arrives; `leave` has to follow."""
        project = self._root_of(cwd) or self._above(cwd, now_s) or cwd
        build = self._live.get(project)
        if build is None or build.is_over(now_s):
            self._last = max(int(now_s * 1000), self._last + 1)
            build = self._live[project] = Build(self._last, project, now_s, now_s)
            self._forget(now_s)
        build.active_s = max(build.active_s, now_s)
        build.open_calls += 1
        self.latest = build
        return build

    def leave(self, build: Build, now_s: float) -> None:
        """A call has ended, or the compiler that it became."""
        build.open_calls -= 1
        build.active_s = max(build.active_s, now_s)

    def _above(self, cwd: bytes, now_s: float) -> bytes | None:
        at = cwd
        while at and at != b"/":
            build = self._live.get(at)
            if build is not None and not build.is_over(now_s):
                return at
            at = at.rpartition(b"/")[0]
        return None

    def _forget(self, now_s: float) -> None:
        if len(self._live) > _MAX_LIVE:
            self._live = {at: each for at, each in self._live.items() if not each.is_over(now_s)}
