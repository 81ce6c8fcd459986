// A build's page from its document (zcc/monitor/analysis.py). `zcc report` puts the same into a file.

import { h } from "./dom.js";
import { bar, bars, card, dot, empty, facts, legend, person, reason, table, tierCounts, tierParts } from "./parts.js";
import { fitted, stripes, write } from "./chart.js";
import { firstFrom, lanesOf, niceTop, ticks, timeTicks } from "./layout.js";
import { PHASE_COLOURS, TIER_COLOURS, inkOn, theme } from "./palette.js";
import { baseName, bytes, clock, count, duration, moment, plural, share, sum } from "./format.js";

const CORES_TALL = 84;
const MOST_LANES = 400;

export function buildPage(doc, about) {
  const tiers = tierCounts(doc);
  const hits = doc.hits_here + doc.hits_farm + doc.twins;
  return [
    h("div", { class: "lead", key: "lead" },
      h("p", null, person(doc.user, about.colours, { full: true }), ` on ${doc.host}, ${moment(doc.began_ms, about.now)}`,
        doc.is_over ? "" : doc.running + doc.waiting ? `: ${count(doc.running)} run, ${count(doc.waiting)} wait` : "",
        about.report ? h("a", { class: "aside", href: about.report }, "Save as a file") : null),
      h("ul", { class: "troubles" }, findings(doc).map(({ level, text }) => h("li", { class: level }, text)))),
    facts([
      ["took", duration(doc.took_ms), doc.before ? change(doc.took_ms, doc.before.took_ms) : null],
      ["compiles", count(doc.compiles), `${count(doc.compiled)} on the farm, ${count(doc.local)} locally`],
      ["from a cache", share(doc.hit_rate), `${count(hits)}: ${count(doc.hits_here)} here, ${count(doc.hits_farm)} farm, ${count(doc.twins)} twins`],
      ["CPU on nodes", duration(doc.cpu_ms), doc.took_ms ? `${(doc.cpu_ms / doc.took_ms).toFixed(1)} cores on average` : null],
      ["CPU spared", duration(doc.saved_ms), "by what was in a cache"],
      ["failed", count(doc.failed), doc.refused ? `${plural(doc.refused, "job")} not taken` : null],
    ]),
    card("Over time", "above how many compiled at once, below each job in the colour of its node",
      doc.runs.some((run) => run.started_ms) ? waterfall(doc, about) : empty("Nothing of it ran on the farm."),
      doc.runs_left_out ? h("p", { class: "soft" }, `${plural(doc.runs_left_out, "shorter job")} not drawn`) : null,
      legend(doc.nodes.slice(0, 12).map((row) => ({ label: row.node, colour: about.nodeColours.of(row.node), value: count(row.jobs) })))),
    h("div", { class: "two", key: "who" },
      card("Who answered", null, bar(tierParts(tiers, TIER_COLOURS), { height: 14 }),
        legend(tierParts(tiers, TIER_COLOURS).map((each) => ({ ...each, value: count(each.value) })))),
      card("Where a job's time went", null, bar(Object.entries(doc.phases).map(([name, ms]) => ({ label: `${name}, ms`, value: ms, colour: PHASE_COLOURS[name] })), { height: 14 }),
        legend(Object.entries(doc.phases).map(([name, ms]) => ({ label: name, colour: PHASE_COLOURS[name], value: duration(ms) }))))),
    h("div", { class: "two", key: "files" },
      card("Slowest files", "compiler's time", runTable(doc.slowest, about, "wall_ms", duration)),
      card("Largest memory", "the most at a time", runTable(doc.largest, about, "peak_bytes", bytes))),
    h("div", { class: "two", key: "local" },
      card("Why local", doc.local ? plural(doc.local, "compile") : null, doc.local ? localReasons(doc, about) : empty("Nothing was compiled locally.")),
      card("Why not in this machine's cache", null, doc.missed.length
        ? bars(doc.missed.map(([word, value]) => ({ label: word, text: sentence(about, "missed", word), value, colour: "#7f8fb2" })))
        : empty("Nothing was missed."))),
    h("div", { class: "two", key: "compare" },
      card("Nodes", "time over what was expected of an average slot", doc.nodes.length ? nodeTable(doc, about) : empty("No node had a job of it.")),
      card("The build before", doc.before ? doc.before.name : null, doc.before ? comparison(doc, about) : empty("This is the first one of its kind that is known here."))),
    doc.failures.length ? card("Failed", "the compiler said no, or no agent would take it", runTable(doc.failures, about, "status", (value) => `status ${value}`)) : null,
    doc.lost.length ? card("Had to be done again", null, h("ul", { class: "plain" }, doc.lost.slice(0, 30).map((run) =>
      h("li", null, h("b", null, run.file || "a file"), ": ", run.losses.join("; "))))) : null,
  ];
}

/** What stands out, in sentences. */
export function findings(doc) {
  const found = [];
  const say = (level, text) => found.push({ level, text });
  if (doc.tail) {
    const { told, last } = doc.tail;
    say("warn", told.join(" ") + (last.losses.length ? ` Before that: ${last.losses.join("; ")}.` : ""));
  }
  // Against each other: expected costs may be guesses.
  const [best, ...others] = doc.nodes.filter((row) => row.per_cost && row.jobs > 2).sort((a, b) => a.per_cost - b.per_cost);
  const slow = others.filter((row) => row.per_cost > 1.8 * best.per_cost);
  if (slow.length) say("warn", `Slow for this build: ${slow.slice(-3).map((row) => `${row.node} took ${(row.per_cost / best.per_cost).toFixed(1)} times as long as ${best.node}`).join(", ")}.`);
  if (doc.failed) say("bad", `${plural(doc.failed, "compile")} failed.`);
  const waited = doc.phases.queue / Math.max(1, sum(Object.values(doc.phases)));
  if (waited > 0.3) say("note", `${share(waited)} of its jobs' time was waiting for a slot: the farm was full, or too small for it.`);
  if (doc.local > doc.compiled && doc.local > 10) say("note", `More was compiled locally (${count(doc.local)}) than on the farm.`);
  if (!found.length) say("good", doc.is_over ? "Nothing stands out." : "Nothing stands out so far.");
  return found;
}

const sentence = (about, kind, word) => about.words[kind]?.[word]?.what ?? word;

function change(now, before) {
  if (!before) return null;
  const part = now / before - 1;
  return Math.abs(part) < 0.03 ? "as the one before" : `${Math.round(Math.abs(part) * 100)}% ${part < 0 ? "shorter" : "longer"} than the one before`;
}

function runTable(rows, about, name, show) {
  const shown = rows.filter((run) => about.filter(run.file, run.node));
  if (!shown.length) return empty("None.");
  return table([
    { name: "file", wide: true, show: (run) => run.file || "–" },
    { name: "node", show: (run) => run.node },
    { name: "waited", number: true, show: (run) => duration(run.phases[1]) },
    { name: name === "wall_ms" ? "took" : name === "peak_bytes" ? "memory" : "result", number: true, show: (run) => show(run[name]) },
    { name: "expected", number: true, show: (run) => (name === "peak_bytes" ? bytes(run.memory_bytes) : duration(run.expected_ms)) },
  ], shown, { key: (run) => `${run.key}${run.queued_ms}`, label: "Files" });
}

function localReasons(doc, about) {
  const files = doc.local_files.filter((row) => about.filter(row.file, row.reason));
  return h("div", null, doc.local_reasons.map(([word, times]) => reason(about.words, word, times,
    h("ul", { class: "plain" }, files.filter((row) => row.reason === word).slice(0, 5).map((row) =>
      h("li", null, row.file, h("small", null, ` ${duration(row.ms)}`)))))));
}

function nodeTable(doc, about) {
  return table([
    { name: "node", show: (row) => h("span", null, dot(about.nodeColours.of(row.node)), row.node) },
    { name: "jobs", number: true, show: (row) => count(row.jobs) },
    { name: "CPU", number: true, show: (row) => duration(row.cpu_ms) },
    { name: "time", number: true, show: (row) => h("span", { class: row.per_cost > 1.8 ? "warn" : null }, row.per_cost === null ? "–" : `${row.per_cost.toFixed(2)}×`) },
  ], doc.nodes.slice(0, 20), { key: (row) => row.node, label: "Nodes of this build" });
}

function comparison(doc, about) {
  const { before } = doc;
  const rows = [
    ["took", duration, "took_ms"], ["compiles", count, "compiles"], ["from a cache", share, "hit_rate"], ["compiled on the farm", count, "compiled"],
    ["compiled locally", count, "local"], ["CPU on nodes", duration, "cpu_ms"], ["failed", count, "failed"],
  ];
  return [table([
    { name: "", show: ([name]) => name },
    { name: "this", number: true, show: ([, show, key]) => show(doc[key]) },
    { name: "before", number: true, show: ([, show, key]) => show(before[key]) },
  ], rows, { key: ([name]) => name, label: "Against the build before" }),
  about.link ? h("p", null, h("a", { href: about.link(before.id) }, `Open ${before.name}`)) : null];
}

// ---- the picture ----

function spansOf(doc) {
  const runs = doc.runs.filter((run) => run.started_ms);
  const lanes = lanesOf(runs.map((run) => [run.leased_ms, run.ended_ms || doc.end_ms]));
  return runs.map((run, i) => ({ run, lane: lanes[i] })).filter((each) => each.lane < MOST_LANES);
}

function waterfall(doc, about) {
  const spans = spansOf(doc);
  const lanes = 1 + Math.max(0, ...spans.map((each) => each.lane));
  const row = Math.max(3, Math.min(16, Math.floor(440 / lanes)));
  const look = { spans, row, doc };
  return h("canvas", {
    class: "waterfall", own: true, role: "img", css: { height: `${CORES_TALL + 30 + lanes * row}px` },
    "aria-label": `${spans.length} jobs over ${duration(doc.end_ms - doc.began_ms)}. ${findings(doc).map((each) => each.text).join(" ")}`,
    draw: (canvas) => {
      canvas.look = look; // a handler that was set with an older document sees the present one
      drawWaterfall(canvas, look, about);
    },
    onpointermove: (event) => {
      const run = runAt(event.target, event);
      about.showTip?.(run ? tipOf(run, about) : null, event.clientX, event.clientY);
    },
    onpointerleave: () => about.showTip?.(null),
  });
}

function scaleOf(canvas, doc) {
  const left = 34;
  const wide = canvas.clientWidth - left - 6;
  const whole = Math.max(1, doc.end_ms - doc.began_ms);
  return { left, x: (at) => left + (wide * (at - doc.began_ms)) / whole, ms: (x) => doc.began_ms + ((x - left) / wide) * whole };
}

function drawWaterfall(canvas, { spans, row, doc }, about) {
  const { pen, width, height } = fitted(canvas);
  if (width < 60) return;
  const paint = theme(canvas);
  const { left, x } = scaleOf(canvas, doc);
  drawTail(pen, paint, doc, x, height);
  drawCores(pen, paint, doc, { left, x, width });
  for (const at of timeTicks(0, doc.end_ms - doc.began_ms, width / 90)) {
    const place = x(doc.began_ms + at);
    pen.fillStyle = paint.line;
    pen.fillRect(Math.round(place), 4, 1, height - 4);
    if (place > left + 14 && place < width - 20) write(pen, paint, sinceText(at), place, CORES_TALL + 20, { align: "center", base: "alphabetic" });
  }
  for (const { run, lane } of spans) {
    const y = CORES_TALL + 28 + lane * row;
    const [begin, end] = [x(run.started_ms), x(run.ended_ms || doc.end_ms)];
    pen.globalAlpha = about.filter(run.file, run.node) ? 1 : 0.12;
    pen.fillStyle = paint.soft;
    if (begin - x(run.leased_ms) > 1) pen.fillRect(x(run.leased_ms), y + row / 2 - 0.5, begin - x(run.leased_ms), 1);
    const colour = about.nodeColours.of(run.node);
    pen.fillStyle = run.outcome === "ok" || run.outcome === "running" ? colour : stripes(pen, colour, paint.ink);
    const wide = Math.max(0.7, end - begin - 0.5);
    pen.fillRect(begin, y, wide, Math.max(1, row - 1));
    if (wide > 30 && row >= 10) {
      write(pen, paint, baseName(run.file), begin + 3, y + row / 2, { within: wide - 6, size: Math.min(11, row - 2), ink: inkOn(colour) });
    }
    pen.globalAlpha = 1;
  }
}

const sinceText = (ms) => (ms < 60_000 ? `${ms / 1000} s` : `${Math.floor(ms / 60_000)}:${String((ms / 1000) % 60).padStart(2, "0")}`);

function drawTail(pen, paint, doc, x, height) {
  if (!doc.tail) return;
  const begin = x(doc.tail.last.ended_ms - doc.tail.ms);
  const end = x(doc.tail.last.ended_ms);
  pen.fillStyle = paint.warn;
  pen.globalAlpha = 0.13;
  pen.fillRect(begin, 0, end - begin, height);
  pen.globalAlpha = 1;
  const isRight = end - begin < 90;
  write(pen, paint, `tail, ${duration(doc.tail.ms)}`, isRight ? begin - 5 : begin + 6, CORES_TALL - 12,
    { size: 12, weight: 600, ink: paint.warn, align: isRight ? "right" : "left", base: "bottom" });
}

function drawCores(pen, paint, doc, { left, x, width }) {
  const { means, step_ms: step } = doc.cores;
  const high = niceTop(Math.max(...means, 1));
  const y = (value) => CORES_TALL - (CORES_TALL - 10) * (value / high);
  for (const value of ticks(0, high, 2)) {
    pen.fillStyle = paint.line;
    pen.fillRect(left, Math.round(y(value)), width - left, 1);
    write(pen, paint, count(value), left - 6, y(value), { align: "right" });
  }
  pen.beginPath();
  pen.moveTo(x(doc.began_ms), y(0));
  means.forEach((value, i) => {
    pen.lineTo(x(doc.began_ms + i * step), y(value));
    pen.lineTo(Math.min(width - 6, x(doc.began_ms + (i + 1) * step)), y(value));
  });
  pen.lineTo(Math.min(width - 6, x(doc.began_ms + means.length * step)), y(0));
  pen.closePath();
  pen.fillStyle = paint.accent;
  pen.globalAlpha = 0.35;
  pen.fill();
  pen.globalAlpha = 1;
  pen.strokeStyle = paint.accent;
  pen.lineWidth = 1.2;
  pen.stroke();
}

function runAt(canvas, event) {
  const { spans, row, doc } = canvas.look;
  const box = canvas.getBoundingClientRect();
  const at = scaleOf(canvas, doc).ms(event.clientX - box.left);
  const lane = Math.floor((event.clientY - box.top - CORES_TALL - 28) / row);
  const inLane = spans.filter((each) => each.lane === lane).map((each) => each.run);
  const run = inLane[firstFrom(inLane, at, (each) => each.ended_ms || Infinity)];
  return run && run.leased_ms <= at ? run : undefined;
}

function tipOf(run, about) {
  return [
    run.file || "a file that is not told",
    `${run.node}, ${clock(run.started_ms)}: ${run.outcome}, ${duration(run.wall_ms || about.now - run.started_ms)}; expected ${duration(run.expected_ms)}`,
    `scan ${duration(run.phases[0])}, queue ${duration(run.phases[1])}, send ${duration(run.phases[2])}, fetch ${duration(run.phases[3])}, return ${duration(run.phases[5])}`,
    run.peak_bytes ? `CPU ${duration(run.cpu_ms)}, memory ${bytes(run.peak_bytes)}` : null,
    `Why there: ${sentence(about, "placed", run.reason)}.`,
    `A second of work takes ${run.rate.toFixed(2)} s there, ${run.fastest.toFixed(2)} s on the fastest.`,
    ...run.losses.map((each) => `Before: ${each}`),
  ].filter(Boolean);
}
