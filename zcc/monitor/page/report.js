// A build's page as a file of its own: the data lies in it.

import { h, patch } from "./dom.js";
import { Colours } from "./palette.js";
import { buildPage } from "./build-page.js";

const { build, words } = JSON.parse(document.getElementById("data").textContent);
const [main, tip] = ["view", "tip"].map((id) => document.getElementById(id));
const about = {
  colours: new Colours(), nodeColours: new Colours(), words, now: build.now_ms, filter: () => true,
  showTip(lines, x, y) {
    tip.hidden = !lines;
    if (!lines) return;
    patch(tip, lines.map((line, i) => h(i ? "span" : "strong", null, line)));
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 18, innerHeight - tip.offsetHeight - 8))}px`;
  },
};
const show = () => patch(main, [h("h1", null, build.name), ...buildPage(build, about).filter(Boolean)]);
document.title = build.name;
addEventListener("resize", show);
show();
