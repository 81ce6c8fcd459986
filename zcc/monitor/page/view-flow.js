// Flow: where does the time go?

import { h } from "./dom.js";
import { bar, buildLink, card, dot, empty, legend, person, picture, table } from "./parts.js";
import { areas, fitted, write } from "./chart.js";
import { NOBODY, PHASE_COLOURS, theme } from "./palette.js";
import { PHASES, phasesOf } from "./state.js";
import { count, duration, share, sum } from "./format.js";
import { nodesByName, perSecond, smoothed, usedOf } from "./summary.js";

const CHART_S = 300;
const STRIP_S = 180;
const MOST_STRIPS = 60;
const RECENT_MS = 600_000;
const MEANINGS = {
  scan: "its agent finds what it reads", queue: "it waits for its turn and a slot", send: "its agent sends what the farm lacks",
  fetch: "the node fetches what it lacks", compile: "the compiler runs", return: "the result comes back",
};

export function flowView(app) {
  return {
    render(now) {
      const { state } = app;
      const sums = phaseSums(state, now - CHART_S * 1000);
      const all = sum(sums);
      const builds = perBuild(app, now);
      const nodes = nodesByName(state).filter((node) => app.matches(node.label, node.shown.state)).slice(0, MOST_STRIPS);
      return [
        h("div", { class: "two wide-left", key: "top" },
          card("The last five minutes", "how many jobs were in each phase, by when they ended",
            picture("chart tall", "Jobs in each phase over time", (canvas) => areas(canvas, phaseChart(state, now))),
            legend(PHASES.map((name) => ({ label: name, colour: PHASE_COLOURS[name] })))),
          card("Of a job's time", all ? verdict(sums, all) : null,
            all ? h("dl", { class: "phases" }, PHASES.map((name, i) => h("div", null,
              h("dt", null, dot(PHASE_COLOURS[name]), name), h("dd", null, share(sums[i] / all)), h("small", null, MEANINGS[name]))))
              : empty("No job has ended in the last five minutes."))),
        card("Builds of the last ten minutes", "the mean of a job that the farm compiled", builds.length ? table([
          { name: "build", wide: true, show: (row) => buildLink(row.build) },
          { name: "user", show: (row) => person(row.build.member?.name ?? "", app.colours) },
          { name: "jobs", number: true, show: (row) => count(row.jobs) },
          { name: "a job", number: true, show: (row) => duration(sum(row.sums) / row.jobs) },
          { name: "phases", wide: true, show: (row) => bar(PHASES.map((name, i) => ({ label: `${name}, ms`, value: row.sums[i] / row.jobs, colour: PHASE_COLOURS[name] }))) },
          { name: "queue", number: true, show: (row) => duration(row.sums[1] / row.jobs) },
          { name: "compile", number: true, show: (row) => duration(row.sums[4] / row.jobs) },
        ], builds, { key: (row) => row.build.id, label: "Phases by build" }) : empty("No build has compiled on the farm in the last ten minutes.")),
        card("Nodes", "slots in use over the last three minutes, in their users' colours", nodes.length
          ? picture("strips", "Use of each node over time", (canvas) => strips(app, canvas, nodes, now), { css: { height: `${nodes.length * 26 + 4}px` } })
          : empty("No node is like that.")),
      ];
    },
  };
}

function phaseSums(state, fromMs) {
  const sums = [0, 0, 0, 0, 0, 0];
  for (let i = state.seconds.length - 1; i >= 0 && state.seconds[i].at * 1000 >= fromMs; i--) {
    state.seconds[i].phases?.forEach((ms, place) => (sums[place] += ms));
  }
  return sums;
}

function verdict(sums, all) {
  const waste = PHASES.map((name, i) => [name, sums[i] / all]).filter(([name]) => name !== "compile").sort((a, b) => b[1] - a[1])[0];
  return waste[1] < 0.05 ? "nearly all of it compiles" : `${share(waste[1])} is ${waste[0]}`;
}

function phaseChart(state, now) {
  return {
    fromMs: (Math.floor(now / 1000) - CHART_S + 1) * 1000, stepMs: 1000,
    series: [4, 1, 2, 3, 5, 0].map((place) => ({
      label: PHASES[place], colour: PHASE_COLOURS[PHASES[place]],
      values: smoothed(perSecond(state, now, CHART_S, (second) => (second.phases?.[place] ?? 0) / 1000), 4),
    })),
  };
}

function perBuild(app, now) {
  const found = new Map();
  const { runs } = app.state;
  for (let i = runs.length - 1; i >= 0 && runs[i].endedMs > now - RECENT_MS; i--) {
    const { build, result, job } = runs[i];
    if (!build || !result || !app.matches(build.name, build.member?.name)) continue;
    let row = found.get(build);
    if (!row) found.set(build, (row = { build, jobs: 0, sums: [0, 0, 0, 0, 0, 0] }));
    row.jobs++;
    phasesOf(job, result).forEach((ms, place) => (row.sums[place] += ms));
  }
  return [...found.values()].sort((a, b) => b.build.lastMs - a.build.lastMs).slice(0, 12);
}

/** For each second of a node, who used how many of its slots. */
function useOf(node, fromS, many) {
  const seconds = Array.from({ length: many }, () => new Map());
  for (const lane of node.lanes) {
    for (let i = lane.length - 1; i >= 0; i--) {
      const run = lane[i];
      const end = run.endedMs ? run.endedMs / 1000 : fromS + many;
      if (end < fromS) break;
      const name = run.member?.name ?? "";
      for (let at = Math.max(0, Math.floor(run.startedMs / 1000 - fromS)); at < Math.min(many, end - fromS); at++) {
        seconds[at].set(name, (seconds[at].get(name) ?? 0) + Math.min(end, fromS + at + 1) - Math.max(run.startedMs / 1000, fromS + at));
      }
    }
  }
  return seconds;
}

function strips(app, canvas, nodes, now) {
  const { pen, width } = fitted(canvas);
  const paint = theme(canvas);
  const fromS = Math.floor(now / 1000) - STRIP_S;
  const left = Math.min(110, width * 0.25);
  const each = (width - left - 60) / STRIP_S;
  nodes.forEach((node, i) => {
    const y = i * 26 + 2;
    const ink = node.shown.state === "quarantined" ? paint.bad : paint.ink;
    write(pen, paint, node.label, 0, y + 11, { size: 12, weight: 600, ink, within: left - 10 });
    pen.fillStyle = paint.faint;
    pen.fillRect(left, y, each * STRIP_S, 22);
    const all = Math.max(1, node.shown.all_slots);
    useOf(node, fromS, STRIP_S).forEach((use, at) => {
      let bottom = y + 22;
      for (const [name, slots] of [...use].sort()) {
        const tall = Math.min(bottom - y, (22 * slots) / all);
        pen.fillStyle = name ? app.colours.of(name) : NOBODY;
        pen.fillRect(left + at * each, bottom - tall, each + 0.4, tall);
        bottom -= tall;
      }
    });
    write(pen, paint, `${usedOf(node)}/${node.shown.slots}`, width - 2, y + 11, { size: 12, align: "right" });
  });
}
