import { readFileSync } from "node:fs";
import { Colours } from "./palette.js";
import { FarmState } from "./state.js";
import { nowView } from "./view-now.js";
import { whyView } from "./view-why.js";
// What two views say to a browser that has heard of no build, where the server knows some.
globalThis.document = { hidden: false };
const builds = JSON.parse(readFileSync(0, "utf8"));
const app = {
  state: new FarmState(), colours: new Colours(), words: {}, matches: () => true, soon() {}, now: () => 0, stream: { isPaused: false },
  ask: async (path) => (path === "api/builds" ? { builds } : null),
};
const text = (node) => (typeof node === "string" ? node : node.kids.map(text).join(" "));
const last = builds[0].began_ms + builds[0].took_ms;
const said = [];
for (const view of [nowView(app), whyView(app, "")]) {
  await new Promise(setImmediate);
  said.push(view.render(last + 1_200_000).filter(Boolean).map(text).join(" "));
  view.close();
}
console.log(JSON.stringify(said));
process.exit(0);
