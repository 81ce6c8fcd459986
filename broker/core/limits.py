"""Every bound and period of the broker, with its unit and its reason. Pure."""

from __future__ import annotations

from zcc.job import MAX_BLOB_BYTES

# --- sessions ---------------------------------------------------------------------------------
# Beats go both ways this often; a peer that was silent for LOST_AFTER_S is gone. Five beats: one or
# two may be lost to a stall or a swapped-out machine without its jobs being run again.
BEAT_EVERY_S = 1.0
LOST_AFTER_S = 5.0
# A tick that comes this late means that *we* stood still (suspend, swap): peers are given the time.
STALL_S = 2.0
# After a start, jobs wait this long for nodes to come back instead of being refused.
STARTUP_GRACE_S = 3.0
# `Who` is said to one route at most this often.
WHO_EVERY_S = 1.0
# A session's Hello is answered at most this often. A peer repeats it each second until it is welcomed.
HELLO_EVERY_S = 0.5
# Peers that broke the protocol are not listened to for this long.
BAN_S = 10.0
# At the most, after so many times in a row.
MAX_BAN_S = 1800.0
MAX_SESSIONS = 20_000
MAX_SESSIONS_PER_USER = 256
MAX_SLOTS = 4096
# Of one node: what it holds is given back in one step when it is lost (some 0.1 ms a lease).
MAX_NODE_SLOTS = 1024
MAX_MACHINE_CLASSES = 256

# --- connections --------------------------------------------------------------------------------
# Live connections of one key: each agent, node and storage helper has one. `--key-connections` says another.
KEY_CONNECTIONS = 64
# New connections of one key: a laptop whose network comes and goes makes one in two seconds at the most
# (RECONNECT_MAX_MS), and a key's many agents come back at once when the broker starts anew.
ADMISSIONS_BURST = 128
ADMISSIONS_PER_S = 4.0
# A key that is no longer valid is told so, and its connections are shut so much later.
LAST_WORDS_S = 1.0
# Whoever connects says Hello, or what else he came for, at once. One that says nothing for so long is shut.
SILENT_S = 10.0
# Of all descriptors this share may be connections'; the rest is for files, and for HTTP.
CONNECTIONS_SHARE = 0.5
# Once half of them are there, so many of one address that have said nothing: strangers need no key for them.
MAX_SILENT_OF_ADDRESS = 128
# Messages that libzmq holds for us from one peer. The rest waits in the kernel and with the sender: what is
# read from there faster is none the sooner handled.
UNREAD_MESSAGES = 64
# What may have come by one connection, by all of one key's, or by all, and not be handed to us: libzmq bounds
# neither the parts of an unfinished message nor the bytes of finished ones. An honest peer has 4 MiB under
# credit, at the most UNREAD_MESSAGES pieces of 256 KiB, and some MiB in the kernel.
MAX_AHEAD_BYTES = 32 << 20
MAX_AHEAD_BYTES_PER_KEY = 192 << 20
MAX_AHEAD_BYTES_IN_ALL = 1 << 30
# A peer's libzmq may send heartbeats, which are no messages: 82 bytes in 5 s both ways. Ours sends none.
HEARTBEAT_BYTES_PER_S = 20
# Connections are looked at so often, at most so many in one go: 5 us each.
LOOK_EVERY_S = 0.25
LOOKED_AT_ONCE = 2_000

# --- floods ---------------------------------------------------------------------------------------
# What a key may say for each connection that it may have: honest ones beat once a second, and say Hello again
# as often while they wait for a Welcome. And as a burst, what gathers in so many seconds.
BEATS_PER_CONNECTION_S = 4.0
HELLOS_PER_CONNECTION_S = 2.0
FLOOD_BURST_S = 15.0
# LocalCounts cost as much as ten Beats and more: of each agent one a second, and some that a stall has held up.
COUNTS_PER_S = 1.0
COUNTS_BURST = 4.0
# AskNodes: a row for each node, of up to 20,000; AskPlaced: as much. People and monitors ask once a second.
ASKS_BURST = 100.0
ASKS_PER_S = 16.0
# Enrol, Rejoin, Leave: each writes to the registry, some ms. A token may be for a pool of machines at once.
JOINS_BURST = 1_000.0
JOINS_PER_S = 20.0
# After one of them, of whichever key, the loop is others' for so many times as long as it took: who joins waits
# for 10 s, in which 1,000 do so where each takes 5 ms.
JOINS_REST = 1.0
# ccache's values: a piece of 256 KiB each; at this rate they are more than one loop relays.
STORAGE_BURST = 20_000.0
STORAGE_PER_S = 3_000.0
# What a key may store of them at once and a second: hashed and written in the loop, 1 ms for a piece.
STORED_BURST_BYTES = 64 << 20
STORED_BYTES_PER_S = 32 << 20
# All else but chunks: four for each job at 2,000 jobs a second, and what a whole build says at once.
MESSAGES_BURST = 120_000.0
MESSAGES_PER_S = 8_000.0

# When a member was last heard is written down so seldom, and for so many members at a time: a minute is
# near enough for `zcc-broker keys`, and so many rows take the loop a millisecond or two.
SEEN_EVERY_S = 60.0
MAX_SEEN_WRITES = 256

# --- jobs -------------------------------------------------------------------------------------
# What one user (one key) may have queued or running; `make -j1000` on several machines fits in.
# Requests count, so that many for one job do.
MAX_JOBS_PER_USER = 10_000
# Requests of one key for one job: whoever waits is told in one go when it begins, 35 us each.
MAX_REQUESTS_OF_JOB = 256
MAX_JOB_BYTES_PER_USER = 512 << 20
# Of the whole farm; beyond it jobs are refused and compiled locally.
MAX_JOBS = 100_000
MAX_JOB_BYTES = 2 << 30
MAX_BUILD_NAME = 256
# Characters of what an agent is told of why its job is refused.
MAX_REASON = 200
# A job lost with this many nodes is compiled locally: it may be what kills them.
MAX_LOSSES = 2
# What is undone in one turn of what sessions that are over leave behind, and of one of them: requests, blobs
# that it was asked for. Each takes 30 us.
UNDONE_AT_ONCE = 256
UNDONE_OF_SESSION = 64
# After an agent's new Hello its older requests are kept so long for it to submit them again.
RESUBMIT_S = 5.0
# Leases that a node reports and we do not know (we were restarted) wait this long for their agent.
ORPHAN_S = 30.0
# And are believed for so long after our start: nodes come back within seconds. Later only those are that this
# key was given and that went with its node, for as long; of these so many are kept.
CLAIMS_S = 60.0
MAX_LOST_LEASES = 20_000
# A node's Hello may list so many times the leases that its slots allow, and SURPLUS_LEASES more: what has ended
# or was revoked, as it may not know. Honest nodes list no more than their slots allow.
SURPLUS_SHARE = 2
SURPLUS_LEASES = 64
# A Hello costs its key one and as many as it lists leases, and the end of a session as many as it holds. A key
# may spend so much at once (256 nodes of 48 slots that come back when we were restarted), and so much a second.
# Beyond it a Hello is not answered: it is said again in a second.
HELLO_BURST = 16_384
# So many leases are given back at most for one Beat that lends less, and they cost as those of a Hello do.
# So many jobs are given to nodes at most before other peers' messages are heard.
GIVEN_BACK_A_BEAT = 128
PLACED_AT_ONCE = 128
HELLO_PER_S = 512
# Revokes that one node is sent in one turn, and all nodes in one tick: each takes 30 us. What is beyond waits.
REVOKES_AT_ONCE = 32
REVOKES_A_TICK = 256
# Jobs that are looked at in one tick for those that no node may run, when the farm has shrunk: 8,000 that run,
# or 1,000 that wait, or 100 that are refused; some milliseconds each.
LOOKED_AT_A_TICK = 8_000
# All agents are told anew when the farm has shrunk, at most this often, so many requests in a tick, and of one
# agent at a time: 20 us each.
TELL_EVERY_S = 1.0
TOLD_A_TICK = 512
TOLD_OF_SESSION = 64
# An agent is told how long it will wait when that is longer than this: what is shorter is over before one that
# has an idle slot could gain by it.
BUSY_AFTER_S = 0.1

# --- reading --------------------------------------------------------------------------------------
# A message of at most so many bytes unpacked is read in the loop (a job of 2,500 inputs: 5 ms), and so many
# of one key's at a time and a second (300 ordinary jobs: a third of the loop). The rest is the worker's.
AT_ONCE_BYTES = 128 << 10
AT_ONCE_BURST_BYTES = 2 << 20
AT_ONCE_BYTES_PER_S = 8 << 20
# What takes longer to read than its bytes say is charged by its time, as so many bytes a second.
AT_ONCE_BYTES_A_SECOND_OF_LOOP = 3 * AT_ONCE_BYTES_PER_S
# Inputs that one message shows for the first time and that are judged at once: a source, and what was edited
# with it. Each takes 10 us where the store lacks it; what is read of it is in AT_ONCE_BYTES.
MAX_JUDGED_AT_ONCE = 4
# What may wait to be read of one key's jobs (a build of -j1000), as much again of their results, and of all.
# Beyond it jobs are refused, and leases end without a verdict.
MAX_UNREAD_BYTES_PER_KEY = 64 << 20
MAX_UNREAD_BYTES = 512 << 20
# Digests kept once in memory however many queued jobs name them (a header is in most of them).
MAX_INTERNED = 1_000_000
# Outputs that lack this soon after our own disk refused a write are not the node's fault.
DISK_FAULT_S = 60.0
# What a key may have read in one turn, unpacked: some ten jobs.
UNREAD_TURN_BYTES = 256 << 10
# Digests that are looked for, or looked up, in one go, and for nodes' Wants in one turn of the loop: a look at
# the disk for each takes 2 us.
MAX_SOUGHT = 2_000
# What looking for what nodes want may take of the loop, for each of their keys: so many seconds at once, and a
# share. A blob takes 10 us, and 10 ns for each of the node's leases: 100,000 at once, then 10,000 a second.
SOUGHT_BURST_S = 1.0
SOUGHT_SHARE = 0.1
# Blobs of one node's Wants that wait to be looked for, some 100 bytes each: the inputs of 200 jobs of 2,500.
MAX_UNSOUGHT = 500_000
# Blobs that are re-read because somebody could not use them: so many may wait, and a thread reads so many at a
# time, or as many as it can in so long. Those that a job waits for come first.
MAX_DOUBTED = 100_000
CHECKED_AT_ONCE = 50
REREAD_S = 0.2
# What was re-read and found sound is not re-read for so long, whoever complains: a toolchain takes a second.
SOUND_FOR_S = 10.0
# Blobs of which is remembered what shows that one holds them; some 300 bytes each.
MAX_SHOWN_VALUES = 200_000

# --- what keys have shown to hold ---------------------------------------------------------------
# Blobs of which is known who has shown them; some 200 bytes each. A large C++ tree has 50,000 files.
MAX_SHOWN = 500_000
# Blobs that are known to be toolchains: a farm has some tens. Of each key those that it named and in which
# nothing has run yet, and those in which its jobs have run.
MAX_TOOLCHAINS = 10_000
MAX_NAMED_PER_KEY = 64
MAX_PROVEN_PER_KEY = 1_000
# Inputs that one job asks for at a time: nothing that is done for one message may take longer than
# some milliseconds, and a job may name 30,000.
MAX_ASKED = 1_000
# Blobs that one key's agents are asked for at a time, 1 KB each, and how often its jobs wait for one, 130 bytes
# each. Of a job beyond it one blob is asked for after the other.
MAX_ASKED_OF_KEY = 32_768
MAX_AWAITED_OF_KEY = 8 * MAX_ASKED_OF_KEY
# Agents are asked for at most MAX_ASKED in one turn of the loop, and those of one key for ASKED_PER_S a second:
# some 5% of the loop. An agent that comes back is asked for all anew.
ASKED_BURST = 32_768
ASKED_PER_S = 16_384
ASK_AGAIN_S = 0.1

# --- uploads ----------------------------------------------------------------------------------
# What an agent that was asked for blobs brings in UPLOAD_RATED_S at least, else another of its key is asked
# where there is one: 16 KiB/s, as the slowest lines. A blob that ends counts as so many bytes, however small.
UPLOAD_RATED_S = 10.0
LEAST_UPLOAD_BYTES = 160 << 10
BLOB_COUNTS_BYTES = 16 << 10
# It stands still when it brings less than this so many times on end: it is not asked further.
STILL_UPLOAD_BYTES = 10 << 10
STILL_ROUNDS = 2
# What more than one key may need is asked of each that waits for it, when it has not come in this time: 80 MB
# at 300 Mbit/s. In one tick so many jobs are looked at for it.
ASK_OTHERS_S = 2.0
MAX_JOBS_LOOKED_AT = 5_000
# What decodes the unfinished blobs of one key's agents, or of one node: the window that a frame asks for
# (512 KiB for an input or an output, 2 MiB for a toolchain), and DECODER_BYTES for the rest. So 512 files are
# open at the most, and 256 large inputs come at a time; an agent or a node sends 64.
MAX_DECODERS_BYTES = 256 << 20
DECODER_BYTES = 512 << 10
# Of all keys together, and the share of the descriptors that their unfinished uploads may have. Beyond it the
# keys that have an even share of that, or more, begin nothing.
MAX_DECODERS_BYTES_IN_ALL = 1 << 30
UPLOADS_SHARE = 0.125
# A frame of 2 KB may hold 64 MiB, which keep the loop busy for 0.1 s. What a key's inputs hold beyond so many
# times their frames (headers pack to a fifth, tables to a thirtieth) may be so much at once, and so much a
# second: 5% of the loop. What goes beyond waits.
UNPACKED_SHARE = 32
UNPACKED_BURST_BYTES = 256 << 20
UNPACKED_BYTES_PER_S = 32 << 20
# Blobs that wait so, of all keys: each tick looks at them. Beyond it they are asked for anew at once.
MAX_PUT_OFF = 10_000
# Broken uploads that are kept to be continued (each an open file), and for how long. Of too many, the key that
# has the most loses its oldest.
MAX_PARTIALS = 64
PARTIAL_KEPT_S = 600.0
# What one key's unfinished uploads take beside the store: many toolchains. Beyond it the oldest go, and of what
# is under way the rest passes by.
MAX_UNFINISHED_BYTES_PER_KEY = 2 << 30
# Outputs that one node may have under way at a time (each an open file).
MAX_PUSHES_PER_NODE = 512
# What one lease may push, uncompressed: a node's own limit for all outputs of a job together.
MAX_OUTPUT_BYTES = MAX_BLOB_BYTES
# Blobs of leases that are over which a node may still send; beyond it the oldest are not awaited.
MAX_PASSING = 4096
# A node may announce outputs for a lease that is over, as word of that may still be on its way: for the last
# so many times as many leases as it may hold, and at least so many.
ENDED_SHARE = 4
MIN_ENDED = 64
# Outputs of one node that wait in memory for their Done, some 40 objects; what goes beyond waits in files.
MAX_HELD_PUSHES_BYTES = 1 << 20
# Frames of one chunk that came last, of all members: in memory to be sent on.
MAX_RECENT_BYTES = 32 << 20
# Open files kept for reading chunks.
MAX_OPEN_BLOBS = 128
# A chunk may cross with the Welcome that made it void; later it is a violation.
CROSSING_S = 10.0

# --- answers ------------------------------------------------------------------------------------
# What may be handed over for one peer and has not come there, before a message is added: credit (4 MiB), and
# what a line of 1 Gbit/s takes in 60 ms. And for all peers of one key.
MAX_UNSENT_BYTES = 8 << 20
MAX_UNSENT_BYTES_PER_KEY = 128 << 20
# Messages that libzmq may hold for one peer.
MAX_UNSENT_MESSAGES = 256
# Peers that have no room are looked at again after so long, and so many of them at a time: 5 us each.
RETRY_S = 0.01
RETRIED_AT_ONCE = 64
# What waits for one peer to have room: references to answers, and small messages where libzmq's queue is full.
# 10,000 jobs may be refused in one turn of the loop.
ANSWER_BYTES = 600
CONTROL_BYTES = 500
MAX_ANSWERS_BYTES = 8 << 20
MAX_ANSWERS_BYTES_PER_KEY = 64 << 20
# What a result that waits for its agent takes beside its body.
HELD_BYTES = 512
# Results that wait so: each job that a key may have here at once has ended. Beyond it the agent is given up.
MAX_HELD = MAX_JOBS_PER_USER
# Bodies of results in memory, of all agents of one key: what comes beyond it goes to disk.
MAX_HELD_IN_MEMORY_BYTES = 16 << 20
# With what the results take that are not in memory; the agent whose result goes beyond it is given up.
MAX_HELD_BYTES_PER_KEY = 64 << 20
# Bodies of results on disk; what goes beyond it is lost, and its agent compiles.
MAX_SPOOLED_BYTES_PER_KEY = 4 << 30
MAX_SPOOLED_BYTES = 16 << 30
# What stays free: the registry lies on the same disk, mostly.
SPOOL_LEAVES_BYTES = 256 << 20

# --- audits -----------------------------------------------------------------------------------
# What the bytes of jobs may take beside the results that they gave, of the store's limit: some 20 KB each.
JOBS_KEPT_SHARE = 0.05
# By itself the broker runs one result again at a time, and rests so many times as long as that took, at least
# AUDIT_PAUSE_S: 5% of one slot.
AUDIT_REST = 19.0
AUDIT_PAUSE_S = 10.0
# Results under audit at a time, when an operator asks.
AUDITS_AT_ONCE = 4
MAX_AUDITS_QUEUED_PER_KEY = 1_000
MAX_FINDINGS = 100
# A key whose nodes gave wrong results gets no jobs for a day, or until the broker starts anew: time to look.
CONDEMNED_S = 86_400.0
# Members whose jobs have to speak against it; fewer have it tried first, after MAX_QUARANTINE_S.
CONDEMNING_KEYS = 3
SUSPECTING_KEYS = 2
# Node keys that one member's jobs count against in a day.
MAX_ACCUSED = 2
# The two that agree against a third have to give the same so many times more, together: a job that gives one
# of two things by chance does so once in sixteen.
REPEATS = 4

# --- placement --------------------------------------------------------------------------------
# Besides one job for each idle slot, inputs are asked for this share of all slots in advance.
GRANT_AHEAD = 0.5
# A busy node counts as slower than an idle one of the same speed, by up to this (in ln of its rate): equal
# nodes share the work, and a clearly faster one still comes first.
CROWDING = 0.1
# The rate of the fastest node is looked up this often.
FASTEST_FOR_S = 1.0
# A build goes on while it keeps this share of the most jobs that it ever had here at a time: whoever runs
# `make -jN` fills up what is finished until nothing is left. Below it, what is here is taken for all that
# is left.
GOES_ON_SHARE = 0.9
# While a build goes on, this share of the nodes, the fastest, takes the longest jobs. Others take jobs that
# last there for at most GOES_ON_HORIZON of the time that all that is here would take: what is left to them
# at the end is short then. In the tail a job may take TAIL_HORIZON of that time anywhere, or as long as the
# longest of what runs. All three by simulation (bench/scale.py).
FAST_SHARE = 0.3
GOES_ON_HORIZON = 0.5
TAIL_HORIZON = 1.2
# A job that takes so many times as long on a slot as its build's mean job on the mean slot waits for a
# better one, although that slot is idle: the others of its build come any moment.
OVERLONG = 1.5
# A job that has waited so long is next in its build, however short it is: others may wait for what it makes.
AGED_S = 15.0
# A prediction that was off by this factor is made good in its user's turns.
FAR_OFF = 2.0
# So is one that so many others of its build have overtaken, as a share of those that wait, and at the least.
PASSED_SHARE = 4
LEAST_PASSED = 64
# Builds and machine classes of one user that take turns; jobs of more are served as one.
MAX_LANES = 64
# Unstarted jobs a node may hold beyond its slots, as a share of them (at least 1).
PREFETCH = 0.25
# A job is taken back from a node that has not begun it when it ends so much sooner elsewhere: two round
# trips.
RECALL_GAIN_S = 0.25
# Nodes that have not run anything of late are looked at this often. One that is rated slow is given a short job
# then (so many seconds at the mean, not the last of its build), to see whether it still is.
LOOK_AT_NODES_S = 5.0
PROBE_COST_S = 2.0
# A toolchain of which the size is not known, packed.
TOOLCHAIN_BYTES = 80_000_000
# What a line is taken to give until it is measured, as if so much had come over it so: 1 Gbit/s, and unpacking.
LINE_BYTES_PER_S = 40e6
LINE_PRIOR_BYTES = 1 << 20
# And what it gives at the least: the slowest lines.
LEAST_LINE_BYTES_PER_S = 16 << 10
# What has come over a line counts for less by a factor of e when so much more has come, and for half after so
# long: a laptop is at home in the evening.
FADING_BYTES = 16 << 20
LINE_HALF_S = 1800.0
# A node says Credit for a quarter of its window (zcc/transfer.py): then it is heard of what is on its way.
GRANT_BYTES = 1 << 20
# What is smaller says nothing of a line: it takes as long as the round trip.
LEAST_MEASURED_BYTES = 4 * GRANT_BYTES
# A toolchain that is there so soon is as good as there: two round trips.
NEAR_S = 0.25
# Unpacking takes some seconds: for so long nothing is heard of a toolchain that has come.
UNPACKING_S = 3.0
# What a run may take beside what its node says of it (a sandbox, say) before that counts as its toolchain's
# way.
RUN_BESIDE_S = 1.0

# --- runs that take too long --------------------------------------------------------------------
# A run takes unusually long when it is over the 95th percentile of its class (Dean and Barroso, The Tail
# at Scale, 2013), and over this. Then it may be done a second time: 5% of the slots at most are used so.
STRAGGLES_AFTER = 1.5
STRAGGLES_AFTER_S = 0.25
HEDGE_SHARE = 0.05
MAX_HEDGES_OF_JOB = 2
# Stragglers are looked for so often, and runs that are over their limit: a look at each lease.
HEDGE_LOOK_S = 0.25
OVERDUE_LOOK_S = 1.0
# The limit of a run: so many times as long as predicted, which one job in 2,000 takes where
# ln(actual / predicted) scatters by 0.7. At least so long; longer for a job of which nothing is known. Four
# times as long each time that it was over.
LIMIT_TIMES = 10.0
LEAST_RUN_LIMIT_S = 60.0
UNKNOWN_RUN_LIMIT_S = 300.0
LIMIT_GROWTH = 4.0
# `--run-limit`: nodes end a job after 900 s by themselves (`deadline`), and say so.
RUN_LIMIT_S = 960.0
# From Run to Started, where a slot is free: 80 MB of toolchain at 2 Mbit/s. And from Announce to Done: 1 GiB of
# outputs at 30 Mbit/s.
START_LIMIT_S = 300.0
ANSWER_LIMIT_S = 300.0
# A job that is over its limit on so many nodes is compiled locally.
MAX_OVERRUNS = 3
# A node that lost so many runs to second copies, and gave no result in so long, has not answered. One that is
# slow, or whose speed is not known yet, gives some.
MAX_BEATEN = 3
BEATEN_S = 30.0
# Losers of hedges whose results may still be on their way, to be compared with the winners'; larger bodies
# are not kept for it.
MAX_BEATEN_KEPT = 64
MAX_BEATEN_BODY_BYTES = 256 << 10

# --- bad nodes --------------------------------------------------------------------------------
FAULT_WINDOW = 10
MAX_FAULTS = 3
# A result to no use takes one of a key's places away at the nodes of another (broker/trust/denials.py), one of
# use gives so many back: where half of all compiles fail that is more than goes. So many may go before it is
# felt: by chance as many are owed one time in 120 then. With the last one a job is waited for MAX_DENIAL_S.
USEFUL_REPAYS = 2
SPARE_PLACES = 10
MAX_DENIAL_S = 30.0
QUARANTINE_S = 30.0
MAX_QUARANTINE_S = 1800.0
# A node whose quarantine is over is tried with so many known jobs, where there are as many. Those of so many
# keys have to speak against it. Nodes that owe that are looked for so often.
KNOWN_JOBS = 3
CONVICTING_KEYS = 2
TRIALS_EVERY_S = 0.5
# Known jobs that are put to it in all: what does not repeat itself, or cannot be run again, says nothing.
MAX_KNOWN_JOBS = 12
# What a known job takes at the most: CPU seconds where it was done, and bytes of outputs.
MAX_KNOWN_CPU_S = 10.0
MAX_KNOWN_BYTES = 8 << 20
# Of so many keys, chosen at random, so many of the results that were used last are looked at for known jobs.
KNOWN_OF_KEYS = 64
KNOWN_OF_ONE = 32
# Who could not be tried is tried again after so long, twice as long each time where that was its own doing.
ASK_PROOF_AGAIN_S = 10.0
# A trial that has not ended by then is given up: each of its runs has a limit of its own.
TRIAL_LIMIT_S = 3600.0
# Real jobs, one at a time, that a node has to do where no known job can be put to it.
PROBES = 3
# A node on which a job ran out of something, or that did not answer, is given nothing for so long, twice as
# long each time until a job succeeds there.
REST_S = 5.0
MAX_REST_S = 30.0
# Failures on a node that no other node has judged, without a verdict between them, are the node's when so
# many are left whichever one key's are taken away: three keys' once, or two keys' twice.
UNDECIDED_FAULTS = 2
# Toolchains that one node has no room for; beyond it the oldest is tried again.
MAX_UNFIT = 64
# Toolchains that one node is known to have; of more any is taken not to be there, which costs a job a moment.
MAX_TOOLCHAINS_OF_NODE = 1_000
# Keys for which a node can be put aside alone.
MAX_ASIDE = 1_000
# So many failed jobs among the last of one key (on two nodes each, or wrong in themselves) have its jobs
# refused for QUARANTINE_S, and so on as for a node. A build has a file or two that no node can compile
# (memory, time), not five in twenty.
JOB_WINDOW = 20
MAX_FAILED_JOBS = 5
# Keys of which something is remembered: whose jobs failed, what they have used up.
MAX_RECORDS = 10_000
# Nodes of one key that are remembered after they left (speed, faults); so many sessions it may have, and some.
MAX_RECORDS_PER_KEY = 300

# --- seats ----------------------------------------------------------------------------------------

# Users and machine classes whose rooms are remembered; beyond it they are looked up anew.
MAX_PLACES = 10_000

# --- the log of decisions -------------------------------------------------------------------------

# Decisions that are kept, some 400 bytes each: at 50 jobs a second those of seven minutes.
MAX_DECISIONS = 20_000
# Changes of nodes that can be undone to see who the candidates were: three for each job. Some 200 bytes each.
# And what they may take in all: a node that has left stays in memory for as long as they tell of it.
MAX_CHANGES = 60_000
MAX_CHANGES_BYTES = 32 << 20
CHANGE_BYTES = 200
# A word that a set of classes or toolchains keeps, beside its own bytes.
ENTRY_BYTES = 100
# What is kept of a node's word on itself or on a job: why it takes none, what failed.
MAX_WORD_BYTES = 200
# So many are undone for one key's questions at once, and in a second: 1% of the loop. A node that is looked at
# counts as 16. Beyond it decisions come without candidates.
UNDONE_BURST = 4 * MAX_CHANGES
UNDONE_PER_S = MAX_CHANGES
# --- tiers ------------------------------------------------------------------------------------
# Jobs that wait for an answer of the tiers, 0.2 s each at the most: a key's, and what all take together.
MAX_HELD_PER_KEY = 512
MAX_HELD_BYTES = 64 << 20
# --- what jobs cost ---------------------------------------------------------------------------
# Sources of which is known what they took, once for each key that has compiled them: some 600 bytes each here
# and 100 on disk. LLVM has 6,000, Chromium 50,000.
MAX_COST_ROWS = 200_000
MAX_COST_ROWS_PER_KEY = 60_000
# What a job's inputs are believed to have in all, by its agent's word, before it has run: ten times what the
# largest projects' sources include.
MAX_CLOSURE_BYTES = 256 << 20
# What is reserved for a job, in times of the peak that is expected.
RESERVE_SHARE = 1.2
# A job that nodes have stopped more often for want of memory is lost to them.
MAX_STOPS = 6
# A node with less than that left is given no job, however small, unless it holds none.
SMALL_JOB_BYTES = 64 << 20
# A node of which some process has waited for memory in so much of the last 10 s, in percent, is given no more.
MAX_PRESSURE = 10.0
# For a job that has waited for AGED_S for memory a node is kept free of others' jobs for so long, and again,
# until it is empty enough.
KEPT_FOR_S = 5.0
# What a job without traits is taken to need: about the largest of ten C++ compiles.
DEFAULT_PEAK_BYTES = 512 << 20
# Toolchains that have a regression of their own, 2 KB each.
MAX_REGRESSIONS = 256
# By what factor others' word for a source may differ from what the regression says, and that from its prior.
FOREIGN = 4.0
REGRESSED = 8.0
# They are written down so seldom: what is learnt in between is lost with a broker that is killed.
COSTS_EVERY_S = 2.0
# A node's word for what a job took, in CPU seconds a second by our own clock; and beyond that clock.
MOST_PROCESSORS = 4.0
TOLD_BEYOND_S = 1.0
# And of the time by that clock, at the least, for its speed: the rest may be the inputs' and the outputs' way.
LEAST_SEEN_SHARE = 0.5
# A job uses so much of a processor at the least, as far as its node's speed goes: who said that none was used
# would look faster than all others, and have others charged for that speed.
LEAST_CPU_SHARE = 0.25
# For so much of a node's slowdown a key whose job has held a slot is not charged.
MOST_SLOWDOWN = 2.0
