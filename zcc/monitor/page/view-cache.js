// Cache: does sharing work?

import { h } from "./dom.js";
import { bar, bars, card, empty, facts, legend, person, picture, table, tierParts } from "./parts.js";
import { areas } from "./chart.js";
import { TIER_COLOURS } from "./palette.js";
import { bytes, count, duration, share } from "./format.js";
import { addTiers, allOf, hitShare, tiers } from "./summary.js";
import { chart } from "./view-now.js";

const SPAN_MS = 900_000;

export function cacheView(app) {
  return {
    render(now) {
      const { state } = app;
      const sums = tiers(state, now - SPAN_MS);
      const pulse = state.pulse ?? {};
      const missed = summed(state, "missed");
      const madeBy = summed(state, "madeBy");
      const users = byUser(app);
      return [
        facts([
          ["from a cache", share(hitShare(sums)), `${count(sums.here + sums.farm + sums.twin)} of ${count(allOf(sums))}, in a quarter of an hour`],
          ["this machine's", share(part(sums.here, sums)), "each machine's own cache"],
          ["the farm's", share(part(sums.farm, sums)), "somebody had compiled it"],
          ["twins", share(part(sums.twin, sums)), "somebody was compiling it"],
          ["CPU time spared", duration(sums.savedMs), "that hits took when they were compiled"],
          ["store", bytes(pulse.cache_bytes ?? 0), pulse.cache_limit_bytes ? `of ${bytes(pulse.cache_limit_bytes)}; ${count(pulse.evicted)} evicted since the broker began` : null],
        ]),
        card("Who answered", "compiles a second over the last five minutes",
          picture("chart", "Compiles a second by tier", (canvas) => areas(canvas, chart(state, now))),
          legend(tierParts(sums, TIER_COLOURS).map((each) => ({ ...each, value: count(each.value) })))),
        h("div", { class: "two", key: "why" },
          card("Why a machine's own cache had no answer", null, missed.length
            ? bars(missed.map(([word, value]) => ({ label: word, text: [app.words.missed?.[word]?.what ?? word, h("small", null, ` ${word}`)], value, colour: "#7f8fb2" })))
            : empty("No miss was counted.", "Agents count them once a second, unless events = \"off\" is set there.")),
          card("Which nodes had made the farm's hits", null, madeBy.length
            ? bars(madeBy.slice(0, 12).map(([name, value]) => ({ label: name, value, colour: app.nodeColours.of(name) })))
            : empty("The farm's cache has answered nothing yet."))),
        card("Who profits", "builds that are known here", users.length ? table([
          { name: "user", show: (row) => person(row.name, app.colours, { full: true }) },
          { name: "compiles", number: true, show: (row) => count(allOf(row.sums)) },
          { name: "by whom", wide: true, show: (row) => bar(tierParts(row.sums, TIER_COLOURS)) },
          { name: "from a cache", number: true, show: (row) => share(hitShare(row.sums)) },
          { name: "CPU spared", number: true, show: (row) => duration(row.savedMs) },
        ], users, { key: (row) => row.name, label: "Hits by user" }) : empty("No build has been seen yet.")),
        pulse.cache_limit_bytes ? card("The farm's store", `${share(pulse.cache_bytes / pulse.cache_limit_bytes)} full`,
          bar([{ label: "MiB used", value: pulse.cache_bytes / 2 ** 20, colour: "#2aa7a0" }], { total: pulse.cache_limit_bytes / 2 ** 20, height: 14 })) : null,
      ];
    },
  };
}

const part = (value, sums) => (allOf(sums) ? value / allOf(sums) : null);

function summed(state, name) {
  const sums = new Map();
  for (const second of state.seconds) {
    for (const [word, value] of Object.entries(second[name] ?? {})) sums.set(word, (sums.get(word) ?? 0) + value);
  }
  return [...sums].sort((a, b) => b[1] - a[1]);
}

function byUser(app) {
  const found = new Map();
  for (const build of app.state.knownBuilds.values()) {
    const name = build.member?.name ?? "";
    if (!app.matches(name)) continue;
    let row = found.get(name);
    if (!row) found.set(name, (row = { name, sums: addTiers({}, {}), savedMs: 0 }));
    addTiers(row.sums, build.counts);
    row.savedMs += build.savedMs;
  }
  return [...found.values()].sort((a, b) => allOf(b.sums) - allOf(a.sums)).slice(0, 30);
}
