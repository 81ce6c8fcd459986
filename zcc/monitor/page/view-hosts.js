// Hosts: which node is bad? Where the server allows it, nodes are drained here.

import { h } from "./dom.js";
import { bar, card, empty, table } from "./parts.js";
import { ago, bytes, count, plural } from "./format.js";
import { usedOf } from "./summary.js";

const MOST = 500;
const STATES = {
  ready: ["good", "ready"], limited: ["note", "lends less"], paused: ["note", "paused"], draining: ["note", "draining"],
  resting: ["warn", "resting"], quarantined: ["bad", "quarantine"], "on-trial": ["warn", "on trial"], probed: ["warn", "probed"],
};
const BY_ADMIN = "an admin has drained it"; // broker/core/nodes.py, DRAINED

/** A column of a number that the node says. */
const figure = (name, show, more) => ({ name, number: true, value: ({ shown }) => shown[name], show: ({ shown }) => show(shown), ...more });
const marked = (level, is, ...text) => h("span", { class: is ? level : null }, ...text);

export function hostsView(app) {
  const look = { sort: ["node", true], error: "" };
  return {
    render(now) {
      const { state } = app;
      const nodes = [...state.nodes.values()].filter(({ shown, label, key }) =>
        app.matches(label, key, shown.state, shown.mode, shown.reason, ...toolchains(state, shown)));
      if (!state.nodes.size) {
        return [empty("No node is connected.", "zcc-node join TOKEN, then zcc-node serve, on a machine that is to lend its processors.")];
      }
      const columns = [
        { name: "node", value: (node) => node.label, show: (node) => h("b", { title: node.key }, node.label) },
        { name: "state", value: ({ shown }) => shown.state, show: (node) => [stateOf(node.shown), app.stream.mayDrain ? drainButton(app, look, node) : null] },
        {
          name: "slots", number: true, value: usedOf, title: "in use, of those that are lent, of all",
          show: (node) => [h("span", { class: "frac" }, `${usedOf(node)}/${node.shown.slots}`,
            node.shown.slots === node.shown.all_slots ? null : h("small", null, ` of ${node.shown.all_slots}`)), slotBar(app, node)],
        },
        figure("speed", ({ speed, spread }) => marked("bad", speed && speed < 0.5, speed ? speed.toFixed(2) : "–", h("small", null, spread ? ` ×÷${spread.toFixed(2)}` : "")),
          { title: "times the speed of the farm's average slot; ×÷ by what factor its jobs differ from that" }),
        figure("slowdown", ({ slowdown }) => marked("warn", slowdown > 1.5, slowdown ? slowdown.toFixed(2) : "–"), { title: "wall time over CPU time of its jobs" }),
        figure("load", ({ load }) => load.toFixed(1)),
        {
          name: "memory", number: true, value: ({ shown }) => shown.memory_reserved_bytes, title: "promised to its jobs, of what they may have now",
          show: ({ shown }) => [h("span", { class: "frac" }, bytes(shown.memory_reserved_bytes), h("small", null, shown.memory_limit_bytes ? ` of ${bytes(shown.memory_usable_bytes)}` : "")),
            bar([{ label: "promised, MiB", value: Math.round(shown.memory_reserved_bytes / 2 ** 20), colour: "#9a7be0" }], { total: shown.memory_usable_bytes / 2 ** 20 })],
        },
        figure("pressure", ({ pressure }) => marked("warn", pressure >= 10, `${pressure.toFixed(0)}%`), { title: "share of the last 10 s in which some process waited for memory" }),
        figure("finished", ({ finished }) => count(finished), { name: "jobs" }),
        figure("faults", ({ faults }) => marked("bad", faults, count(faults))),
        { name: "compilers", wide: true, value: ({ shown }) => shown.toolchains.length, show: ({ shown }) => [toolchains(state, shown).join(", ") || "none yet", ...coming(state, shown)] },
        figure("mode", ({ mode }) => mode, { number: false }),
        figure("version", ({ version }) => version, { name: "release", number: false }),
        { name: "heard", number: true, value: (node) => -node.seenMs, show: (node) => ago(now - node.seenMs) },
      ];
      const versions = new Set([...state.nodes.values()].map(({ shown }) => shown.version));
      return [
        look.error ? h("p", { class: "bad", role: "alert", key: "error" }, look.error) : null,
        card(plural(state.nodes.size, "node"), versions.size > 1 ? `of ${versions.size} releases` : null,
          table(columns, nodes.slice(0, MOST), {
            sort: look.sort, onsort: (to) => { look.sort = to; app.soon(); }, key: (node) => node.number, label: "Nodes",
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

function drainButton(app, look, { shown, key, label }) {
  const isDrained = shown.state === "draining" && shown.reason === BY_ADMIN;
  const order = async () => {
    const what = isDrained ? `Let ${label} work again?` : `Drain ${label}? It ends what runs and is given no more jobs.`;
    if (!confirm(what)) return;
    look.error = await app.order("api/drain", { member: key, name: shown.name, is_drained: !isDrained });
    app.soon();
  };
  return h("button", { onclick: order, "aria-label": `${isDrained ? "let work" : "drain"} ${label}` }, isDrained ? "Let work" : "Drain");
}

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
    if (moving.node !== shown.node) continue;
    const known = state.toolchains.get(moving.toolchain);
    found.push(h("small", null, ` ${known?.name || "a compiler"} is coming: ${bytes(moving.done_bytes)} of ${bytes(moving.total_bytes)}`));
  }
  return found;
}
