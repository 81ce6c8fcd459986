"""Questions to the compiler itself, asked in child processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from zcc.agent.analysis.questions import Ran


async def run_query(command: list[bytes], cwd: bytes, environment: Mapping[bytes, bytes]) -> Ran:
    """Run the compiler as its user would, and collect what it says."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        stdout, stderr = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    assert process.returncode is not None
    return Ran(process.returncode, stdout, stderr)
