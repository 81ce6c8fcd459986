import assert from "node:assert/strict";
import * as layout from "./layout.js";
import * as format from "./format.js";
import { Colours, COLOURS, initials, inkOn } from "./palette.js";
import { findings } from "./build-page.js";

const tests = {
  "ticks are round and within": () => {
    assert.deepEqual(layout.ticks(0, 100, 4), [0, 50, 100]);
    assert.deepEqual(layout.ticks(0, 0, 4), []);
    assert.deepEqual(layout.timeTicks(1000, 61_000, 6), [10_000, 20_000, 30_000, 40_000, 50_000, 60_000]);
    for (const top of [0, 1, 3, 42, 108, 999, 12_345]) assert.ok(layout.niceTop(top) >= top);
  },
  "discs of a star lie within the picture and not on each other": () => {
    for (const n of [1, 2, 6, 25, 60, 200]) {
      const places = layout.starPlaces(Array.from({ length: n }, (_, i) => 4 + (i % 5) * 8), 1200, 700);
      assert.equal(places.length, n);
      for (const { x, y, r } of places) {
        assert.ok(r > 0 && x - r >= 0 && x + r <= 1200 && y - r >= 0 && y + r <= 700, `${n}: ${x} ${y} ${r}`);
      }
      for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) {
        const apart = Math.hypot(places[i].x - places[j].x, places[i].y - places[j].y);
        assert.ok(apart > (places[i].r + places[j].r) * 0.98, `${n}: ${i} on ${j}`);
      }
    }
    assert.deepEqual(layout.starPlaces([], 100, 100), []);
    assert.equal(layout.innerPlaces(3, 500, 300).length, 3);
  },
  "a lane holds one job at a time, and no lane is opened while one is free": () => {
    assert.deepEqual(layout.lanesOf([[0, 5], [1, 2], [2, 9], [5, 6], [6, 7]]), [0, 1, 1, 0, 0]);
  },
  "the first from a moment is found": () => {
    const list = [1, 3, 5, 7];
    assert.deepEqual([0, 1, 2, 7, 8].map((wanted) => layout.firstFrom(list, wanted, (each) => each)), [0, 0, 1, 3, 4]);
  },
  "a row stands for each slot": () => {
    const { rows, height } = layout.slotRows([{ node: "a", slots: 2 }, { node: "b", slots: 1 }], 10, 4);
    assert.deepEqual(rows.map((row) => row.top), [0, 10, 24]);
    assert.equal(height, 34);
  },
  "what is not nothing is seen": () => {
    assert.deepEqual(layout.stacked([0, 0], 100), [[0, 0], [0, 0]]);
    const [[, end], [begin, last]] = layout.stacked([1, 9999], 100);
    assert.ok(end >= 1 && begin < 1 && last === 100);
  },
  "numbers read as people write them": () => {
    assert.deepEqual([0, 999, 1500, 59_900, 125_000, 7_400_000, -1500].map(format.duration),
      ["0 ms", "999 ms", "1.5 s", "60 s", "2:05 min", "2:03 h", "−1.5 s"]);
    assert.deepEqual([null, undefined, NaN].map(format.duration), ["–", "–", "–"]);
    assert.deepEqual([512, 2048, 5 << 20, 300 * 2 ** 20, 21 * 2 ** 30].map(format.bytes), ["512 B", "2 KiB", "5.0 MiB", "300 MiB", "21 GiB"]);
    assert.deepEqual([null, 0, 0.004, 0.5, 0.996, 1].map(format.share), ["–", "0%", "<1%", "50%", ">99%", "100%"]);
    assert.equal(format.count(1234567), "1\u202f234\u202f567");
    assert.equal(format.plural(1, "job") + format.plural(2, "job"), "1 job2 jobs");
  },
  "a name has one colour, and twelve names have twelve": () => {
    const colours = new Colours();
    const names = Array.from({ length: 12 }, (_, i) => `user${i}@host`);
    assert.equal(new Set(names.map((name) => colours.of(name))).size, COLOURS.length);
    assert.equal(colours.of("user3@host"), colours.of("user3@host"));
    assert.ok(COLOURS.includes(colours.of("a thirteenth")));
    for (const colour of COLOURS) assert.match(inkOn(colour), /^#[0-9a-f]{6}$/);
    assert.deepEqual(["ann@x", "jo.doe@y", "user7@z", "", "<b>", "ci"].map(initials), ["AN", "JD", "U7", "?", "B", "CI"]);
  },
  "what held up a build's end is told as it was worked out": () => {
    const doc = { tail: { told: ["For its last 15 s few ran.", "x.cc on node3 ended last."], last: { losses: ["node1: beaten"] } }, nodes: [], failed: 0,
      phases: { queue: 1, compile: 99 }, local: 0, compiled: 20, is_over: true };
    assert.equal(findings(doc)[0].text, "For its last 15 s few ran. x.cc on node3 ended last. Before that: node1: beaten.");
    assert.equal(findings({ ...doc, tail: null })[0].text, "Nothing stands out.");
  },
};
for (const [name, test] of Object.entries(tests)) {
  try {
    test();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`FAILED ${name}: ${error.message}`);
  }
}
