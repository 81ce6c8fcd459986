// Builds: how was my build? The list, and a page for each (build-page.js), which the server makes the figures of.

import { h } from "./dom.js";
import { bar, buildLink, card, empty, person, table, tierCounts, tierParts } from "./parts.js";
import { TIER_COLOURS } from "./palette.js";
import { buildPage } from "./build-page.js";
import { count, duration, moment, share } from "./format.js";

const ASK_MS = 2000;

/** Asks the server again and again while the view is open; what it says last is `told`. */
export function asking(app, path) {
  const asked = { told: null, error: "", isOpen: true };
  const again = async () => {
    if (!asked.isOpen) return;
    if (!document.hidden && !(app.stream.isPaused && asked.told)) {
      try {
        asked.told = await app.ask(path);
        asked.error = "";
      } catch (error) {
        asked.error = error.message;
      }
      if (asked.isOpen) app.soon();
    }
    const isDone = asked.told?.is_over === true;
    setTimeout(again, isDone ? 10 * ASK_MS : ASK_MS);
  };
  again();
  return asked;
}

export function buildsView(app) {
  const asked = asking(app, "api/builds");
  let sort = ["began", false];
  return {
    close: () => (asked.isOpen = false),
    render(now) {
      if (!asked.told) return [empty(asked.error || "Asking for the builds …")];
      const rows = asked.told.builds.filter((row) => app.matches(row.name, row.user, row.host));
      if (!asked.told.builds.length) return [empty("No build has been seen yet.", "Compile something through zcc: its build appears here at once.")];
      const columns = [
        { name: "build", wide: true, value: (row) => row.name, show: (row) => buildLink(row) },
        { name: "user", value: (row) => row.user, show: (row) => person(row.user, app.colours) },
        { name: "on", value: (row) => row.host, show: (row) => row.host },
        { name: "began", number: true, value: (row) => row.began_ms, show: (row) => moment(row.began_ms, now) },
        { name: "took", number: true, value: (row) => row.took_ms, show: (row) => duration(row.took_ms) },
        { name: "compiles", number: true, value: (row) => row.compiles, show: (row) => count(row.compiles) },
        { name: "by whom", wide: true, show: (row) => bar(tierParts(tierCounts(row), TIER_COLOURS)) },
        { name: "hits", number: true, value: (row) => row.hit_rate ?? -1, show: (row) => share(row.hit_rate) },
        { name: "local", number: true, value: (row) => row.local, show: (row) => count(row.local) },
        { name: "failed", number: true, value: (row) => row.failed, show: (row) => h("span", { class: row.failed ? "bad" : null }, count(row.failed)) },
        { name: "state", value: (row) => Number(row.is_over), show: (row) => stateOf(row) },
      ];
      return [card(null, null, table(columns, rows, {
        sort, onsort: (to) => { sort = to; app.soon(); }, key: (row) => row.id, label: "Builds",
      }), rows.length ? null : empty("No build is like that."))];
    },
  };
}

const stateOf = (row) => row.is_over ? "over" : row.running + row.waiting ? `${count(row.running)} run, ${count(row.waiting)} wait` : "quiet";

export function buildView(app, id) {
  const asked = asking(app, `api/builds/${encodeURIComponent(id)}`);
  return {
    title: () => asked.told?.name ?? "Build",
    close: () => (asked.isOpen = false),
    render(now) {
      if (!asked.told) return [empty(asked.error || "Asking for the build …")];
      return buildPage(asked.told, {
        colours: app.colours, nodeColours: app.nodeColours, words: app.words, now, filter: (...texts) => app.matches(...texts),
        showTip: (lines, x, y) => app.showTip(lines, x, y),
        report: `/report/${encodeURIComponent(id)}`, link: (other) => `#/build/${encodeURIComponent(other)}`,
      });
    },
  };
}
