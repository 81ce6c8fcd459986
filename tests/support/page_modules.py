"""The page's modules outside of a browser: run by node, the system's or the one that playwright brings."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import playwright

from zcc.monitor.files import page_files


def node_program() -> str:
    inside = Path(playwright.__file__).parent / "driver" / "node"
    return shutil.which("node") or os.fspath(inside)


def lay_out(directory: Path) -> None:
    """The page's files, and that they are modules."""
    for name, text in page_files().items():
        (directory / name).write_bytes(text)
    (directory / "package.json").write_text('{"type": "module"}')


def run_node(directory: Path, script: str, *arguments: str, stdin: str = "") -> str:
    """What a script beside the page's modules prints."""
    (directory / "script.js").write_text(script)
    done = subprocess.run(
        [node_program(), "script.js", *arguments],
        cwd=directory,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"], "TZ": "UTC"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
