// Slots: what ran where, and when? A row for each slot, the last minutes sliding by.

import { h } from "./dom.js";
import { dot, empty, person, table } from "./parts.js";
import { fitted, stripes, write } from "./chart.js";
import { firstFrom, slotRows, timeTicks } from "./layout.js";
import { NOBODY, PHASE_COLOURS, initials, inkOn, theme } from "./palette.js";
import { baseName, bytes, clock, duration, share } from "./format.js";
import { lentBy, nodesByName, usedOf } from "./summary.js";

const LEAST_SPAN_MS = 5_000;
const MOST_SPAN_MS = 600_000;
const GAP = 5;
const AXIS = 22;
const LISTED = 200;
const ENDED = new Set(["ok", "failed", "unproven"]);
const MODES = ["user", "build", "outcome", "phase"];

export function slotsView(app) {
  const isNarrow = innerWidth < 700;
  const look = {
    mode: "user", isList: false, spanMs: isNarrow ? 30_000 : 60_000, endMs: null, top: 0, rowHeight: 0, canvas: null,
    labels: isNarrow ? 62 : 118, drag: null,
  };
  const view = {
    render: (now) => [
      controls(app, look),
      look.isList ? list(app, now) : h("canvas", {
        key: "gantt", class: "gantt", own: true, tabindex: 0, role: "img",
        "aria-label": "Slots over time. The list (key l) tells the same in words.",
        onwheel: (event) => wheel(app, look, event), onpointerdown: (event) => grab(look, event),
        onpointermove: (event) => move(app, look, event), onpointerup: () => (look.drag = null),
        onpointerleave: () => app.showTip(null),
        ondblclick: () => { look.endMs = null; app.soon(); },
        draw: (canvas) => (look.canvas = canvas),
      }),
    ],
    frame() {
      if (!look.isList && look.canvas?.isConnected) drawSlots(app, look, app.now());
    },
    key: (event) => keys(app, look, event),
    look,
  };
  return view;
}

function controls(app, look) {
  const zoom = (by) => () => { zoomTime(look, by); app.soon(); };
  return h("div", { class: "controls", key: "controls" },
    h("span", { class: "choice", role: "group", "aria-label": "Colour by" }, h("span", { class: "soft" }, "colour"),
      MODES.map((mode) => h("button", {
        "aria-pressed": String(look.mode === mode), onclick: () => { look.mode = mode; app.soon(); },
      }, mode))),
    h("span", { class: "choice" },
      h("button", { onclick: zoom(2), "aria-label": "Show more time" }, "−"),
      h("span", { class: "soft num" }, duration(look.spanMs)),
      h("button", { onclick: zoom(0.5), "aria-label": "Show less time" }, "+"),
      h("button", { onclick: () => { look.endMs = null; app.soon(); }, "aria-pressed": String(look.endMs === null) }, "now")),
    h("button", { "aria-pressed": String(look.isList), onclick: () => { look.isList = !look.isList; app.soon(); } }, "as a list"),
    legendOf(app, look));
}

function legendOf(app, look) {
  if (look.mode === "user") {
    const names = new Set();
    const { runs, nodes } = app.state;
    for (const node of nodes.values()) for (const run of node.slots) if (run?.member) names.add(run.member.name);
    for (let i = runs.length - 1; i >= 0 && runs[i].endedMs > (look.endMs ?? app.now()) - look.spanMs; i--) {
      if (runs[i].member) names.add(runs[i].member.name);
    }
    return h("span", { class: "inline" }, [...names].sort().slice(0, 8).map((name) => person(name, app.colours)));
  }
  const parts = look.mode === "phase" ? ["fetch", "compile", "return"].map((name) => [name, PHASE_COLOURS[name]])
    : look.mode === "outcome" ? OUTCOMES : [];
  return h("span", { class: "inline soft" }, parts.map(([name, colour]) =>
    h("span", null, dot(colour), name)));
}

const OUTCOMES = [["ok", "#2fa36b"], ["running", "#6cc5e8"], ["failed (stripes)", "#d9b23c"], ["lost (crossed)", "#e05d6f"]];

function nodesOf(app) {
  return nodesByName(app.state).map((node) => ({ node, slots: Math.max(node.shown.all_slots, node.lanes.length) }));
}

function drawSlots(app, look, now) {
  const { pen, width, height } = fitted(look.canvas);
  const paint = theme(look.canvas);
  const nodes = nodesOf(app);
  const slots = nodes.reduce((sum, each) => sum + each.slots, 0);
  const room = height - AXIS - 4;
  if (!look.rowHeight) look.auto = Math.max(4, Math.min(22, Math.floor((room - nodes.length * GAP) / Math.max(1, slots))));
  const row = look.rowHeight || look.auto;
  const shape = nodes.map((each) => `${each.node.number}:${each.slots}`).join();
  if (look.state !== app.state || look.row !== row || look.shape !== shape) {
    look.layout = slotRows(nodes, row, row < 6 ? 2 : GAP);
    [look.state, look.row, look.shape] = [app.state, row, shape];
  }
  const { rows } = look.layout;
  look.most = Math.max(0, look.layout.height - room);
  look.top = Math.max(0, Math.min(look.top, look.most));
  const end = look.endMs ?? now;
  const begin = end - look.spanMs;
  const x = (at) => look.labels + ((width - look.labels) * (at - begin)) / look.spanMs;
  look.geometry = { begin, end, width, row, now };
  axis(pen, paint, { begin, end, x, width, height });
  pen.save();
  pen.beginPath();
  pen.rect(0, AXIS, width, height - AXIS);
  pen.clip();
  let last = null;
  for (let i = firstFrom(rows, look.top - row, (each) => each.top); i < rows.length; i++) {
    const { node, slot, top } = rows[i];
    const y = AXIS + 3 + top - look.top;
    if (y > height) break;
    const isLent = slot < lentBy(node.shown);
    pen.fillStyle = isLent ? paint.faint : stripes(pen, paint.paper, paint.faint);
    pen.fillRect(look.labels, y, width - look.labels, Math.max(1, row - 1));
    drawLane(app, look, pen, paint, { lane: node.lanes[slot] ?? [], x, y, begin, end, width, now });
    if (node !== last) nodeLabel(pen, paint, look, node, Math.max(AXIS + 3, y), slotsIn(rows, i) * row);
    last = node;
  }
  if (!slots) {
    write(pen, paint, "No node is connected.", look.labels + 16, AXIS + 40, { size: 14 });
  }
  pen.restore();
  if (look.most > 0) scrollMark(pen, paint, look, width, room);
}

const slotsIn = (rows, from) => {
  let to = from;
  while (to < rows.length && rows[to].node === rows[from].node && to - from < 40) to++;
  return to - from;
};

function axis(pen, paint, { begin, end, x, width, height }) {
  for (const at of timeTicks(begin, end, width / 110)) {
    pen.fillStyle = paint.line;
    pen.fillRect(Math.round(x(at)), AXIS - 4, 1, height);
    if (x(at) < width - 24) write(pen, paint, clock(at), x(at), AXIS - 8, { align: "center", base: "alphabetic" });
  }
}

function drawLane(app, look, pen, paint, { lane, x, y, begin, end, width, now }) {
  const { row } = look.geometry;
  const tall = Math.max(1, row - 1);
  const first = firstFrom(lane, begin, (run) => run.endedMs || Infinity);
  for (let i = first; i < lane.length; i++) {
    const run = lane[i];
    if (run.leasedMs > end) break;
    const stop = run.endedMs || now;
    const left = Math.max(look.labels, x(run.startedMs));
    const right = Math.min(width, x(stop));
    const isHidden = !app.matches(run.job.file, run.member?.name, run.build?.name, run.node.label);
    pen.globalAlpha = isHidden ? 0.12 : 1;
    const before = i > 0 ? lane[i - 1].endedMs : 0;
    const fetch = Math.max(look.labels, x(Math.max(run.leasedMs, before)));
    if (left - fetch > 0.7 && run.startedMs > begin) {
      pen.fillStyle = look.mode === "phase" ? PHASE_COLOURS.fetch : paint.soft;
      pen.fillRect(fetch, y + tall / 2 - 0.5, left - fetch, Math.max(1, tall / 5));
    }
    const wide = Math.max(0.8, right - left - (row > 6 ? 0.6 : 0));
    if (right <= look.labels || wide <= 0) continue;
    fillRun(look, app, pen, paint, run, { left, y, wide, tall, x, stop });
    if (wide > 26 && tall >= 10 && !isHidden) runText(look, app, pen, paint, run, left, y, wide, tall);
  }
  pen.globalAlpha = 1;
}

function colourOf(look, app, run) {
  if (look.mode === "user") return run.member ? app.colours.of(run.member.name) : NOBODY;
  if (look.mode === "build") return run.build ? app.buildColours.of(run.build.id) : NOBODY;
  if (look.mode === "phase") return PHASE_COLOURS.compile;
  if (!run.ending) return "#6cc5e8";
  return run.ending === "ok" ? "#2fa36b" : ENDED.has(run.ending) ? "#d9b23c" : "#e05d6f";
}

function fillRun(look, app, pen, paint, run, { left, y, wide, tall, x, stop }) {
  const colour = colourOf(look, app, run);
  const isLost = run.ending && !ENDED.has(run.ending);
  const isFailed = run.ending === "failed" || run.ending === "unproven";
  if (isLost) pen.fillStyle = stripes(pen, colour, paint.bad, "cross");
  else if (isFailed) pen.fillStyle = stripes(pen, colour, paint.ink);
  else pen.fillStyle = colour;
  pen.fillRect(left, y, wide, tall);
  if (look.mode === "phase" && run.result && run.result.return_ms) {
    const back = Math.max(left, x(stop - run.result.return_ms));
    pen.fillStyle = PHASE_COLOURS.return;
    pen.fillRect(back, y, left + wide - back, tall);
  }
  if (!run.ending && tall > 5) {
    pen.fillStyle = paint.ink;
    pen.fillRect(left + wide - 1.5, y, 1.5, tall);
  }
}

function runText(look, app, pen, paint, run, left, y, wide, tall) {
  const whose = run.member ? `${initials(run.member.name)} ` : "";
  write(pen, paint, whose + (baseName(run.job.file) || "…"), left + 3, y + tall / 2 + 0.5, { within: wide - 6, size: Math.min(11, tall - 2), ink: inkOn(colourOf(look, app, run)) });
}

function nodeLabel(pen, paint, look, node, y, tall) {
  const put = (text, down, more) => write(pen, paint, text, 4, y + down, { base: "top", within: look.labels - 12, ...more });
  put(node.label, 0, { size: 12, weight: 600, ink: node.shown.state === "quarantined" ? paint.bad : paint.ink });
  if (tall > 28) put(`${usedOf(node)} of ${node.shown.slots}`, 15);
  if (tall > 46 && node.shown.state !== "ready") put(node.shown.state, 30);
}

function scrollMark(pen, paint, look, width, room) {
  const tall = Math.max(24, (room * room) / look.layout.height);
  pen.fillStyle = paint.soft;
  pen.globalAlpha = 0.5;
  pen.fillRect(width - 5, AXIS + ((room - tall) * look.top) / look.most, 4, tall);
  pen.globalAlpha = 1;
}

// ---- by hand ----

function zoomTime(look, by, aroundMs = null) {
  const span = Math.max(LEAST_SPAN_MS, Math.min(MOST_SPAN_MS, look.spanMs * by));
  if (aroundMs !== null && look.endMs !== null) look.endMs = aroundMs + ((look.endMs - aroundMs) * span) / look.spanMs;
  look.spanMs = span;
}

function wheel(app, look, event) {
  event.preventDefault();
  if (event.ctrlKey || event.shiftKey) {
    zoomTime(look, event.deltaY + event.deltaX > 0 ? 1.25 : 0.8, at(look, event).ms);
  } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    shift(app, look, (event.deltaX / Math.max(1, look.canvas.clientWidth)) * look.spanMs);
  } else {
    look.top += event.deltaY;
  }
  app.soon();
}

function shift(app, look, ms) {
  const now = app.now();
  const end = (look.endMs ?? now) + ms;
  look.endMs = end >= now ? null : end;
}

function grab(look, event) {
  look.canvas.setPointerCapture(event.pointerId);
  look.drag = { x: event.clientX, y: event.clientY };
}

function move(app, look, event) {
  if (look.drag) {
    const { width } = look.geometry;
    shift(app, look, (-(event.clientX - look.drag.x) / (width - look.labels)) * look.spanMs);
    look.top -= event.clientY - look.drag.y;
    look.drag = { x: event.clientX, y: event.clientY };
    app.soon();
    return;
  }
  const { run } = at(look, event);
  app.showTip(run ? runTip(app, run) : null, event.clientX, event.clientY);
}

function at(look, event) {
  const box = look.canvas.getBoundingClientRect();
  const { begin, width, row } = look.geometry;
  const ms = begin + ((event.clientX - box.left - look.labels) / (width - look.labels)) * look.spanMs;
  const y = event.clientY - box.top - AXIS - 3 + look.top;
  const rows = look.layout.rows;
  const place = rows[firstFrom(rows, y - row, (each) => each.top)];
  if (!place || event.clientY - box.top < AXIS || y < place.top || y > place.top + row) return { ms };
  const lane = place.node.lanes[place.slot] ?? [];
  const slack = (look.spanMs / width) * 2;
  const run = lane[firstFrom(lane, ms - slack, (each) => each.endedMs || Infinity)];
  return { ms, run: run && run.startedMs <= ms + slack ? run : undefined };
}

function runTip(app, run) {
  const { leased, job, result } = run;
  const placed = app.words.placed?.[leased.reason]?.what ?? leased.reason;
  const took = (run.endedMs || app.now()) - run.startedMs;
  return [
    job.file || "a file that is not told",
    `${run.member?.name ?? "somebody"} · ${run.build?.name ?? "no build"}`,
    `${run.node.label}, slot ${run.slot + 1}, from ${clock(run.startedMs)}`,
    `${run.ending || "runs"}, ${duration(took)}; expected ${duration(leased.expected_ms)}${job.queued.is_known ? "" : " (never seen before)"}`,
    result ? `CPU ${duration(result.cpu_ms)}, memory ${bytes(result.peak_bytes)}, waited ${duration(result.queue_ms)}` : `memory promised ${bytes(leased.memory_bytes)}`,
    `Why here: ${placed}.`,
    `idle then: ${leased.idle} of ${leased.slots} slots; a second of work takes ${leased.rate.toFixed(2)} s here, ${leased.fastest.toFixed(2)} s on the fastest`,
    run.detail ? `It said: ${run.detail}` : null,
  ].filter(Boolean);
}

function keys(app, look, event) {
  const steps = { ArrowLeft: -0.2, ArrowRight: 0.2 };
  if (event.key === "+" || event.key === "=") zoomTime(look, 0.5);
  else if (event.key === "-") zoomTime(look, 2);
  else if (event.key in steps) shift(app, look, steps[event.key] * look.spanMs);
  else if (event.key === "ArrowUp") look.top -= 60;
  else if (event.key === "ArrowDown") look.top += 60;
  else if (event.key === "0") look.endMs = null;
  else if (event.key === "l") look.isList = !look.isList;
  else return false;
  app.soon();
  return true;
}

// ---- the list ----

function list(app, now) {
  const { state } = app;
  const running = [];
  for (const node of state.nodes.values()) running.push(...node.runs.values());
  running.sort((a, b) => a.leasedMs - b.leasedMs);
  const rows = [...running, ...state.runs.slice(-LISTED).reverse()]
    .filter((run) => app.matches(run.job.file, run.member?.name, run.build?.name, run.node.label)).slice(0, LISTED);
  if (!rows.length) return empty("Nothing runs, and nothing has run of late.");
  return h("div", { class: "card", key: "list" }, table([
    { name: "file", wide: true, show: (run) => run.job.file || "–" },
    { name: "user", show: (run) => person(run.member?.name ?? "", app.colours) },
    { name: "build", show: (run) => run.build?.name ?? "–" },
    { name: "node", show: (run) => run.node.label },
    { name: "state", show: (run) => run.ending || (run.startedMs ? "compiles" : "fetches its inputs") },
    { name: "took", number: true, show: (run) => duration((run.endedMs || now) - (run.startedMs || run.leasedMs)) },
    { name: "expected", number: true, show: (run) => duration(run.leased.expected_ms) },
    { name: "CPU", number: true, show: (run) => (run.result ? share(run.result.cpu_ms / Math.max(1, run.result.wall_ms)) : "–") },
  ], rows, { key: (run) => `${run.leased.lease}`, label: "Jobs that run, then those that ended last" }));
}
