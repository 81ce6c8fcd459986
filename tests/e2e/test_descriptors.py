"""A farm's parts take all the descriptors that they may have, whatever their shells began with."""

from __future__ import annotations

import resource
import tempfile

from zcc.cli.up import LocalFarm


def test_a_node_takes_all_the_descriptors_that_it_may() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    with tempfile.TemporaryDirectory(prefix="zcc-descriptors-") as directory:
        local = LocalFarm(directory)
        try:
            local.start(nodes=1, slots=1)
            (node,) = local.nodes
            assert resource.prlimit(node.pid, resource.RLIMIT_NOFILE) == (hard, hard)
        finally:
            local.stop()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
