// The page: which view is shown, the head, keys, and the two clocks by which all is drawn.

import { h, patch } from "./dom.js";
import { chooseTheme, Colours } from "./palette.js";
import { Stream } from "./stream.js";
import { showTip } from "./parts.js";
import { clock } from "./format.js";
import { nowView } from "./view-now.js";
import { starView } from "./view-star.js";
import { slotsView } from "./view-slots.js";
import { flowView } from "./view-flow.js";
import { queueView } from "./view-queue.js";
import { buildsView, buildView } from "./view-builds.js";
import { hostsView } from "./view-hosts.js";
import { cacheView } from "./view-cache.js";
import { whyView } from "./view-why.js";

const VIEWS = [
  ["now", "Now", "Is it working?", nowView],
  ["star", "Star", "Who uses whom?", starView],
  ["slots", "Slots", "What ran where, and when?", slotsView],
  ["flow", "Flow", "Where does the time go?", flowView],
  ["queue", "Queue", "Who waits, and for what?", queueView],
  ["builds", "Builds", "How was my build?", buildsView],
  ["hosts", "Hosts", "Which node is bad?", hostsView],
  ["cache", "Cache", "Does sharing work?", cacheView],
  ["why", "Why", "What became of this file?", whyView],
];
// Text and tables are made anew so often; canvases that move, with each frame.
const RENDER_MS = 500;

const find = (id) => document.getElementById(id);
const [head, nav, notice, main, tip, help] = ["head", "nav", "notice", "view", "tip", "help"].map(find);

class App {
  constructor() {
    this.stream = new Stream(() => this.soon());
    // Users, nodes and builds take no colour from each other.
    this.colours = new Colours();
    this.nodeColours = new Colours();
    this.buildColours = new Colours();
    this.filter = "";
    this.view = null;
    this.hash = null;
    this.isDirty = true;
    this.lastRender = 0;
  }

  get state() {
    return this.stream.state;
  }

  get words() {
    return this.stream.words;
  }

  now() {
    return this.stream.now();
  }

  /** Draw again with the next frame: something was changed by hand. */
  soon() {
    this.isDirty = true;
    this.lastRender = 0;
  }

  matches(...texts) {
    return !this.filter || texts.some((text) => text && text.toLowerCase().includes(this.filter));
  }

  async ask(path) {
    const answer = await fetch(path, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(answer.status === 404 ? "It is not known here (any more)." : `The server said ${answer.status}.`);
    return answer.json();
  }

  /** Asks the server to change something; why it did not, or nothing. */
  async order(path, body) {
    try {
      const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
      const text = await answer.text();
      return answer.ok ? "" : answer.status === 502 ? JSON.parse(text).error : text;
    } catch {
      return "zcc monitor does not answer.";
    }
  }

  showTip(lines, x, y) {
    showTip(tip, lines, x, y);
  }

  route() {
    const hash = location.hash || "#/now";
    if (hash === this.hash) return;
    this.hash = hash;
    const [, name, ...rest] = hash.split("/");
    const argument = safeDecode(rest.join("/"));
    this.view?.close?.();
    tip.hidden = true;
    this.name = name === "build" ? "builds" : VIEWS.some(([id]) => id === name) ? name : "now";
    const make = name === "build" ? buildView : VIEWS.find(([id]) => id === this.name)[3];
    this.view = make(this, argument);
    main.replaceChildren();
    main.className = `view-${name === "build" ? "build" : this.name}`;
    main.scrollTop = 0;
    this.soon();
  }

  frame(at) {
    requestAnimationFrame((next) => this.frame(next));
    if (document.hidden) return;
    if (at - this.lastRender >= RENDER_MS) {
      this.lastRender = at;
      this.render();
    }
    if (this.stream.isLoaded && this.view.frame && (!this.stream.isPaused || this.isDirty)) this.view.frame(at);
    this.isDirty = false;
  }

  render() {
    const title = VIEWS.find(([id]) => id === this.name);
    document.title = `${title[1]} · ${this.state.farm?.farm ?? "zcc"}`;
    patch(head, this.headParts());
    patch(nav, VIEWS.map(([id, label, question], i) =>
      h("a", {
        key: id, href: `#/${id}`, title: `${question} (${i + 1})`, "aria-current": id === this.name ? "page" : null,
      }, label, h("kbd", null, i + 1))));
    patch(notice, this.notices());
    // In the order in which the broker told of them, so that other screens give the same.
    for (const { name, role } of this.state.members.values()) if (role !== "node") this.colours.of(name);
    document.body.dataset.ready = this.stream.isLoaded ? "yes" : "no";
    if (!this.stream.isLoaded) {
      patch(main, [h("div", { class: "empty", key: "loading" },
        h("p", null, this.stream.isConnected ? "Waiting for the farm's state …" : "Connecting …"),
        this.stream.source.why ? h("p", { class: "soft" }, this.stream.source.why) : null)]);
      return;
    }
    patch(main, [
      h("h1", { key: "title" }, this.view.title?.() ?? title[2]),
      ...this.view.render(this.now()).filter(Boolean),
    ]);
  }

  headParts() {
    const { stream } = this;
    const [kind, text] = this.status();
    return [
      h("a", { class: "brand", href: "#/now", "aria-label": "zcc, to the start" },
        h("b", null, "zcc"), h("span", null, this.state.farm?.farm ?? "")),
      h("span", { class: `status ${kind}` }, h("i", null), text),
      h("time", null, stream.isLoaded ? clock(this.now()) : ""),
      h("input", {
        id: "filter", type: "search", placeholder: "Filter: file, user, build, node", maxlength: 80,
        "aria-label": "Filter by file, user, build or node", autocomplete: "off", spellcheck: "false",
        oninput: (event) => {
          this.filter = event.target.value.trim().toLowerCase();
          this.soon();
        },
      }),
      h("button", { onclick: () => this.pause(), "aria-pressed": String(stream.isPaused), title: "Pause (p)" },
        stream.isPaused ? "Go on" : "Pause"),
      h("button", { onclick: () => this.turnTheme(), title: "Dark or light (t)" }, "Theme"),
      h("button", { onclick: () => help.showModal(), title: "Keys (?)", "aria-label": "Keys" }, "?"),
    ];
  }

  status() {
    const { stream } = this;
    if (!stream.isConnected) return ["bad", "page disconnected"];
    if (stream.isPaused) return ["warn", "paused"];
    if (stream.source.is_replay) return ["warn", stream.source.why === "ended" ? "recording, at its end" : "recording"];
    if (!stream.source.is_up) return ["bad", "no broker"];
    return ["good", "live"];
  }

  notices() {
    const { stream } = this;
    if (!stream.isConnected && stream.isLoaded) {
      return [h("p", { key: "off", class: "bad" }, "The connection to zcc monitor is lost. What you see is of ",
        clock(this.now()), "; it is tried again every few seconds.")];
    }
    if (stream.isConnected && !stream.source.is_up && !stream.source.is_replay) {
      return [h("p", { key: "down", class: "bad" }, "zcc monitor does not hear from the broker",
        stream.source.why ? ` (${stream.source.why})` : "", ". What you see may be old.")];
    }
    if (stream.isPaused) return [h("p", { key: "paused" }, "Paused: the farm goes on. Press p, and the page catches up.")];
    return [];
  }

  pause() {
    this.stream.pause(!this.stream.isPaused);
    this.soon();
  }

  turnTheme() {
    const { dataset } = document.documentElement;
    dataset.theme = dataset.theme === "dark" ? "light" : "dark";
    kept((store) => store.setItem("zcc-theme", dataset.theme));
    this.soon();
  }

  keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key === "Escape" && isTyping) {
      event.target.blur();
      return;
    }
    if (isTyping || help.open) return;
    const place = Number(event.key);
    if (place >= 1 && place <= VIEWS.length) location.hash = `#/${VIEWS[place - 1][0]}`;
    else if (event.key === "/") find("filter").focus();
    else if (event.key === "p") this.pause();
    else if (event.key === "t") this.turnTheme();
    else if (event.key === "?") help.showModal();
    else if (!this.view?.key?.(event)) return;
    event.preventDefault();
  }

  start() {
    chooseTheme(kept((store) => store.getItem("zcc-theme")));
    const rows = [
      ...VIEWS.map(([, label, question], i) => [String(i + 1), `${label}: ${question}`]),
      ["/", "Filter"], ["p", "Pause, and go on"], ["t", "Dark, light"],
      ["+ −", "Slots: zoom in time"], ["← →", "Slots: move in time"], ["↑ ↓", "Slots: move over the rows"],
      ["0", "Slots: back to now"], ["l", "Slots: as a list"], ["Esc", "Out of a field"],
    ];
    patch(help, [
      h("h2", null, "Keys"),
      h("dl", null, rows.map(([key, text]) => [h("dt", null, h("kbd", null, key)), h("dd", null, text)])),
      h("p", { class: "soft" }, "A colour is whose job it is. Letters stand for the same, and stripes for what did not end well."),
      h("form", { method: "dialog" }, h("button", { autofocus: true }, "Close")),
    ]);
    addEventListener("hashchange", () => this.route());
    addEventListener("resize", () => this.soon());
    addEventListener("keydown", (event) => this.keys(event));
    main.addEventListener("scroll", () => (tip.hidden = true));
    this.route();
    this.stream.open();
    requestAnimationFrame((at) => this.frame(at));
  }
}

function safeDecode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** A browser that keeps nothing forgets it. */
function kept(act) {
  try {
    return act(localStorage);
  } catch {
    return null;
  }
}

const app = new App();
globalThis.zccMonitor = app; // for tests, and under the hood
app.start();
