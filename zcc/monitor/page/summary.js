// What can be said of the farm in a line or a number. Pure.

import { bytes, count, duration, personOf, plural } from "./format.js";
import { phaseOf } from "./state.js";

/** Counts by tier of the seconds after fromMs. */
export function tiers(state, fromMs) {
  const sum = { here: 0, farm: 0, twin: 0, compiled: 0, local: 0, savedMs: 0, cpuMs: 0, failed: 0 };
  for (let i = state.seconds.length - 1; i >= 0; i--) {
    const { at, counts } = state.seconds[i];
    if (at * 1000 < fromMs) break;
    addTiers(sum, counts);
  }
  return sum;
}

export function addTiers(sum, counts) {
  sum.here += counts["local-hit"] ?? 0;
  sum.farm += counts.hit ?? 0;
  sum.twin += counts.twin ?? 0;
  sum.compiled += (counts.ok ?? 0) + (counts.failed ?? 0) + (counts.unproven ?? 0);
  sum.failed = (sum.failed ?? 0) + (counts.failed ?? 0);
  sum.local += counts.local ?? 0;
  sum.savedMs = (sum.savedMs ?? 0) + (counts.saved_ms ?? 0);
  sum.cpuMs = (sum.cpuMs ?? 0) + (counts.cpu_ms ?? 0);
  return sum;
}

export const allOf = ({ here, farm, twin, compiled, local }) => here + farm + twin + compiled + local;

/** A value of each second of the last `many`, 0 where nothing was said. */
export function perSecond(state, nowMs, many, value) {
  const end = Math.floor(nowMs / 1000);
  const values = new Array(many).fill(0);
  for (let i = state.seconds.length - 1; i >= 0; i--) {
    const place = many - 1 - (end - state.seconds[i].at);
    if (place < 0) break;
    if (place < many) values[place] = value(state.seconds[i]);
  }
  return values;
}

/** The mean of the neighbours, so that a line can be read. */
export function smoothed(values, reach = 2) {
  return values.map((_, i) => {
    const near = values.slice(Math.max(0, i - reach), i + reach + 1);
    return near.reduce((sum, each) => sum + each, 0) / near.length;
  });
}

const GIVEN_NOTHING = new Set(["quarantined", "paused", "draining", "resting"]);

/** Slots of a node that jobs may come to. */
export const lentBy = (shown) => (GIVEN_NOTHING.has(shown.state) ? 0 : shown.slots);

export function slotsOf(state) {
  let [lent, all, used] = [0, 0, 0];
  for (const node of state.nodes.values()) {
    lent += lentBy(node.shown);
    all += node.shown.all_slots;
    used += node.slots.reduce((sum, run) => sum + (run ? 1 : 0), 0);
  }
  return { lent, all, used };
}

/** Who has jobs: [{name, running, waiting, builds}], the busiest first. */
export function people(state) {
  const found = new Map();
  for (const job of state.jobs.values()) {
    const phase = phaseOf(job);
    for (const { member, build } of job.requests) {
      const name = member?.name ?? "";
      let row = found.get(name);
      if (!row) found.set(name, (row = { name, running: 0, waiting: 0, builds: new Set() }));
      if (phase === "running" || phase === "leased") row.running++;
      else row.waiting++;
      if (build) row.builds.add(build.name);
    }
  }
  return [...found.values()].sort((a, b) => b.running + b.waiting - a.running - a.waiting);
}

const MEMORY_PRESSURE = 10;
const SLOW = 0.5;
const LONG_WAIT_MS = 60_000;
const [LEAST_BEATEN, MOST_BEATEN] = [3, 6];
const DONE = new Set(["ok", "failed", "unproven"]);

/** What is wrong, the worst first: [{level: "bad" | "warn" | "note", text}]. */
export function troubles(state, nowMs) {
  const found = [];
  const say = (level, text) => found.push({ level, text });
  const nodes = [...state.nodes.values()].map((node) => node.shown);
  if (!nodes.length) say("bad", "No node is connected: every compile runs on the machine that asks for it.");
  else if (!nodes.some(lentBy)) say("bad", "No node lends a slot at present.");
  for (const node of nodes) {
    const because = node.reason ? `: ${node.reason}` : "";
    if (node.state === "quarantined") {
      say("bad", `${node.name} is in quarantine${because}. Its ${plural(node.all_slots, "slot")} are missing.`);
    } else if (node.pressure >= MEMORY_PRESSURE) {
      say("warn", `${node.name} is short of memory: its processes waited for some ${Math.round(node.pressure)}% of the time.`);
    } else if (node.state === "limited" || node.state === "resting" || node.state === "paused") {
      say("note", `${node.name} lends ${count(node.slots)} of ${plural(node.all_slots, "slot")}${because}.`);
    }
    if (node.speed > 0 && node.speed < SLOW && lentBy(node)) {
      say("warn", `${node.name} is slow: ${node.speed.toFixed(2)} times the speed of the farm's average slot. A long job there holds up a build's end.`);
    }
  }
  for (const row of state.queue?.rows ?? []) {
    const who = personOf(state.members.get(row[0])?.name ?? "somebody");
    const jobs = row[2] + row[3] + row[4] + row[5];
    if (row[7] === "no-node-fits") say("bad", `No node may run ${plural(jobs, "job")} of ${who}.`);
    else if (row[6] > LONG_WAIT_MS) say("warn", `A job of ${who} has waited for ${duration(row[6])}.`);
  }
  const lost = new Map();
  for (let i = state.lines.length - 1; i >= 0; i--) {
    const [at, event, context] = state.lines[i];
    if (at < nowMs - 300_000) break;
    if (event.event === "unleased" && event.is_fault && context) {
      const name = context.node.shown.name;
      lost.set(name, [(lost.get(name)?.[0] ?? 0) + 1, event.why]);
    } else if (event.event === "node-left" && event.reason !== "bye") {
      say("warn", `${context || "A node"} is gone: ${event.reason}.`);
    }
  }
  for (const [name, [times, why]] of lost) {
    say("warn", `${name} failed at ${plural(times, "job")} in the last five minutes, the last time for: ${why}.`);
  }
  for (const [name, [beaten, all]] of beatenOf(state, nowMs)) {
    if (beaten >= LEAST_BEATEN && beaten * 2 > all) {
      say("warn", `${name} lost ${count(beaten)} of its last ${plural(all, "job")} to second copies: it is slow or stuck.`);
    }
  }
  const order = { bad: 0, warn: 1, note: 2 };
  return found.sort((a, b) => order[a.level] - order[b.level]);
}

/** By node: how many of its last jobs a copy elsewhere has ended sooner, and how many they are. */
function beatenOf(state, nowMs) {
  const found = new Map();
  for (let i = state.runs.length - 1; i >= 0 && state.runs[i].endedMs > nowMs - 300_000; i--) {
    const { node, leased, ending: how } = state.runs[i];
    if (leased.is_copy || (how !== "beaten" && !DONE.has(how))) continue;
    const sum = found.get(node.shown.name) ?? [0, 0];
    if (sum[1] < MOST_BEATEN) found.set(node.shown.name, [sum[0] + (how === "beaten"), sum[1] + 1]);
  }
  return found;
}

/** The page's first line. */
export function headline(state, nowMs) {
  const { lent, used } = slotsOf(state);
  const waiting = state.pulse?.waiting ?? 0;
  if (used) {
    const full = used >= lent * 0.95;
    const queue = waiting ? `, and ${plural(waiting, "job")} wait${waiting === 1 ? "s" : ""}` : "";
    return `${full ? "All hands busy" : "Working"}: ${count(used)} of ${plural(lent, "slot")} compile${queue}.`;
  }
  if (waiting) return `Nothing compiles, and ${plural(waiting, "job")} wait${waiting === 1 ? "s" : ""}.`;
  const last = lastBuild(state);
  if (!last) return "Nobody compiles now.";
  const who = personOf(last.member?.name ?? "");
  return `Nobody compiles now. The last build was ${last.name}${who ? ` of ${who}` : ""}, ${duration(Math.max(0, nowMs - last.lastMs))} ago.`;
}

export function lastBuild(state) {
  let last = null;
  for (const build of state.knownBuilds.values()) if (!last || build.lastMs > last.lastMs) last = build;
  return last;
}

/** What happened, the latest last: {at, level, text}. Runs that gave no result by nobody's fault are one line
 *  for each build and cause. */
export function happenings(state, words) {
  const lines = [];
  const sums = new Map();
  for (const line of state.lines) {
    const [at, event, run] = line;
    if (event.event !== "unleased" || event.is_fault) {
      lines.push(told(line, words));
      continue;
    }
    const key = `${event.why}/${run?.build?.id ?? ""}`;
    const sum = sums.get(key) ?? { times: 0 };
    sums.set(key, { times: sum.times + 1, at, event, run });
  }
  for (const { times, at, event, run } of sums.values()) {
    const which = `${run?.job.file || `job ${event.job}`}${run ? ` on ${run.node.shown.name}` : ""}`;
    const of = run?.build ? ` of ${run.build.name}` : "";
    const what = times === 1 ? `${which} gave no result` : `${count(times)} runs${of} gave no result, the last ${which}`;
    lines.push({ at, level: "note", text: `${what}: ${ending(event, words)}.` });
  }
  return lines.sort((a, b) => a.at - b.at);
}

const ending = (event, words) => words.ended?.[event.why]?.what ?? event.why;

function told([at, event, context], words) {
  const of = (level, text) => ({ at, level, text });
  switch (event.event) {
    case "node-left":
      return of(event.reason === "bye" ? "note" : "warn", `Node ${context || "?"} left: ${event.reason}.`);
    case "quarantine":
      return of("bad", `Node ${event.name} is in quarantine for ${duration(event.for_ms)}${event.member ? `, for jobs of ${personOf(context)} alone` : ""}.`);
    case "unleased": {
      const where = context ? ` on ${context.node.shown.name}` : "";
      const what = context?.job.file || `job ${event.job}`;
      return of("warn", `${what} did not end${where}: ${ending(event, words)}${event.detail ? ` (${event.detail})` : ""}.`);
    }
    case "refused":
      return of("note", `${event.file || `A job of ${personOf(context)}`} was not taken: ${event.reason}${event.detail ? ` (${event.detail})` : ""}.`);
    case "joined":
      return of("note", `${event.name} joined as ${event.role}.`);
    default:
      return of("warn", `${event.name || event.id} was turned away: ${event.reason}.`);
  }
}

export const memoryText = (shown) =>
  shown.memory_limit_bytes
    ? `${bytes(shown.memory_reserved_bytes)} of ${bytes(shown.memory_usable_bytes)}`
    : "not known";
