// Hosts: which node is bad?

import { h } from "./dom.js";
import { bar, card, empty, table } from "./parts.js";
import { ago, bytes, count, plural } from "./format.js";

const MOST = 500;
const STATES = {
  ready: ["good", "ready"], limited: ["note", "lends less"], paused: ["note", "paused"], draining: ["note", "draining"],
  resting: ["warn", "resting"], quarantined: ["bad", "quarantine"], "on-trial": ["warn", "on trial"], probed: ["warn", "probed"],
};

export function hostsView(app) {
  let sort = ["node", true];
  return {
    render(now) {
      const { state } = app;
      const nodes = [...state.nodes.values()].filter(({ shown }) =>
        app.matches(shown.name, shown.state, shown.mode, shown.reason, ...toolchains(state, shown)));
      if (!state.nodes.size) {
        return [empty("No node is connected.", "zcc-node join TOKEN, then zcc-node serve, on a machine that is to lend its processors.")];
      }
      const columns = [
        { name: "node", value: ({ shown }) => shown.name, show: ({ shown }) => h("b", null, shown.name) },
        { name: "state", value: ({ shown }) => shown.state, show: ({ shown }) => stateOf(shown) },
        {
          name: "slots", number: true, value: (node) => used(node), title: "in use, of those that are lent, of all",
          show: (node) => [h("span", { class: "frac" }, `${used(node)}/${node.shown.slots}`,
            node.shown.slots === node.shown.all_slots ? null : h("small", null, ` of ${node.shown.all_slots}`)), slotBar(app, node)],
        },
        {
          name: "speed", number: true, value: ({ shown }) => shown.speed, title: "times the speed of the farm's average slot; ×÷ by what factor its jobs differ from that",
          show: ({ shown }) => h("span", { class: shown.speed && shown.speed < 0.5 ? "bad" : null }, shown.speed ? shown.speed.toFixed(2) : "–",
            h("small", null, shown.spread ? ` ×÷${shown.spread.toFixed(2)}` : "")),
        },
        { name: "slowdown", number: true, value: ({ shown }) => shown.slowdown, title: "wall time over CPU time of its jobs", show: ({ shown }) => h("span", { class: shown.slowdown > 1.5 ? "warn" : null }, shown.slowdown ? shown.slowdown.toFixed(2) : "–") },
        { name: "load", number: true, value: ({ shown }) => shown.load, show: ({ shown }) => shown.load.toFixed(1) },
        {
          name: "memory", number: true, value: ({ shown }) => shown.memory_reserved_bytes, title: "promised to its jobs, of what they may have now",
          show: ({ shown }) => [h("span", { class: "frac" }, bytes(shown.memory_reserved_bytes), h("small", null, shown.memory_limit_bytes ? ` of ${bytes(shown.memory_usable_bytes)}` : "")),
            bar([{ label: "promised, MiB", value: Math.round(shown.memory_reserved_bytes / 2 ** 20), colour: "#9a7be0" }], { total: shown.memory_usable_bytes / 2 ** 20 })],
        },
        { name: "pressure", number: true, value: ({ shown }) => shown.pressure, title: "share of the last 10 s in which some process waited for memory", show: ({ shown }) => h("span", { class: shown.pressure >= 10 ? "warn" : null }, `${shown.pressure.toFixed(0)}%`) },
        { name: "jobs", number: true, value: ({ shown }) => shown.finished, show: ({ shown }) => count(shown.finished) },
        { name: "faults", number: true, value: ({ shown }) => shown.faults, show: ({ shown }) => h("span", { class: shown.faults ? "bad" : null }, count(shown.faults)) },
        { name: "compilers", wide: true, value: ({ shown }) => shown.toolchains.length, show: ({ shown }) => [toolchains(state, shown).join(", ") || "none yet", ...coming(state, shown)] },
        { name: "mode", value: ({ shown }) => shown.mode, show: ({ shown }) => shown.mode },
        { name: "release", value: ({ shown }) => shown.version, show: ({ shown }) => shown.version },
        { name: "heard", number: true, value: (node) => -node.seenMs, show: (node) => ago(now - node.seenMs) },
      ];
      const versions = new Set([...state.nodes.values()].map(({ shown }) => shown.version));
      return [
        card(plural(state.nodes.size, "node"), versions.size > 1 ? `of ${versions.size} releases` : null,
          table(columns, nodes.slice(0, MOST), {
            sort, onsort: (to) => { sort = to; app.soon(); }, key: (node) => node.number, label: "Nodes",
            rowClass: ({ shown }) => (shown.state === "quarantined" ? "is-bad" : shown.slots ? null : "is-off"),
          }),
          nodes.length > MOST ? h("p", { class: "soft" }, `and ${nodes.length - MOST} more: filter by name`) : null,
          nodes.length ? null : empty("No node is like that.")),
      ];
    },
  };
}

function stateOf(shown) {
  const [level, text] = STATES[shown.state] ?? ["note", shown.state];
  return h("span", { class: `state ${level}`, title: shown.reason }, text, shown.reason ? h("small", null, shown.reason) : null);
}

const used = (node) => node.slots.reduce((sum, run) => sum + (run ? 1 : 0), 0);

function slotBar(app, node) {
  const counts = new Map();
  for (const run of node.slots) if (run) counts.set(run.member?.name ?? "", (counts.get(run.member?.name ?? "") ?? 0) + 1);
  return bar([...counts].map(([name, value]) => ({ label: name, value, colour: app.colours.of(name) })), { total: node.shown.all_slots });
}

function toolchains(state, shown) {
  return shown.toolchains.map((number) => state.toolchains.get(number)).filter(Boolean).map((each) => each.name || each.digest);
}

function coming(state, shown) {
  const found = [];
  for (const moving of state.shipping.values()) {
    if (moving.node !== shown.number && moving.node !== shown.node) continue;
    const known = state.toolchains.get(moving.toolchain);
    found.push(h("small", null, ` ${known?.name || "a compiler"} is coming: ${bytes(moving.done_bytes)} of ${bytes(moving.total_bytes)}`));
  }
  return found;
}
