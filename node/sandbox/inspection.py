"""Whether a run has read what it was meant to read: its inputs and its toolchain, looked at when it is over.

Owns the looking and the removing of what is rotten. After the run, since a file that is written into while it
runs is as bad as one that was before; and before anything of the result is packed.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from cache.blobs import BlobStore
from node.errors import SpoiledError
from node.sandbox.freshness import TOOLCHAINS_SHARE, Freshness, changed_links
from node.sandbox.trees import Tree
from node.toolchains.members import Members
from zcc.job import Job

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Inspector:
    """Looks at what jobs have read. `inputs` is the store that trees are made of.

    A turn of `turns` is held while files are looked at, and none while they are read: what a job's files cost
    to read is for nobody else to wait for.
    """

    freshness: Freshness
    inputs: BlobStore
    turns: threading.BoundedSemaphore

    def inspect(self, job: Job, tree: Tree, root: bytes, members: Members) -> None:
        """Look at all that this job may have read, in its tree and in the toolchain below `root`. Beside
        the loop; the tree must be the job's still.

        Raises:
            SpoiledError: something is not what it must be. What is rotten in the store is removed from it.
        """
        freshness, manifest = self.freshness, job.manifest
        every_s = TOOLCHAINS_SHARE * freshness.every_s
        with self.turns:
            inputs = freshness.unsure(
                tree.root, ((file.path, file.digest) for file in manifest.files)
            )
            wrong = changed_links(tree.root, manifest.symlinks)
            parts = freshness.unsure(root, members.files, every_s)
            worn = changed_links(root, members.links)
        rotten = freshness.rotten(tree.root, inputs)
        wrong = [path for path, _ in rotten] + wrong
        for _, digest in rotten:
            place = os.fsencode(self.inputs.path_of(digest))
            if freshness.rotten(b"", [(place, digest)]):
                self.inputs.remove(digest)
        worn = [path for path, _ in freshness.rotten(root, parts, every_s)] + worn
        if wrong or worn:
            named = ", ".join(map(os.fsdecode, (wrong + worn)[:_MOST_NAMED]))
            count = len(wrong) + len(worn)
            raise SpoiledError(f"{count} files are not what they were: {named}", bool(worn))
