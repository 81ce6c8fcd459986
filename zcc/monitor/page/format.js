// Numbers and moments as people read them. Pure.

const MIB = 1 << 20;

export function duration(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 99_500) return `${Math.round(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${two(seconds % 60)} min`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60 * 48) return `${Math.floor(minutes / 60)}:${two(minutes % 60)} h`;
  return `${Math.round(minutes / 1440)} days`;
}

export function bytes(count) {
  if (!Number.isFinite(count)) return "–";
  if (count < 1024) return `${Math.round(count)} B`;
  if (count < MIB) return `${Math.round(count / 1024)} KiB`;
  const mib = count / MIB;
  if (mib < 1024) return `${mib < 10 ? mib.toFixed(1) : Math.round(mib)} MiB`;
  const gib = mib / 1024;
  if (gib < 1024) return `${gib < 10 ? gib.toFixed(1) : Math.round(gib)} GiB`;
  return `${(gib / 1024).toFixed(1)} TiB`;
}

export function count(number) {
  if (!Number.isFinite(number)) return "–";
  return Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** A number that may be small: 0, 0.4, 3.2, 48. */
export function rate(number) {
  if (!Number.isFinite(number)) return "–";
  if (number === 0) return "0";
  return number < 10 ? number.toFixed(1) : count(number);
}

export function share(part) {
  if (part === null || !Number.isFinite(part)) return "–";
  const percent = part * 100;
  if (percent > 0 && percent < 1) return "<1%";
  if (percent > 99 && percent < 100) return ">99%";
  return `${Math.round(percent)}%`;
}

export function clock(ms, withSeconds = true) {
  const date = new Date(ms);
  const short = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return withSeconds ? `${short}:${two(date.getSeconds())}` : short;
}

/** 14:05 today, else with the day. */
export function moment(ms, nowMs) {
  const [date, now] = [new Date(ms), new Date(nowMs)];
  if (date.toDateString() === now.toDateString()) return clock(ms);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(ms, false)}`;
}

export function ago(ms) {
  if (ms < 1500) return "now";
  return `${duration(ms)} ago`;
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

export const waits = (jobs) => `${plural(jobs, "job")} wait${jobs === 1 ? "s" : ""}`;

export const sum = (values) => values.reduce((a, b) => a + b, 0);

export const baseName = (path) => path.slice(path.lastIndexOf("/") + 1);

export const personOf = (name) => name.split("@")[0] || name;

function two(number) {
  return String(number).padStart(2, "0");
}
