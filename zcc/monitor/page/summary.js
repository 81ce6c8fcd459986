// What can be said of the farm in a line or a number. Pure.

import { bytes, count, duration, personOf, plural, waits } from "./format.js";
import { phaseOf } from "./state.js";

// How a compile was answered, and what else is counted, by the words of events.
const TIERS = {
  here: ["local-hit"], farm: ["hit"], twin: ["twin"], compiled: ["ok", "failed", "unproven"], local: ["local"],
  savedMs: ["saved_ms"], cpuMs: ["cpu_ms"],
};

export function addTiers(sum, counts) {
  for (const name in TIERS) for (const word of TIERS[name]) sum[name] = (sum[name] ?? 0) + (counts[word] ?? 0);
  return sum;
}

/** Counts by tier of the seconds after fromMs. */
export function tiers(state, fromMs) {
  const sum = addTiers({}, {});
  for (let i = state.seconds.length - 1; i >= 0; i--) {
    const { at, counts } = state.seconds[i];
    if (at * 1000 < fromMs) break;
    addTiers(sum, counts);
  }
  return sum;
}

export const allOf = ({ here, farm, twin, compiled, local }) => here + farm + twin + compiled + local;

export const hitShare = (sums) => (allOf(sums) ? (sums.here + sums.farm + sums.twin) / allOf(sums) : null);

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

/** Slots of a node in which a compiler runs. */
export const usedOf = (node) => node.slots.reduce((sum, run) => sum + (run ? 1 : 0), 0);

export const nodesByName = (state) => [...state.nodes.values()].sort((a, b) => a.label.localeCompare(b.label));

export function slotsOf(state) {
  let [lent, all, used] = [0, 0, 0];
  for (const node of state.nodes.values()) {
    lent += lentBy(node.shown);
    all += node.shown.all_slots;
    used += usedOf(node);
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

/** The page's first line. */
export function headline(state, nowMs) {
  const { lent, used } = slotsOf(state);
  const waiting = state.pulse?.waiting ?? 0;
  if (used) {
    const full = used >= lent * 0.95;
    const queue = waiting ? `, and ${waits(waiting)}` : "";
    return `${full ? "All hands busy" : "Working"}: ${count(used)} of ${plural(lent, "slot")} compile${queue}.`;
  }
  if (waiting) return `Nothing compiles, and ${waits(waiting)}.`;
  const last = lastBuild(state);
  if (!last) return "Nobody compiles now.";
  const who = personOf(last.member?.name ?? "");
  return `Nobody compiles now. The last build was ${last.name}${who ? ` of ${who}` : ""}, ${duration(Math.max(0, nowMs - last.lastMs))} ago.`;
}

function lastBuild(state) {
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
    const which = `${run?.job.file || `job ${event.job}`}${run ? ` on ${run.node.label}` : ""}`;
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
      const where = context ? ` on ${context.node.label}` : "";
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
