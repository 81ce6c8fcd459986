// A build's page as a file of its own: the data lies in it.

import { h, patch } from "./dom.js";
import { chooseTheme, Colours } from "./palette.js";
import { buildPage } from "./build-page.js";
import { showTip } from "./parts.js";

const { build, words } = JSON.parse(document.getElementById("data").textContent);
const [main, tip] = ["view", "tip"].map((id) => document.getElementById(id));
const about = {
  colours: new Colours(), nodeColours: new Colours(), words, now: build.now_ms, filter: () => true,
  showTip: (lines, x, y) => showTip(tip, lines, x, y),
};
const show = () => patch(main, [h("h1", null, build.name), ...buildPage(build, about).filter(Boolean)]);
document.title = build.name;
chooseTheme();
addEventListener("resize", show);
show();
