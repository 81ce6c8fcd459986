"""Where the sources of real projects come from: fetched when asked for, kept outside the checkout.

Debian's source packages, through a configuration of apt's of our own: the archives that this machine
already trusts, for sources. Nothing of the system's changes.
"""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from pathlib import Path

FETCH_TIMEOUT_S = 300
_FORMAT = "$(ORIGIN) $(SITE) $(RELEASE) $(COMPONENT)"
# Others' archives have no sources of these projects, and often none at all.
_ORIGINS = ("Debian", "Ubuntu")


class SourcesError(Exception):
    """The sources cannot be had here."""


class Shelf:
    """A directory of fetched archives."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._is_updated = False

    def fetch(self, package: str) -> Path:
        """The archive of a Debian source package, without Debian's changes.

        Raises:
            SourcesError: there is no apt, no network or no such package.
        """
        place = self._directory / package
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
                self._apt("source", "--download-only", "--tar-only", package, cwd=scratch)
                Path(scratch).rename(place)
                Path(scratch).mkdir()
        archives = sorted(place.glob("*.tar.*"))
        if len(archives) != 1:
            raise SourcesError(f"{package}: expected one archive, found {archives}")
        return archives[0]

    def _apt(self, *command: str, cwd: str) -> None:
        apt = self._directory / "apt"
        if not self._is_updated:
            self._is_updated = True
            (apt / "lists" / "partial").mkdir(parents=True, exist_ok=True)
            (apt / "sources.list").write_text(self._source_lines())
            self._apt("update", cwd="/")
        options = {
            "Dir::Etc::sourcelist": apt / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": apt / "lists",
            "Dir::Cache": apt / "cache",
        }
        settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        _run(["apt-get", "-qq", *settings, *command], cwd)

    def _source_lines(self) -> str:
        wanted = ["indextargets", "--format", _FORMAT, "Created-By: Packages"]
        rows = sorted(set(_run(["apt-get", *wanted], "/").splitlines()))
        lines = []
        for row in rows:
            origin, site, release, component = row.rsplit(maxsplit=3)
            if origin in _ORIGINS:
                lines.append(f"deb-src {site} {release} {component}\n")
        if not lines:
            raise SourcesError(f"apt knows no archive of {' or '.join(_ORIGINS)}: apt-get update")
        return "".join(lines)


def unpack(archive: Path, place: Path) -> None:
    """Unpack an archive of one directory as `place`."""
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        with tarfile.open(archive) as opened:
            # Python before 3.11.4 has no filters.
            opened.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
            opened.extractall(scratch)
        (top,) = Path(scratch).iterdir()
        top.rename(place)


def _run(command: list[str], cwd: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=cwd, check=True, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S
        )
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stderr", None) or ""
        raise SourcesError(f"{' '.join(command[:2])}: {error} {said}".strip()) from error
    return done.stdout
