"""How many files and connections this process may have open."""

from __future__ import annotations

import resource


def raise_descriptors() -> int:
    """Let this process have all the descriptors that it may; how many those are.

    A key may have some 800 files of a broker's open (uploads, ccache's values), a job some 30 of a node's; many
    systems begin with 1024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard if hard != resource.RLIM_INFINITY else 1 << 20
