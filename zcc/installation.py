"""Where zcc's other programs lie: beside the one that runs, whichever way it was installed."""

from __future__ import annotations

import os
import shutil
import sys

_OWN = ("zcc", "ccache-storage-zcc")


def program_beside(name: str) -> str | None:
    """The program of this name that was installed with this one, else the one on PATH; None: there is none.

    `sys.executable` alone says it in a venv only: of `pip install --user` and of the system's pip, Python lies
    elsewhere than the programs.
    """
    running = sys.argv[0] if os.path.basename(sys.argv[0]).startswith(_OWN) else ""
    for beside in (running, sys.executable):
        found = os.path.join(os.path.dirname(os.path.abspath(beside)), name)
        if beside and os.access(found, os.X_OK):
            return found
    return shutil.which(name)
