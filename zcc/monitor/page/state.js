// The farm as a watcher has it: rows of events in, the present and some history to be read. Pure.
//
// The rules of zcc/watching/state.py; tests/unit/monitor/test_reducers.py holds the two against each other. Times are
// Unix milliseconds. Of `runs` and `seconds` only the last are kept.

const MOST_RUNS = 60_000;
const MOST_SECONDS = 900;
const MOST_LINES = 400;
const MOST_BUILDS = 500;
const MOST_NUMBERED = 4_096;
const MOST_LATELY = 500;
const BUILD_GAP_MS = 10_000;
export const PHASES = ["scan", "queue", "send", "fetch", "compile", "return"];

const WORTH_A_LINE = new Set([
  "node-left", "quarantine", "unleased", "refused", "joined", "turned-away",
]);

const add = (counts, name, by = 1) => {
  if (by) counts[name] = (counts[name] ?? 0) + by;
};

/** Of more than so many the oldest goes, of builds the oldest that is not live, if there is one. */
function trim(things, most) {
  if (things.size <= most) return;
  let gone = things.keys().next().value;
  for (const [key, each] of things) {
    if (!each.live?.size) {
      gone = key;
      break;
    }
  }
  things.delete(gone);
}

/** Of too many builds the oldest goes of whoever has the most of those that are not live. */
function trimKnown(builds, most) {
  if (builds.size <= most) return;
  const idle = [...builds].filter(([, each]) => !each.live.size);
  const counts = new Map();
  const owner = ([, each]) => each.member?.id;
  for (const each of idle) counts.set(owner(each), (counts.get(owner(each)) ?? 0) + 1);
  const largest = Math.max(...counts.values());
  const gone = idle.find((each) => counts.get(owner(each)) === largest);
  builds.delete(gone ? gone[0] : builds.keys().next().value);
}

/** What takes an event of this name: onNodeLeft, of node-left. */
const methodOf = (name) => `on-${name}`.replace(/-(.)/g, (_, letter) => letter.toUpperCase());

export class FarmState {
  constructor(fields = {}) {
    this.fields = fields; // of each event, in order, as the server says
    this.farm = null;
    this.nowMs = 0;
    this.knownBuilds = new Map(); // by id
    this.runs = [];
    this.seconds = [];
    this.lines = []; // [at, event]
    this.totals = {};
    this.forget();
  }

  /** The present begins anew; the history stays. */
  forget() {
    this.members = new Map();
    this.toolchains = new Map();
    this.builds = new Map();
    this.nodes = new Map();
    this.jobs = new Map();
    this.shipping = new Map();
    this.queue = null;
    this.pulse ??= null;
  }

  applyRows(rows) {
    for (const row of rows) this.apply(row);
    if (this.isOther) this.callNodes();
    this.isOther = false; // nodes have come or gone since they were called
  }

  apply(row) {
    const names = this.fields[row[0]];
    if (!names) return; // of a later release
    const event = { event: row[0] };
    for (let i = 0; i < names.length; i++) event[names[i]] = row[i + 1];
    if (event.event !== "farm") this.nowMs = Math.max(this.nowMs, this.timeOf(event));
    this[methodOf(event.event)]?.(event);
    if (WORTH_A_LINE.has(event.event)) {
      this.lines.push([this.timeOf(event), event, this.lineContext(event)]);
      if (this.lines.length > MOST_LINES) this.lines.splice(0, this.lines.length - MOST_LINES);
    }
  }

  timeOf(event) {
    return (this.farm ? Math.round(this.farm.began_s * 1000) : 0) + event.at_ms;
  }

  isOver(build) {
    return build.live.size === 0 && this.nowMs - build.lastMs > BUILD_GAP_MS;
  }

  /** What a line's numbers are called, while they still are known. */
  lineContext(event) {
    if (event.event === "node-left") return this.leftName ?? "";
    if (event.event === "unleased") return this.lostRun ?? null;
    return this.members.get(event.member)?.name ?? "";
  }

  // ---- who and what ----

  onFarm(event) {
    this.farm = event;
    this.nowMs = this.timeOf(event);
    for (const build of this.builds.values()) build.live.clear();
    this.forget();
  }

  onMember(event) {
    this.members.set(event.member, event);
    trim(this.members, MOST_NUMBERED);
  }

  onToolchain(event) {
    this.toolchains.set(event.toolchain, event);
    trim(this.toolchains, MOST_NUMBERED);
  }

  onBuild(event) {
    const at = this.timeOf(event);
    const member = this.members.get(event.member) ?? null;
    const id = `${member ? member.id : `#${event.member}@${event.at_ms}`}/${event.id}`;
    let build = this.knownBuilds.get(id);
    if (!build) {
      build = {
        id, member, beganMs: at, lastMs: at, live: new Map(), counts: {}, local: {}, missed: {},
        past: 0, cpuMs: 0, savedMs: 0,
      };
      this.knownBuilds.set(id, build);
      trimKnown(this.knownBuilds, MOST_BUILDS);
    }
    build.shown = event;
    build.member = member;
    build.name = event.name || event.id;
    this.builds.set(event.build, build);
    trim(this.builds, MOST_NUMBERED);
  }

  onNode(event) {
    const known = this.nodes.get(event.node);
    const at = this.timeOf(event);
    if (known) {
      known.shown = event;
      known.seenMs = at;
    } else {
      this.nodes.set(event.node, {
        number: event.node, label: event.name, shown: event, seenMs: at, runs: new Map(), slots: [], lanes: [],
      });
      this.isOther = true;
    }
  }

  /** Nodes of one name are told apart by their keys, those of one key by their numbers (zcc/watching/names.py). */
  callNodes() {
    const [names, keys] = [{}, {}];
    for (const { shown } of this.nodes.values()) {
      add(names, shown.name);
      add(keys, `${shown.member}/${shown.name}`);
    }
    for (const node of this.nodes.values()) {
      const { name, member } = node.shown;
      const key = this.members.get(member)?.id ?? "";
      const number = key && keys[`${member}/${name}`] === 1 ? "" : `#${node.number}`;
      node.key = key;
      node.label = names[name] === 1 ? name : `${name} (${[key, number].filter(Boolean).join(" ")})`;
    }
  }

  onNodeLeft(event) {
    this.leftName = this.nodes.get(event.node)?.label ?? "";
    this.nodes.delete(event.node);
    this.isOther = true;
    for (const [place, moving] of this.shipping) {
      if (moving.node === event.node) this.shipping.delete(place);
    }
  }

  onShipping(event) {
    const place = `${event.node}/${event.toolchain}`;
    if (event.done_bytes >= event.total_bytes) this.shipping.delete(place);
    else this.shipping.set(place, event);
  }

  // ---- jobs ----

  onQueued(event) {
    const at = this.timeOf(event);
    const build = this.builds.get(event.build) ?? null;
    const member = this.members.get(event.member) ?? null;
    const job = this.addJob(event, [{ member, build }]);
    if (build) {
      build.live.set(event.job, job);
      this.touch(build, at);
    }
  }

  onTwin(event) {
    const job = this.jobs.get(event.job);
    const build = this.builds.get(event.build) ?? null;
    if (job) job.requests.push({ member: this.members.get(event.member) ?? null, build });
    if (build) {
      this.touch(build, this.timeOf(event));
      if (job) build.live.set(event.job, job);
    }
  }

  onLeft(event) {
    const job = this.jobs.get(event.job);
    if (!job) return;
    const build = this.builds.get(event.build) ?? null;
    const place = job.requests.findIndex(
      (each) => each.build === build && (each.member?.member ?? 0) === event.member,
    );
    if (place >= 0) job.requests.splice(place, 1);
    if (build && job.requests.every((each) => each.build !== build)) {
      build.live.delete(job.number);
      this.tally(build, "cancelled", this.nowMs);
    }
  }

  onSending(event) {
    const job = this.jobs.get(event.job);
    if (job) {
      job.sending = event.what;
      job.missing = event.missing;
    }
  }

  onLeased(event) {
    const at = this.timeOf(event);
    const job = this.jobs.get(event.job) ?? this.unlisted(event);
    const node = this.nodes.get(event.node);
    if (!node) return;
    job.sending = "";
    const run = {
      job, node, leased: event, leasedMs: at, startedMs: 0, endedMs: 0, slot: -1, ending: "", detail: "",
      isFault: false, result: null, member: job.requests[0]?.member ?? null, build: job.requests[0]?.build ?? null,
    };
    job.runs.push(run);
    node.runs.set(event.lease, run);
  }

  /** A job that a snapshot had no room for, as far as its number says. */
  unlisted(event) {
    const blank = Object.fromEntries(this.fields.queued.map((name) => [name, 0]));
    Object.assign(blank, { at_ms: event.at_ms, job: event.job, key: "", file: "", language: "", needs: "" });
    return this.addJob(blank, []);
  }

  addJob(queued, requests) {
    const job = {
      number: queued.job, queued, queuedMs: this.timeOf(queued), sending: "", missing: 0, runs: [],
      requests, file: queued.file,
    };
    this.jobs.set(job.number, job);
    return job;
  }

  runOf(event) {
    return this.jobs.get(event.job)?.runs.find((run) => run.leased.lease === event.lease);
  }

  /** A run whose job has ended, if that was a moment ago. */
  lately(lease) {
    const last = this.runs.slice(-MOST_LATELY);
    return last.find((run) => run.leased.lease === lease) ?? null;
  }

  onStarted(event) {
    const run = this.runOf(event);
    if (!run || run.startedMs) return;
    run.startedMs = this.timeOf(event);
    const { slots, lanes } = run.node;
    let slot = slots.findIndex((each) => !each);
    if (slot < 0) slot = slots.length;
    slots[slot] = run;
    run.slot = slot;
    (lanes[slot] ??= []).push(run);
    if (lanes[slot].length > 400) lanes[slot].splice(0, 100);
  }

  onUnleased(event) {
    const run = this.runOf(event);
    this.lostRun = run ?? this.lately(event.lease);
    if (!run) return;
    run.detail = event.detail;
    run.isFault = event.is_fault;
    this.endRun(run, event.why, this.timeOf(event));
  }

  onFinished(event) {
    const job = this.jobs.get(event.job);
    if (!job) return;
    const at = this.timeOf(event);
    const run = this.runOf(event);
    if (run) {
      run.result = event;
      this.endRun(run, event.outcome, at);
    }
    const build = job.requests[0]?.build;
    if (build) build.cpuMs += event.cpu_ms;
    const second = this.second(at);
    add(second.counts, "cpu_ms", event.cpu_ms);
    add(second.counts, "output_bytes", event.output_bytes);
    add(second.counts, "input_bytes", job.queued.input_bytes);
    second.phases ??= [0, 0, 0, 0, 0, 0];
    phasesOf(job, event).forEach((ms, place) => (second.phases[place] += ms));
    this.endJob(job, event.outcome, at);
  }

  onHit(event) {
    const at = this.timeOf(event);
    const second = this.second(at);
    second.madeBy ??= {};
    add(second.madeBy, event.node);
    const job = this.jobs.get(event.job);
    if (job) {
      this.endJob(job, "hit", at);
      return;
    }
    const build = this.builds.get(event.build);
    if (build) this.touch(build, at);
    this.tally(build, "hit", at);
  }

  onRefused(event) {
    const at = this.timeOf(event);
    const job = this.jobs.get(event.job);
    if (job) this.endJob(job, "refused", at);
    else this.tally(this.builds.get(event.build), "refused", at);
  }

  onAbandoned(event) {
    const job = this.jobs.get(event.job);
    if (job) this.endJob(job, event.why, this.timeOf(event));
  }

  endJob(job, ending, at) {
    job.ending = ending;
    job.endedMs = at;
    job.sending = "";
    this.jobs.delete(job.number);
    for (const run of job.runs) if (!run.ending) this.endRun(run, "cancelled", at);
    const requests = job.requests.length ? job.requests : [null];
    requests.forEach((request, place) => {
      const build = request?.build ?? null;
      this.tally(build, place && ending !== "cancelled" ? "twin" : ending, at);
      if (build) {
        if (build.live.delete(job.number)) build.past++;
        this.touch(build, at);
      }
    });
  }

  endRun(run, ending, at) {
    if (run.ending) return;
    run.ending = ending;
    run.endedMs = at;
    run.node.runs.delete(run.leased.lease);
    if (run.slot >= 0 && run.node.slots[run.slot] === run) run.node.slots[run.slot] = null;
    this.runs.push(run);
    if (this.runs.length > MOST_RUNS) this.runs.splice(0, MOST_RUNS / 10);
  }

  // ---- counts ----

  onCounted(event) {
    const at = this.timeOf(event);
    const second = this.second(at);
    const local = event.local.reduce((sum, [, count]) => sum + count, 0);
    for (const counts of [second.counts, this.totals]) {
      add(counts, "local-hit", event.local_hits);
      add(counts, "local", local);
      add(counts, "saved_ms", event.saved_ms);
    }
    second.missed ??= {};
    for (const [word, count] of event.missed) add(second.missed, word, count);
    const build = this.builds.get(event.build);
    if (!build) return;
    add(build.counts, "local-hit", event.local_hits);
    add(build.counts, "local", local);
    build.savedMs += event.saved_ms;
    for (const [word, count] of event.local) add(build.local, word, count);
    for (const [word, count] of event.missed) add(build.missed, word, count);
    this.touch(build, at);
  }

  onQueue(event) {
    this.queue = event;
  }

  onPulse(event) {
    this.pulse = event;
    const second = this.second(this.timeOf(event));
    second.waiting = event.waiting;
    second.running = event.running;
    second.slots = event.slots;
  }

  touch(build, at) {
    build.beganMs = Math.min(build.beganMs, at);
    build.lastMs = Math.max(build.lastMs, at);
  }

  tally(build, ending, at) {
    add(this.totals, ending);
    add(this.second(at).counts, ending);
    if (build) add(build.counts, ending);
  }

  /** The second of this moment: the last one, or a new one; what comes late counts in the last. */
  second(at) {
    const number = Math.floor(at / 1000);
    const last = this.seconds[this.seconds.length - 1];
    if (last && last.at >= number) return last;
    const second = { at: number, counts: {}, waiting: 0, running: 0, slots: 0 };
    this.seconds.push(second);
    if (this.seconds.length > MOST_SECONDS) this.seconds.shift();
    return second;
  }
}

/** What each of PHASES took. */
export const phasesOf = ({ queued }, done) =>
  [queued.scan_ms, done.queue_ms, done.send_ms, done.fetch_ms, done.wall_ms, done.return_ms];

/** queued, sending, leased (its node fetches what it lacks), running, or how it ended. */
export function phaseOf(job) {
  if (job.ending) return job.ending;
  const live = job.runs.filter((run) => !run.ending);
  if (live.some((run) => run.startedMs)) return "running";
  if (live.length) return "leased";
  return job.sending ? "sending" : "queued";
}
