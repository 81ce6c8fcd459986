"""Every bound and period of what is told to watchers, with its unit and its reason. Pure."""

from __future__ import annotations

# What has happened goes to watchers this often, and one batch serves all. A message costs the broker more than
# its bytes do: where there are many watchers it says so many a second to all of them together, as far as each
# has one a second.
BATCH_S = 0.2
MAX_MESSAGES_PER_S = 20
MOST_BATCH_S = 1.0
# Batches that are kept for who is slow or was away: a minute, and what they may take.
MAX_BATCHES = 300
MAX_BATCHES_BYTES = 4 << 20
# Of one watcher so many wait to be read at a time.
MAX_BATCHES_DUE = 16
# A feed goes on for so long without watchers: one that connects again misses nothing.
FEED_LINGERS_S = 10.0
MAX_WATCHERS = 64
MAX_WATCHERS_PER_KEY = 16
# A snapshot is made once a second at most, whoever asks, and has so many jobs (20,000 nodes and 8,192 jobs: 150
# ms).
SNAPSHOT_EVERY_S = 1.0
MAX_SHOWN_JOBS = 8_192
# Requests of one job that it lists, and all its bytes before they are compressed: as much as a frame has,
# whatever the names are. 20,000 nodes are some 4 MiB, 8,192 jobs 2 MiB.
MAX_SHOWN_REQUESTS = 64
MAX_SNAPSHOT_BYTES = 15 << 19
# What is looked at now and then, the nodes that beat among it: some 10 us each.
PULSE_S = 1.0
MAX_NODES_SHOWN_A_SECOND = 512
# Lines whose bytes are read in a second, of which what moves less than this is not told; and uploads.
MAX_LINES_READ = 1_024
LEAST_LINK_BYTES = 1_024
MAX_UPLOADS_SHOWN = 64
# Load, memory and counts of a node alone are worth a row so seldom.
NODE_SHOWN_EVERY_S = 5.0
# Members, builds and toolchains that have a number, of each so many; and what is shown of anybody's word.
MAX_NUMBERED = 4_096
# And builds of one key, which makes them up: as many as it may have agents.
MAX_BUILDS_OF_KEY = 64
MAX_SHOWN_BYTES = 256
