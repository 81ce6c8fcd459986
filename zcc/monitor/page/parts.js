// Pieces that several views are made of.

import { h, patch } from "./dom.js";
import { stacked } from "./layout.js";
import { count, personOf } from "./format.js";
import { initials, inkOn } from "./palette.js";

export const card = (title, note, ...kids) =>
  h("section", { class: "card" },
    title ? h("h2", null, title, note ? h("small", null, note) : null) : null, ...kids);

/** A picture that `draw` makes anew each time; `label` says it in words. */
export const picture = (shape, label, draw, more) => h("canvas", { class: shape, own: true, role: "img", "aria-label": label, draw, ...more });

export const dot = (colour) => h("i", { class: "dot", css: { background: colour } });

export const buildLink = ({ id, name }) => h("a", { href: `#/build/${encodeURIComponent(id)}` }, name);

/** Lines of text beside the pointer, the first one stands out; without lines it goes. */
export function showTip(tip, lines, x, y) {
  tip.hidden = !lines;
  if (!lines) return;
  patch(tip, lines.map((line, i) => h(i ? "span" : "strong", null, line)));
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 12) : y + 18}px`;
}

export const empty = (text, more) =>
  h("div", { class: "empty" }, h("p", null, text), more ? h("p", { class: "soft" }, more) : null);

/** Whose: a patch of colour with letters in it, then the name. */
export const person = (name, colours, { full = false } = {}) => {
  const colour = colours.of(name);
  return h("span", { class: "who", title: name },
    h("i", { class: "chip", css: { background: colour, color: inkOn(colour) } }, initials(name)),
    h("span", null, full ? name : personOf(name)));
};

/** parts: [{label, value, colour}]; told in words as well. */
export const bar = (parts, { total = 0, height = 10 } = {}) => {
  const sum = parts.reduce((all, each) => all + each.value, 0);
  const places = stacked([...parts.map((each) => each.value), Math.max(0, total - sum)], 100);
  const told = parts.filter((each) => each.value).map((each) => `${each.label} ${count(each.value)}`).join(", ");
  return h("svg", {
    class: "bar", viewBox: `0 0 100 ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": told || "none",
  }, parts.map((each, i) =>
    h("rect", {
      x: places[i][0].toFixed(2), y: 0, width: Math.max(0, places[i][1] - places[i][0]).toFixed(2), height,
      fill: each.colour,
    }, h("title", null, `${each.label}: ${count(each.value)}`))));
};

export const legend = (parts) =>
  h("ul", { class: "legend" }, parts.map((each) =>
    h("li", null, dot(each.colour), each.label,
      each.value === undefined ? null : h("b", null, each.value))));

/** columns: [{name, title, value, show, number, wide}]; sort: [name, isUp]. */
export function table(columns, rows, { sort, onsort, key, label, rowClass } = {}) {
  const sorted = sort ? [...rows].sort(byColumn(columns.find((each) => each.name === sort[0]), sort[1])) : rows;
  return h("div", { class: "scroll" }, h("table", { "aria-label": label },
    h("thead", null, h("tr", null, columns.map((column) => {
      const isSorted = sort && sort[0] === column.name;
      return h("th", {
        class: column.number ? "num" : null, scope: "col", title: column.title ?? null,
        "aria-sort": isSorted ? (sort[1] ? "ascending" : "descending") : null,
      }, onsort && column.value
        ? h("button", {
          class: "sort", onclick: () => onsort([column.name, isSorted ? !sort[1] : !column.number]),
        }, column.name, isSorted ? (sort[1] ? " ↑" : " ↓") : "")
        : column.name);
    }))),
    h("tbody", null, sorted.map((row, i) =>
      h("tr", { key: key ? key(row) : i, class: rowClass ? rowClass(row) : null },
        columns.map((column) => h("td", { class: column.number ? "num" : column.wide ? "wide" : null },
          column.show(row))))))));
}

function byColumn(column, isUp) {
  const sign = isUp ? 1 : -1;
  return (one, other) => {
    const [a, b] = [column.value(one), column.value(other)];
    return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
  };
}

/** Rows of a name, a bar and a number: [{label, value, colour, note}]. */
export const bars = (rows, show = count) => {
  const most = Math.max(1e-9, ...rows.map((row) => row.value));
  return h("ul", { class: "bars" }, rows.map((row) =>
    h("li", { key: row.label, title: row.note ?? null },
      h("span", { class: "name" }, row.text ?? row.label),
      h("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
        h("rect", { x: 0, y: 0, height: 8, width: ((row.value / most) * 100).toFixed(2), fill: row.colour })),
      h("b", null, show(row.value)))));
};

/** Why compiles were local, what that means and what to do. */
export const reason = (words, word, times, ...more) => {
  const told = words.local?.[word] ?? { what: word };
  return h("div", { class: "reason", key: word },
    h("p", null, h("b", null, `${count(times)} × `), told.what, told.why ? ` ${told.why}` : "", h("code", null, word)),
    told.advice ? h("p", { class: "soft" }, told.advice) : null, ...more);
};

export const facts = (rows) =>
  h("dl", { class: "facts" }, rows.filter(Boolean).map(([name, value, note]) =>
    h("div", null, h("dt", null, name), h("dd", null, value), note ? h("small", null, note) : null)));

export const tierCounts = (row) => ({ here: row.hits_here, farm: row.hits_farm, twin: row.twins, compiled: row.compiled, local: row.local });

export const TIER_LABELS = {
  here: "this machine's cache", farm: "the farm's cache", twin: "shared with a twin", compiled: "compiled on the farm", local: "compiled locally",
};

export const tierParts = (counts, colours) =>
  Object.entries(TIER_LABELS).map(([name, label]) => ({ label, value: counts[name], colour: colours[name] }));
