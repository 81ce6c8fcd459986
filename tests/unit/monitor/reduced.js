import { readFileSync } from "node:fs";
import { FarmState, phaseOf } from "./state.js";
const { fields, rows } = JSON.parse(readFileSync(0, "utf8"));
const state = new FarmState(fields);
state.applyRows(rows);
const nodes = {};
for (const node of state.nodes.values()) nodes[node.label] = {
  state: node.shown.state, slots: node.slots.map((run) => run?.job.number ?? null), runs: [...node.runs.keys()].sort((a, b) => a - b),
};
const builds = {};
for (const build of state.knownBuilds.values()) builds[build.id] = {
  name: build.name, began: build.beganMs, last: build.lastMs, counts: build.counts, local: build.local, missed: build.missed,
  live: [...build.live.keys()].sort((a, b) => a - b), past: build.past, cpu: build.cpuMs, saved: build.savedMs,
  isOver: state.isOver(build),
};
const jobs = {};
for (const job of state.jobs.values()) jobs[job.number] = [phaseOf(job), job.file, job.sending, job.missing, job.requests.length];
console.log(JSON.stringify({
  now: state.nowMs, farm: state.farm.farm, members: state.members.size, toolchains: state.toolchains.size, nodes, builds, jobs,
  shipping: [...state.shipping.values()].map((each) => [each.node, each.toolchain, each.done_bytes]),
  queue: state.queue?.rows.length ?? null, pulse: state.pulse?.running ?? null, totals: state.totals, lines: state.lines.length,
  seconds: state.seconds.map((each) => [each.at, each.waiting, each.running, each.slots, each.counts]),
  runs: state.runs.slice(-500).map((run) => [run.leased.lease, run.slot, run.ending, run.isFault, run.leasedMs, run.startedMs, run.endedMs]),
}));
