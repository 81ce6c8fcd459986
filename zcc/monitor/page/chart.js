// Drawing on canvases: areas over time, small lines, patterns.

import { niceTop, ticks, timeTicks } from "./layout.js";
import { clock, rate } from "./format.js";
import { theme } from "./palette.js";

/** Makes the canvas as sharp as the screen; gives its context in CSS pixels, and their number. */
export function fitted(canvas) {
  const scale = Math.min(3, window.devicePixelRatio || 1);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

/** Text that is surely no wider than `width`; empty where nothing of it fits. */
function fitText(pen, text, width) {
  const bounded = text.length > 200 ? text.slice(0, 200) : text;
  if (width < 10) return "";
  if (pen.measureText(bounded).width <= width) return bounded;
  const each = pen.measureText("n").width || 6;
  const kept = Math.floor(width / each) - 1;
  return kept < 2 ? "" : `${bounded.slice(0, kept)}…`;
}

/** Text, in the soft ink of small print where nothing else is said; as much of it as fits in `within`. */
export function write(pen, paint, text, x, y, { size = 11, weight = 400, ink = paint.soft, align = "left", base = "middle", within } = {}) {
  pen.font = `${weight} ${size}px ${paint.font}`;
  pen.textAlign = align;
  pen.textBaseline = base;
  pen.fillStyle = ink;
  pen.fillText(within === undefined ? text : fitText(pen, text, within), x, y);
}

const patterns = new Map();

/** Stripes over a colour: for what did not end well, so that it shows without colour. */
export function stripes(pen, colour, ink, kind = "slant") {
  const key = `${colour} ${ink} ${kind}`;
  if (!patterns.has(key)) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const brush = tile.getContext("2d");
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 8, 8);
    brush.strokeStyle = ink;
    brush.lineWidth = 2;
    brush.beginPath();
    for (const at of [-8, 0, 8]) {
      brush.moveTo(at, 8);
      brush.lineTo(at + 8, 0);
      if (kind === "cross") {
        brush.moveTo(at, 0);
        brush.lineTo(at + 8, 8);
      }
    }
    brush.stroke();
    if (patterns.size > 200) patterns.clear();
    patterns.set(key, pen.createPattern(tile, "repeat"));
  }
  return patterns.get(key);
}

/**
 * Areas on top of each other over time.
 * series: [{label, colour, values}], values[i] at fromMs + i * stepMs.
 */
export function areas(canvas, { series, fromMs, stepMs, unit = "" }) {
  const { pen, width, height } = fitted(canvas);
  if (width < 40 || height < 30) return;
  const look = theme(canvas);
  const [left, right, top, bottom] = [34, 4, 8, 20];
  const count = series[0]?.values.length ?? 0;
  const sums = Array.from({ length: count }, (_, i) => series.reduce((sum, each) => sum + each.values[i], 0));
  const high = niceTop(Math.max(0, ...sums));
  const x = (i) => left + ((width - left - right) * i) / Math.max(1, count - 1);
  const y = (value) => height - bottom - ((height - top - bottom) * value) / high;
  for (const value of ticks(0, high, height > 140 ? 4 : 2)) {
    pen.strokeStyle = look.line;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(left, Math.round(y(value)) + 0.5);
    pen.lineTo(width - right, Math.round(y(value)) + 0.5);
    pen.stroke();
    write(pen, look, rate(value) + (value === high ? unit : ""), left - 6, y(value), { align: "right" });
  }
  const below = new Array(count).fill(0);
  for (const each of series) {
    pen.beginPath();
    for (let i = 0; i < count; i++) pen.lineTo(x(i), y(below[i] + each.values[i]));
    for (let i = count - 1; i >= 0; i--) pen.lineTo(x(i), y(below[i]));
    pen.closePath();
    pen.globalAlpha = 0.82;
    pen.fillStyle = each.colour;
    pen.fill();
    pen.globalAlpha = 1;
    for (let i = 0; i < count; i++) below[i] += each.values[i];
  }
  const toMs = fromMs + (count - 1) * stepMs;
  const marks = timeTicks(fromMs, toMs, width / 90);
  const isFine = marks.length > 1 && marks[1] - marks[0] < 60_000;
  for (const at of marks) {
    const place = left + ((width - left - right) * (at - fromMs)) / Math.max(1, toMs - fromMs);
    if (place > left + 16 && place < width - 24) write(pen, look, clock(at, isFine), place, height - 5, { align: "center", base: "alphabetic" });
  }
}

/** A line without axes. */
export function spark(canvas, values, colour) {
  const { pen, width, height } = fitted(canvas);
  const high = Math.max(1e-9, ...values);
  pen.beginPath();
  values.forEach((value, i) => {
    pen.lineTo((width * i) / Math.max(1, values.length - 1), height - 2 - (height - 4) * (value / high));
  });
  pen.strokeStyle = colour;
  pen.lineWidth = 1.6;
  pen.lineJoin = "round";
  pen.stroke();
  pen.lineTo(width, height);
  pen.lineTo(0, height);
  pen.closePath();
  pen.globalAlpha = 0.14;
  pen.fillStyle = colour;
  pen.fill();
  pen.globalAlpha = 1;
}
