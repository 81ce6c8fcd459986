"""Whether a run has read what it was meant to read: its inputs and its toolchain, looked at when it is over.

Owns the looking and the removing of what is rotten. After the run, since a file that is written into while it
runs is as bad as one that was before; and before anything of the result is packed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from cache.blobs import BlobStore
from node.errors import SpoiledError
from node.freshness import TOOLCHAINS_SHARE, Freshness, changed_links
from node.members import Members
from node.trees import Tree
from zcc.job import Job

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Inspector:
    """Looks at what jobs have read. `inputs` is the store that trees are made of."""

    freshness: Freshness
    inputs: BlobStore

    def inspect(self, job: Job, tree: Tree, root: bytes, members: Members) -> None:
        """Look at all that this job may have read, in its tree and in the toolchain below `root`. Beside
        the loop; the tree must be the job's still.

        Raises:
            SpoiledError: something is not what it must be. What is rotten in the store is removed from it.
        """
        manifest = job.manifest
        rotten = self.freshness.rotten(
            tree.root, ((file.path, file.digest) for file in manifest.files)
        )
        wrong = [path for path, _ in rotten] + changed_links(tree.root, manifest.symlinks)
        for _, digest in rotten:
            place = os.fsencode(self.inputs.path_of(digest))
            if self.freshness.rotten(b"", [(place, digest)]):
                self.inputs.remove(digest)
        every_s = TOOLCHAINS_SHARE * self.freshness.every_s
        worn = [path for path, _ in self.freshness.rotten(root, members.files, every_s)]
        worn += changed_links(root, members.links)
        if wrong or worn:
            named = ", ".join(map(os.fsdecode, (wrong + worn)[:_MOST_NAMED]))
            count = len(wrong) + len(worn)
            raise SpoiledError(f"{count} files are not what they were: {named}", bool(worn))
