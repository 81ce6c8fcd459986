"""What somebody else has named is read only where nobody has to be waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zcc.regular import opener


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
    with (
        pytest.raises(OSError, match="not a regular file"),
        open(path, "rb", opener=opener),
    ):
        pass


def test_a_regular_file_is_read_and_nothing_is_inherited(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "file").write_bytes(b"words")
    with open(tmp_path / "link", "rb", opener=opener) as file:
        assert file.read() == b"words"
        assert not os.get_inheritable(file.fileno())
