// Where things go on a canvas. Pure: numbers in, numbers out.

/** Round steps of an axis: about `most` of them from `low` to `high`. */
export function ticks(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  if (!(rough > 0)) return [];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(at);
  return found;
}

const TIME_STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];

/** The same for time in ms: steps that clocks have. */
export function timeTicks(low, high, most) {
  const rough = (high - low) / Math.max(1, most) / 1000;
  const step = (TIME_STEPS_S.find((each) => each >= rough) ?? 86_400) * 1000;
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) found.push(at);
  return found;
}

/** A value's upper end of an axis: 1, 2, 5 times a power of ten. */
export function niceTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((each) => each * power).find((each) => each >= value);
}

/**
 * Nodes on rings around the middle: the first ring has as many as fit, then the next.
 * `sizes` are slots; discs grow with them. Gives {x, y, r} for each, within width x height.
 */
export function starPlaces(sizes, width, height) {
  const n = sizes.length;
  if (!n) return [];
  const reach = Math.max(60, Math.min(width, height) / 2);
  const most = Math.max(1, ...sizes);
  // Fewer and larger discs first, until all rings fit.
  for (let r = Math.min(54, reach * 0.24); ; r *= 0.92) {
    const rings = ringsOf(n, r, reach);
    if (rings || r < 4) return placed(rings ?? [n], sizes, most, r, width, height, reach);
  }
}

function ringsOf(n, r, reach) {
  const rings = [];
  let left = n;
  for (let radius = reach - r - 18; left > 0; radius -= 2 * r + 22) {
    if (radius < reach * 0.42) return null;
    const fits = Math.max(1, Math.floor((2 * Math.PI * radius) / (2 * r + 26)));
    rings.push(Math.min(fits, left));
    left -= fits;
  }
  return rings;
}

function placed(rings, sizes, most, r, width, height, reach) {
  const places = [];
  const [sx, sy] = [Math.min(1.55, width / 2 / reach), Math.min(1.25, height / 2 / reach)];
  let radius = reach - r - 18;
  let next = 0;
  rings.forEach((many, ring) => {
    for (let i = 0; i < many; i++) {
      const angle = -Math.PI / 2 + (2 * Math.PI * (i + (ring % 2) / 2)) / many;
      places.push({
        x: width / 2 + Math.cos(angle) * radius * sx,
        y: height / 2 + Math.sin(angle) * radius * sy,
        r: r * (0.62 + 0.38 * Math.sqrt(sizes[next++] / most)),
      });
    }
    radius -= 2 * r + 22;
  });
  return places;
}

/** People around the broker: on an inner circle. */
export function innerPlaces(n, width, height) {
  const radius = Math.min(width, height) * (n === 1 ? 0.13 : 0.17);
  return Array.from({ length: n }, (_, i) => {
    const angle = -Math.PI / 2 + (2 * Math.PI * (i + 0.5)) / n;
    const wide = Math.min(1.5, width / Math.min(width, height));
    return { x: width / 2 + Math.cos(angle) * radius * wide, y: height / 2 + Math.sin(angle) * radius };
  });
}

/** Spans [begin, end] to lanes that hold one at a time, the lowest free one first. Sorted by begin. */
export function lanesOf(spans) {
  const ends = [];
  return spans.map(([begin, end]) => {
    let lane = ends.findIndex((each) => each <= begin);
    if (lane < 0) lane = ends.length;
    ends[lane] = end;
    return lane;
  });
}

/** The first place in a list, sorted by `value`, whose value is not below `wanted`. */
export function firstFrom(list, wanted, value) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (value(list[middle]) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Rows of the slots view: a head for each node and a row for each slot, with their tops. */
export function slotRows(nodes, rowHeight, gap) {
  const rows = [];
  let top = 0;
  for (const { node, slots } of nodes) {
    for (let slot = 0; slot < slots; slot++) {
      rows.push({ node, slot, top });
      top += rowHeight;
    }
    top += gap;
  }
  return { rows, height: Math.max(0, top - gap) };
}

/** Stacked shares of `total`, as [begin, end] of `width`; a part that is not nothing is at least a pixel wide. */
export function stacked(parts, width) {
  const total = parts.reduce((sum, each) => sum + each, 0);
  if (!(total > 0)) return parts.map(() => [0, 0]);
  let at = 0;
  return parts.map((each) => {
    const begin = at;
    at += (each / total) * width;
    return [begin, each > 0 ? Math.max(at, begin + 1) : begin];
  });
}
