// Now: is it working?

import { h } from "./dom.js";
import { bar, buildLink, card, empty, legend, person, picture, table, TIER_LABELS, tierParts } from "./parts.js";
import { areas, spark } from "./chart.js";
import { TIER_COLOURS } from "./palette.js";
import { ago, bytes, count, duration, moment, plural, rate, share } from "./format.js";
import { asking } from "./view-builds.js";
import { addTiers, allOf, happenings, headline, hitShare, people, perSecond, slotsOf, smoothed, tiers } from "./summary.js";

const CHART_S = 300;

export function nowView(app) {
  const asked = asking(app, "api/builds"); // the server knows builds of which nothing has come to this page
  return {
    close: () => (asked.isOpen = false),
    title: () => headline(app.state, app.now()),
    render: (now) => [
      troubleList(app.stream.troubles),
      h("div", { class: "tiles", key: "tiles" }, tiles(app, now)),
      h("div", { class: "two", key: "rows" },
        card("The last five minutes", "compiles a second, by who answered",
          picture("chart", "Compiles a second by tier over the last five minutes", (canvas) => areas(canvas, chart(app.state, now))),
          legend(tierParts({}, TIER_COLOURS))),
        card("Who", "jobs on the farm now", who(app))),
      h("div", { class: "two", key: "more" },
        card("Builds", null, builds(app, asked, now)), card("What happened", null, happened(app, now))),
    ],
  };
}

function troubleList(found) {
  if (!found) return null;
  const lines = found.slice(0, 6);
  if (!found.length) lines.push({ level: "good", text: "Nothing is wrong." });
  if (found.length > 6) lines.push({ level: "note", text: `and ${found.length - 6} more (Hosts)` });
  return h("ul", { class: "troubles", key: "troubles" }, lines.map(({ level, text }) => h("li", { class: level }, text)));
}

function tiles(app, now) {
  const { state } = app;
  const { lent, used } = slotsOf(state);
  const last = tiers(state, now - 60_000);
  const all = allOf(last);
  const hits = hitShare(last);
  const pulse = state.pulse ?? {};
  const waits = perSecond(state, now, 120, (second) => second.waiting);
  const jobs = smoothed(perSecond(state, now, 120, (second) => allOf(addTiers({}, second.counts))));
  const oldest = Math.max(0, ...(state.queue?.rows ?? []).map((row) => row[6]));
  return [
    tile("Slots in use", [count(used), h("small", null, ` of ${count(lent)}`)],
      bar(people(state).map((each) => ({ label: each.name, value: each.running, colour: app.colours.of(each.name) })), { total: lent }),
      lent ? `${share(used / lent)} of what is lent` : "nothing is lent"),
    tile("Waiting", count(pulse.waiting ?? 0), line(waits, "#e8794a"),
      oldest ? `the oldest for ${duration(oldest)}` : "nobody waits"),
    tile("Compiles a second", rate(all / 60), line(jobs, "#4c8dd6"), `${plural(all, "compile")} in a minute`),
    tile("From a cache", share(hits), bar(tierParts(last, TIER_COLOURS)),
      all ? `${count(last.here)} here, ${count(last.farm)} farm, ${count(last.twin)} twins` : "nothing was asked for"),
    tile("CPU time spared", duration(last.savedMs), null,
      last.savedMs || last.cpuMs ? `and ${duration(last.cpuMs)} spent by nodes, in a minute` : "in the last minute"),
    tile("Farm's store", bytes(pulse.cache_bytes ?? 0),
      bar([{ label: "used", value: pulse.cache_bytes ?? 0, colour: "#2aa7a0" }], { total: pulse.cache_limit_bytes ?? 0 }),
      pulse.cache_limit_bytes ? `of ${bytes(pulse.cache_limit_bytes)}` : "no limit is known"),
  ];
}

const tile = (name, value, picture, note) =>
  h("section", { class: "tile" }, h("h2", null, name), h("p", { class: "big" }, value), h("div", { class: "pic" }, picture),
    h("p", { class: "soft" }, note));

const line = (values, colour) =>
  h("canvas", { class: "spark", own: true, "aria-hidden": "true", draw: (canvas) => spark(canvas, values, colour) });

export function chart(state, now) {
  return {
    fromMs: (Math.floor(now / 1000) - CHART_S + 1) * 1000, stepMs: 1000, unit: "/s",
    series: ["compiled", "local", "twin", "farm", "here"].map((name) => ({
      label: TIER_LABELS[name], colour: TIER_COLOURS[name],
      values: smoothed(perSecond(state, now, CHART_S, ({ counts }) => addTiers({}, counts)[name]), 3),
    })),
  };
}

function who(app) {
  const rows = people(app.state).filter((row) => app.matches(row.name, ...row.builds));
  if (!rows.length) return empty("Nobody has a job on the farm.");
  return table([
    { name: "user", show: (row) => person(row.name, app.colours) },
    { name: "running", number: true, show: (row) => count(row.running) },
    { name: "waiting", number: true, show: (row) => count(row.waiting) },
    { name: "build", wide: true, show: (row) => [...row.builds].slice(0, 3).join(", ") || "–" },
  ], rows.slice(0, 10), { key: (row) => row.name, label: "Who has jobs on the farm" });
}

function builds(app, asked, now) {
  if (!asked.told) return empty(asked.error || "Asking for the builds …");
  const rows = asked.told.builds
    .filter((row) => app.matches(row.name, row.user))
    .sort((a, b) => lastOf(b) - lastOf(a)).slice(0, 6);
  if (!rows.length) return empty("No build has been seen yet.", "One appears here with its first compile.");
  return table([
    { name: "build", wide: true, show: (row) => buildLink(row) },
    { name: "user", show: (row) => person(row.user, app.colours) },
    { name: "took", number: true, show: (row) => duration(row.took_ms) },
    { name: "hits", number: true, show: (row) => share(row.hit_rate) },
    { name: "state", show: (row) => (row.is_over ? `ended ${ago(now - lastOf(row))}` : jobsOf(row) ? plural(jobsOf(row), "job") : "quiet") },
  ], rows, { key: (row) => row.id, label: "The last builds" });
}

const lastOf = (row) => row.began_ms + row.took_ms;
const jobsOf = (row) => row.running + row.waiting;

function happened(app, now) {
  const lines = happenings(app.state, app.words).filter((line) => app.matches(line.text)).slice(-9).reverse();
  if (!lines.length) return empty("Nothing worth a line.");
  return h("ol", { class: "log" }, lines.map(({ at, level, text }) =>
    h("li", { class: level }, h("time", null, moment(at, now)), h("span", null, text))));
}
