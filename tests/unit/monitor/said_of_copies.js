import { readFileSync } from "node:fs";
import { FarmState } from "./state.js";
import { happenings } from "./summary.js";
// What happened, of events.
const { fields, rows, words } = JSON.parse(readFileSync(0, "utf8"));
const state = new FarmState(fields);
state.applyRows(rows);
console.log(JSON.stringify(happenings(state, words).map((each) => each.text)));
