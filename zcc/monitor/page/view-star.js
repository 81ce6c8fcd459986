// Star: who uses whom? Nodes as rings of slots in their users' colours around the broker.

import { h } from "./dom.js";
import { person } from "./parts.js";
import { fitted, stripes, write } from "./chart.js";
import { innerPlaces, starPlaces } from "./layout.js";
import { NOBODY, initials, inkOn, theme } from "./palette.js";
import { bytes, count, duration, personOf } from "./format.js";
import { memoryText, nodesByName, people, usedOf } from "./summary.js";

const LINK_MS = 10_000; // links are as wide as what went over them in so long
const MOST_PEOPLE = 16;
const MOST_LINKS = 300;
const DRAW_MS = 100; // nothing in it moves by itself
const SMALL = 20; // a ring of this radius shows shares, not slots
const OFF = new Set(["paused", "resting", "draining"]);

export function starView(app) {
  const look = { canvas: null, places: [], people: [], links: new Map(), at: 0 };
  return {
    render(now) {
      measure(app, look, now);
      return [
        h("div", { class: "controls", key: "controls" },
          h("span", { class: "inline" }, look.people.map((each) => person(each.name, app.colours))),
          h("span", { class: "soft" }, "A disc is a node, each piece of its ring a slot. The arc outside is memory; links are as wide as the bytes of their jobs.")),
        h("canvas", {
          key: "star", class: "star", own: true, role: "img", "aria-label": inWords(app, look),
          onpointermove: (event) => hover(app, look, event), onpointerleave: () => app.showTip(null),
          draw: (canvas) => (look.canvas = canvas),
        }),
      ];
    },
    frame(at) {
      if (!look.canvas?.isConnected || (at - look.at < DRAW_MS && !app.isDirty)) return;
      look.at = at;
      draw(app, look, app.now());
    },
  };
}

function inWords(app, look) {
  const parts = [...look.links.values()].filter((each) => each.running)
    .map((each) => `${personOf(each.name)} uses ${count(each.running)} slots of ${each.node.label}`);
  return parts.slice(0, 30).join("; ") || "Nobody uses a node now.";
}

/** Who is in the picture, and how wide the links are: twice a second is enough. */
function measure(app, look, now) {
  const { state } = app;
  const links = new Map();
  const link = (run) => {
    const name = run.member?.name ?? "";
    const key = `${run.node.number}/${name}`;
    let found = links.get(key);
    if (!found) links.set(key, (found = { name, node: run.node, running: 0, bytes: 0 }));
    return found;
  };
  for (const node of state.nodes.values()) {
    for (const run of node.runs.values()) {
      const each = link(run);
      each.running++;
      if (run.leasedMs > now - LINK_MS) each.bytes += run.job.queued.input_bytes;
    }
  }
  for (let i = state.runs.length - 1; i >= 0; i--) {
    const run = state.runs[i];
    if (run.endedMs < now - LINK_MS) break;
    if (state.nodes.get(run.node.number) !== run.node) continue;
    link(run).bytes += (run.result?.output_bytes ?? 0) + (run.leasedMs > now - LINK_MS ? run.job.queued.input_bytes : 0);
  }
  look.links = links;
  const here = new Map(people(state).map((each) => [each.name, each]));
  for (const { name } of links.values()) if (!here.has(name)) here.set(name, { name, running: 0, waiting: 0, builds: new Set() });
  look.people = [...here.values()].sort((a, b) => a.name.localeCompare(b.name)).slice(0, MOST_PEOPLE);
}

function draw(app, look, now) {
  const { pen, width, height } = fitted(look.canvas);
  const paint = theme(look.canvas);
  const nodes = nodesByName(app.state);
  const places = starPlaces(nodes.map((node) => node.shown.all_slots), width, height);
  look.places = nodes.map((node, i) => ({ node, ...places[i] }));
  const inner = innerPlaces(look.people.length, width, height);
  const seats = new Map(look.people.map((each, i) => [each.name, { ...inner[i], ...each }]));
  look.seats = seats;
  const middle = { x: width / 2, y: height / 2 };
  for (const place of look.places) faintLink(pen, paint, middle, place);
  const byNode = new Map(look.places.map((place) => [place.node, place]));
  const links = [...look.links.values()].sort((a, b) => b.running - a.running || b.bytes - a.bytes).slice(0, MOST_LINKS);
  for (const { name, node, running, bytes: sum } of links) {
    const [from, to] = [seats.get(name), byNode.get(node)];
    if (!from || !to || (!running && !sum)) continue;
    const isHidden = !app.matches(name, node.label);
    userLink(pen, app.colours.of(name), from, to, middle, sum / LINK_MS, running, isHidden ? 0.08 : running ? 0.62 : 0.25);
  }
  for (const place of look.places) disc(app, pen, paint, place, now);
  broker(app, pen, paint, middle);
  for (const seat of seats.values()) petal(app, pen, paint, seat);
  if (!nodes.length) {
    write(pen, paint, "No node is connected.", middle.x, middle.y + 60, { size: 15, align: "center" });
  }
}

function faintLink(pen, paint, middle, place) {
  pen.strokeStyle = paint.line;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(middle.x, middle.y);
  pen.lineTo(place.x, place.y);
  pen.stroke();
}

function userLink(pen, colour, from, to, middle, perMs, running, alpha) {
  pen.strokeStyle = colour;
  pen.globalAlpha = alpha;
  // 1 MB/s is a line of 3 px, 100 MB/s one of 11.
  pen.lineWidth = 1 + Math.min(12, 2.2 * Math.log10(1 + perMs / 100));
  pen.lineCap = "round";
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  const bend = { x: from.x * 1.35 - middle.x * 0.35, y: from.y * 1.35 - middle.y * 0.35 };
  pen.quadraticCurveTo(bend.x, bend.y, to.x, to.y);
  pen.stroke();
  pen.globalAlpha = 1;
}

function disc(app, pen, paint, { node, x, y, r }) {
  const { shown } = node;
  const isBad = shown.state === "quarantined";
  const isOff = OFF.has(shown.state) || (shown.state === "limited" && shown.slots === 0);
  const isHidden = !app.matches(node.label, ...node.slots.map((run) => run?.member?.name));
  pen.globalAlpha = isHidden ? 0.25 : 1;
  pen.beginPath();
  pen.arc(x, y, r, 0, 2 * Math.PI);
  pen.fillStyle = isBad ? stripes(pen, paint.card, paint.bad) : paint.card;
  pen.fill();
  if (r >= 9) slotRing(app, pen, paint, node, x, y, r, isOff);
  else {
    const busy = node.slots.find((run) => run);
    pen.fillStyle = busy?.member ? app.colours.of(busy.member.name) : paint.line;
    pen.fill();
  }
  if (r >= 12 && shown.memory_usable_bytes) {
    const part = Math.min(1, shown.memory_reserved_bytes / shown.memory_usable_bytes);
    pen.lineWidth = 2;
    pen.strokeStyle = part > 0.9 ? paint.bad : paint.soft;
    pen.beginPath();
    pen.arc(x, y, r + 4, -Math.PI / 2, -Math.PI / 2 + 2 * Math.PI * part);
    pen.stroke();
  }
  if (isBad) {
    pen.lineWidth = 2.5;
    pen.strokeStyle = paint.bad;
    pen.beginPath();
    pen.arc(x, y, r + 8, 0, 2 * Math.PI);
    pen.stroke();
  }
  discText(pen, paint, node, x, y, r, isOff, isBad);
  pen.globalAlpha = 1;
}

function slotRing(app, pen, paint, node, x, y, r, isOff) {
  const { shown, slots } = node;
  const many = Math.max(shown.all_slots, slots.length, 1);
  const thick = Math.max(3, r * 0.28);
  pen.lineWidth = thick;
  pen.lineCap = "butt";
  const ring = r - thick / 2;
  const each = (2 * Math.PI) / many;
  const gap = many > 64 || r < SMALL ? 0 : Math.min(each * 0.18, 2.2 / ring);
  const colours = Array.from({ length: many }, (_, i) => slotColour(app, paint, node, i));
  // Where pieces are too small to be told apart, those of one colour are one.
  const isSmall = many > 64 || r < SMALL;
  if (isSmall) colours.sort();
  if (isOff) pen.globalAlpha *= 0.6;
  for (let i = 0; i < many; ) {
    let end = i + 1;
    if (isSmall) while (end < many && colours[end] === colours[i]) end++;
    pen.strokeStyle = colours[i];
    pen.beginPath();
    pen.arc(x, y, ring, -Math.PI / 2 + i * each + gap / 2, -Math.PI / 2 + end * each - gap / 2);
    pen.stroke();
    i = end;
  }
  if (isOff) pen.globalAlpha /= 0.6;
}

function slotColour(app, paint, node, i) {
  const run = node.slots[i];
  if (run) return run.member ? app.colours.of(run.member.name) : NOBODY;
  return i < node.shown.slots ? paint.line : paint.faint;
}

function discText(pen, paint, node, x, y, r, isOff, isBad) {
  const { shown } = node;
  if (r < 11) return;
  const look = { weight: 600, align: "center", ink: isOff ? paint.soft : paint.ink };
  write(pen, paint, `${usedOf(node)}/${shown.slots}`, x, y, { ...look, size: Math.max(9, Math.min(16, r * 0.36)) });
  if (r < 16) return;
  if (isBad) look.ink = paint.bad;
  write(pen, paint, node.label, x, y + r + 17, { ...look, size: 12, within: r * 3 });
  if (shown.state !== "ready") {
    const word = isBad ? "quarantine" : shown.state === "limited" ? shown.reason || "lends less" : shown.state;
    write(pen, paint, word, x, y + r + 31, { ...look, weight: 400, within: r * 4 });
  }
}

function broker(app, pen, paint, { x, y }) {
  pen.beginPath();
  pen.arc(x, y, 26, 0, 2 * Math.PI);
  pen.fillStyle = paint.card;
  pen.fill();
  pen.lineWidth = 2;
  pen.strokeStyle = paint.accent;
  pen.stroke();
  const waiting = app.state.pulse?.waiting ?? 0;
  const look = { ink: paint.ink, align: "center" };
  write(pen, paint, "broker", x, waiting ? y - 6 : y, { ...look, weight: 600 });
  if (waiting) write(pen, paint, `${count(waiting)} wait`, x, y + 7, { ...look, size: 10 });
}

function petal(app, pen, paint, seat) {
  const colour = app.colours.of(seat.name);
  const r = 12 + Math.min(12, Math.sqrt(seat.running) * 1.6);
  pen.beginPath();
  pen.arc(seat.x, seat.y, r, 0, 2 * Math.PI);
  pen.fillStyle = colour;
  pen.fill();
  pen.lineWidth = 2;
  pen.strokeStyle = paint.paper;
  pen.stroke();
  write(pen, paint, initials(seat.name), seat.x, seat.y, { weight: 700, ink: inkOn(colour), align: "center" });
  write(pen, paint, personOf(seat.name), seat.x, seat.y + r + 10, { within: 110, size: 12, ink: paint.ink, align: "center" });
}

function hover(app, look, event) {
  const box = look.canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  const near = (each, r) => (each.x - x) ** 2 + (each.y - y) ** 2 <= r * r;
  const place = look.places.find((each) => near(each, each.r + 8));
  const seat = [...(look.seats ?? new Map()).values()].find((each) => near(each, 22));
  if (seat) {
    const flows = [...look.links.values()].filter((each) => each.name === seat.name && each.running);
    app.showTip([seat.name, `${count(seat.running)} running, ${count(seat.waiting)} waiting`,
      ...flows.slice(0, 8).map((each) => `${each.node.label}: ${count(each.running)} running, ${bytes(each.bytes / (LINK_MS / 1000))}/s`)],
    event.clientX, event.clientY);
  } else if (place) {
    const { shown, slots } = place.node;
    const runs = slots.filter((run) => run);
    app.showTip([place.node.label, `${shown.state}${shown.reason ? `: ${shown.reason}` : ""}`,
      `${runs.length} of ${shown.slots} slots in use, ${shown.all_slots} in all`, `speed ${shown.speed.toFixed(2)}, load ${shown.load.toFixed(1)}, memory ${memoryText(shown)}`,
      ...runs.slice(0, 8).map((run) => `${personOf(run.member?.name ?? "?")}: ${run.job.file || "a file"}, ${duration(app.now() - run.startedMs)}`),
      runs.length > 8 ? `and ${runs.length - 8} more` : null].filter(Boolean), event.clientX, event.clientY);
  } else {
    app.showTip(null);
  }
}
