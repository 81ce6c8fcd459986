"""From a command to its jobs: one for each source.

Owns the splitting of `cc -c a.c b.c`; what becomes of one source is the analyser's affair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zcc.agent.analysis.helpers_on_path import with_plain_executable
from zcc.agent.analysis.outcome import Here, Prepared
from zcc.agent.analysis.pipeline import Analyser, names_cxx
from zcc.agent.launchers.wire import Request
from zcc.agent.results.part import overlap
from zcc.compiler.commandline import arguments
from zcc.reasons import Reason

# A command with more is compiled here: its reply holds every output at once.
MAX_SOURCES = 64


async def jobs_of(
    analyser: Analyser, request: Request, arrived: float, now: Callable[[], float]
) -> list[Prepared] | Here:
    """The command's jobs in the order of its sources, or why it runs here. Arguments as for `analyse`."""
    request = with_plain_executable(request)
    answer = await analyser.analyse(request, arrived, now)
    if isinstance(answer, Prepared):
        return [answer]
    if answer.reason is not Reason.SEVERAL_SOURCES:
        return answer
    family = await analyser.family(request)
    commands = arguments.split(request.argv[1:], family, names_cxx(request))
    if not 1 < len(commands) <= MAX_SOURCES:
        return answer
    jobs = []
    for command in commands:
        single = replace(request, argv=(request.argv[0], *command))
        job = await analyser.analyse(single, arrived, now)
        if isinstance(job, Here):
            return job
        jobs.append(job.in_place())  # what meets whom is judged by real paths
    path = overlap(jobs)
    return Here(answer.reason, path) if path else jobs
