// Why: what became of this file?

import { h } from "./dom.js";
import { buildLink, card, empty, person, reason } from "./parts.js";
import { asking } from "./view-builds.js";
import { bytes, count, duration, moment } from "./format.js";

const WAIT_MS = 250;

export function whyView(app, argument) {
  const look = { text: argument, told: null, error: "", timer: 0, isOpen: true };
  const ask = async () => {
    const { text } = look;
    if (!text) {
      look.told = null;
      app.soon();
      return;
    }
    try {
      const told = await app.ask(`api/why?file=${encodeURIComponent(text)}`);
      if (look.isOpen && look.text === text) [look.told, look.error] = [told.compiles, ""];
    } catch (error) {
      look.error = error.message;
    }
    app.soon();
  };
  ask();
  const builds = asking(app, "api/builds"); // the server knows builds of which nothing has come to this page
  return {
    close: () => (look.isOpen = builds.isOpen = false),
    render: (now) => [
      h("div", { class: "controls", key: "ask" }, h("input", {
        type: "search", id: "why-file", placeholder: "Part of a source's name, or how a job's key begins", maxlength: 200, value: look.text,
        "aria-label": "Part of a source's name", autocomplete: "off", spellcheck: "false",
        oninput: (event) => {
          look.text = event.target.value.trim();
          clearTimeout(look.timer);
          look.timer = setTimeout(() => { history.replaceState(null, "", `#/why/${encodeURIComponent(look.text)}`); app.hash = location.hash; ask(); }, WAIT_MS);
        },
      })),
      look.error ? h("p", { class: "bad", key: "error" }, look.error) : null,
      look.text ? answers(app, look, now) : common(app, builds),
    ],
  };
}

function answers(app, look, now) {
  if (!look.told) return empty("Asking …");
  const rows = look.told.filter((row) => app.matches(row.file, row.user, row.build_name, row.node));
  if (!rows.length) {
    return empty(`Nothing is known of a file like “${look.text}”.`,
      "Of compiles that went to the farm all are known; of those that a machine did by itself, some. zcc why FILE on that machine knows its own.");
  }
  return h("ol", { class: "answers", key: "answers" }, rows.map((row, i) => {
    const [level, what, lines] = explained(app, row);
    return h("li", { class: "card", key: `${row.at_ms}${row.key}${i}` },
      h("h2", null, h("span", { class: `state ${level}` }, what), h("span", { class: "path" }, row.file || "a file that is not told")),
      h("p", { class: "soft" }, person(row.user, app.colours), " · ", buildLink({ id: row.build, name: row.build_name }), ` · ${moment(row.at_ms, now)}`),
      lines.filter(Boolean).map((line) => h("p", null, line)));
  }));
}

/** [level, in a word, sentences] */
function explained(app, row) {
  const of = (kind, word) => app.words[kind]?.[word] ?? { what: word };
  const lost = (row.losses ?? []).map((each) => `Before that it was lost: ${each}.`);
  switch (row.what) {
    case "local": {
      const { what, why, advice } = of("local", row.reason);
      return ["warn", "compiled locally", [`${what}${why ? ` ${why}` : ""}`, advice ? `What to do: ${advice}` : null, `It took ${duration(row.wall_ms)} there. (${row.reason})`]];
    }
    case "hit":
      return ["good", "from the farm's cache", [row.node ? `${row.node} had compiled it before.` : null]];
    case "ok":
    case "failed":
    case "unproven":
      return [row.what === "ok" ? "good" : "bad", row.what === "ok" ? `compiled on ${row.node || "a node"}` : `${row.what} on ${row.node || "a node"}`, [
        `Why ${row.node || "there"}: ${of("placed", row.reason).what}. ${count(row.idle)} of ${count(row.slots)} slots were idle.`,
        `It took ${duration(row.wall_ms)}; ${duration(row.expected_ms)} were expected. A second of work takes ${row.rate.toFixed(2)} s there, ${row.fastest.toFixed(2)} s on the fastest.`,
        `Before: ${duration(row.phases[0])} scan, ${duration(row.phases[1])} in the queue, ${duration(row.phases[2])} sending, ${duration(row.phases[3])} fetching. Memory ${bytes(row.peak_bytes)}.`,
        ...lost, row.key ? `zcc why-node ${row.key} tells what stood against the other nodes.` : null]];
    case "refused":
      return ["warn", "not taken", [`The farm did not take it, and it was compiled locally: ${of("local", row.why).what}`, ...lost]];
    case "running":
    case "leased":
      return ["note", `is on ${row.node}`, [`Why ${row.node}: ${of("placed", row.reason).what}.`, ...lost]];
    case "queued":
    case "sending":
      return ["note", "waits", lost];
    default:
      return ["note", row.what, ["Nobody waited for it any more.", ...lost]];
  }
}

function common(app, asked) {
  if (!asked.told) return empty(asked.error || "Asking for the builds …");
  const sums = new Map();
  for (const build of asked.told.builds) {
    for (const [word, times] of build.local_reasons) {
      const row = sums.get(word) ?? { word, times: 0, last: build }; // the latest comes first
      row.times += times;
      sums.set(word, row);
    }
  }
  const rows = [...sums.values()].sort((a, b) => b.times - a.times);
  return card("Why compiles were local", "of the last builds", rows.length
    ? rows.slice(0, 20).map((row) => reason(app.words, row.word, row.times, h("p", { class: "soft" }, "last in ", buildLink(row.last))))
    : empty("Nothing was compiled locally."));
}
