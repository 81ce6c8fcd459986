// Queue: who waits, in which order, and for what?

import { h } from "./dom.js";
import { bar, buildLink, card, empty, legend, person, table } from "./parts.js";
import { bytes, count, duration, plural, waits } from "./format.js";
import { phaseOf } from "./state.js";

const MOST_JOBS = 100;
const KINDS = [
  [2, "its turn has not come", "#7f8fb2"], [3, "inputs are on their way", "#d9b23c"], [4, "its compiler is on its way", "#e8794a"],
  [5, "ready for a slot", "#4c8dd6"],
];

export function queueView(app) {
  return {
    render(now) {
      const { state } = app;
      const rows = (state.queue?.rows ?? []).map((row, place) => ({
        row, place: place + 1, member: state.members.get(row[0])?.name ?? "", build: state.builds.get(row[1]),
        jobs: row[2] + row[3] + row[4] + row[5],
      })).filter(({ member, build }) => app.matches(member, build?.name));
      const waiting = state.pulse?.waiting ?? 0;
      const jobs = [...state.jobs.values()].filter((job) => ["queued", "sending"].includes(phaseOf(job)))
        .filter((job) => app.matches(job.file, job.requests[0]?.member?.name, job.requests[0]?.build?.name));
      return [
        h("p", { class: "lead", key: "lead" }, waiting ? leadOf(rows, waiting) : "Nobody waits. A job that comes now begins at once."),
        card("In order of service", null, rows.length ? [table([
          { name: "#", number: true, show: (each) => each.place },
          { name: "user", show: (each) => person(each.member, app.colours) },
          { name: "build", show: (each) => (each.build ? buildLink(each.build) : "–") },
          { name: "jobs", number: true, show: (each) => count(each.jobs) },
          { name: "what they wait for", wide: true, show: (each) => bar(KINDS.map(([place, label, colour]) => ({ label, value: each.row[place], colour })), { total: Math.max(...rows.map((other) => other.jobs)) }) },
          { name: "the next one waits", wide: true, show: (each) => [app.words.waits?.[each.row[7]]?.what ?? each.row[7], h("small", null, ` ${each.row[7]}`)] },
          { name: "oldest", number: true, show: (each) => duration(each.row[6]) },
        ], rows, { key: (each) => `${each.row[0]}/${each.row[1]}`, label: "Builds that wait" }),
        legend(KINDS.map(([, label, colour]) => ({ label, colour }))),
        state.queue.others ? h("p", { class: "soft" }, `and ${plural(state.queue.others, "job")} of builds beyond these`) : null]
          : empty("No build waits.")),
        card("Compilers on their way", null, shipping(state)),
        card("Jobs", jobs.length ? `${plural(jobs.length, "waits", "wait")}, the oldest first` : null, jobs.length ? table([
          { name: "file", wide: true, show: (job) => job.file || "–" },
          { name: "user", show: (job) => person(job.requests[0]?.member?.name ?? "", app.colours) },
          { name: "waits for", show: (job) => (job.sending ? `${job.sending}${job.missing ? `: ${count(job.missing)} to come` : ""}` : "a slot") },
          { name: "needs", show: (job) => job.queued.needs || "any machine" },
          { name: "expected", number: true, show: (job) => [duration(job.queued.cost_ms), job.queued.is_known ? null : h("small", null, " guessed")] },
          { name: "memory", number: true, show: (job) => bytes(job.queued.memory_bytes) },
          { name: "for", number: true, show: (job) => duration(now - job.queuedMs) },
        ], jobs.slice(0, MOST_JOBS), { key: (job) => job.number, label: "Jobs that wait" }) : empty("No job waits.")),
      ];
    },
  };
}

function leadOf(rows, waiting) {
  const most = [...rows].sort((a, b) => b.jobs - a.jobs)[0];
  if (!most) return `${waits(waiting)}.`;
  const who = most.member || "somebody";
  const name = most.build ? `${most.build.name} of ${who}` : `A build of ${who}`;
  return `${waits(waiting)}. ${name} fills the queue with ${count(most.jobs)}.`;
}

function shipping(state) {
  const rows = [...state.shipping.values()];
  if (!rows.length) return empty("Every compiler is where it is needed.");
  return table([
    { name: "compiler", show: (row) => state.toolchains.get(row.toolchain)?.name || state.toolchains.get(row.toolchain)?.digest || "–" },
    { name: "to", show: (row) => state.nodes.get(row.node)?.label ?? "–" },
    { name: "progress", wide: true, show: (row) => bar([{ label: "MiB there", value: row.done_bytes / 2 ** 20, colour: "#2aa7a0" }], { total: row.total_bytes / 2 ** 20 }) },
    { name: "there", number: true, show: (row) => `${bytes(row.done_bytes)} of ${bytes(row.total_bytes)}` },
  ], rows, { key: (row) => `${row.node}/${row.toolchain}`, label: "Compilers on their way" });
}
