import { readFileSync } from "node:fs";
import { FarmState } from "./state.js";
import { happenings, troubles } from "./summary.js";
// What is wrong and what happened, of events.
const { fields, rows, words } = JSON.parse(readFileSync(0, "utf8"));
const state = new FarmState(fields);
state.applyRows(rows);
const texts = (found) => found.map((each) => each.text);
console.log(JSON.stringify([texts(troubles(state, state.nowMs)), texts(happenings(state, words))]));
