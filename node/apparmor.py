"""The AppArmor profile by which bubblewrap may make user namespaces, where the kernel asks for one.

Ubuntu does so from 23.10 on. Its own profiles name /usr/bin/bwrap, and zcc's is elsewhere. AppArmor knows a
program by its path, so a profile is good for a bubblewrap that is executed by it (node/sandbox/bubblewrap.py).
"""

from __future__ import annotations

import os
import re
import stat

from node.errors import SandboxError

# What AppArmor takes for patterns.
_SPECIAL = re.compile(r'[][*?{}^"\\@#]')
_PROFILE = """\
# Lets zcc's bubblewrap make user namespaces, and restricts it in nothing else: its sandbox restricts a job.
abi <abi/4.0>,
include <tunables/global>

profile zcc-bwrap "{path}" flags=(unconfined) {{
  userns,
}}
"""


def profile_of(path: str) -> str:
    """The profile of this bubblewrap.

    Raises:
        SandboxError: it is not root's alone, so that nodes execute copies of it, which have no path.
    """
    status = os.stat(path)
    if status.st_uid or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SandboxError(
            f"{path} is not root's alone, so a node executes copies of it in memory, and no profile applies:"
            " install zcc as root (in /opt/zcc, or the Debian packages) and run the node as another user;"
            " or sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    if _SPECIAL.search(path):
        raise SandboxError(
            f"{path}: AppArmor would read a pattern in this path; install zcc under another"
        )
    return _PROFILE.format(path=path)
