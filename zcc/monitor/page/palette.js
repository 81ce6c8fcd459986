// Whose is it? A colour for each name, the same on every screen, and letters for who does not see it. Pure but for
// the theme, which is the page's own.

// Told apart with the common kinds of colour blindness, on dark and on light; neighbours differ in brightness.
export const COLOURS = [
  "#4c8dd6", "#e8794a", "#2fa36b", "#d9b23c", "#c65ba7", "#6cc5e8", "#9a7be0", "#e05d6f", "#8fa83a", "#2aa7a0",
  "#c9a27c", "#a3583f",
];
export const PHASE_COLOURS = {
  scan: "#8fa83a", queue: "#7f8fb2", send: "#d9b23c", fetch: "#e8794a", compile: "#4c8dd6", return: "#9a7be0",
};
export const TIER_COLOURS = {
  here: "#2fa36b", farm: "#6cc5e8", twin: "#9a7be0", compiled: "#4c8dd6", local: "#d9b23c",
};
export const NOBODY = "#7d8590";

export function hash(text) {
  let value = 2166136261;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 16777619);
  return value >>> 0;
}

/** Colours by name: the name's own one, or the next that nobody has; once twelve have one, they share. */
export class Colours {
  constructor() {
    this.places = new Map();
    this.taken = new Set();
  }

  of(name) {
    if (!name) return NOBODY;
    let place = this.places.get(name);
    if (place === undefined) {
      place = hash(name) % COLOURS.length;
      if (this.taken.size < COLOURS.length) while (this.taken.has(place)) place = (place + 1) % COLOURS.length;
      this.taken.add(place);
      this.places.set(name, place);
    }
    return COLOURS[place];
  }
}

/** Black or white, whichever is read on it. */
export function inkOn(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255);
  return 0.299 * r + 0.587 * g + 0.114 * b > 0.55 ? "#10141a" : "#ffffff";
}

export function initials(name) {
  const letters = name.split("@")[0].replace(/[^\p{L}\p{N}]+/gu, " ").replace(/(\p{L})(\p{N}+)$/u, "$1 $2").trim().split(" ");
  const last = letters.at(-1);
  const second = /^\p{N}/u.test(last) ? last.at(-1) : last[0]; // user17: U7
  const two = letters.length > 1 ? letters[0][0] + second : last.slice(0, 2);
  return (two || "?").toUpperCase();
}

/** Dark or light: as was said, else as the browser likes it. */
export function chooseTheme(said) {
  const isDark = said ? said === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
}

/** The page's colours for canvases, which know no CSS. */
export function theme(element) {
  const style = getComputedStyle(element);
  const names = ["ink", "soft", "faint", "line", "paper", "card", "accent", "bad", "warn", "good", "font"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}
