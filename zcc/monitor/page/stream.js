// Events from the server into a state, and the farm's clock. While it is paused, what comes waits.

import { FarmState } from "./state.js";

// Characters of batches that wait while the page is paused; more, and the page begins anew when it goes on.
const MOST_WAITING = 24_000_000;
// Behind the last event the clock goes on for so long: a pulse comes each second.
const GRACE_MS = 2500;

export class Stream {
  constructor(onWelcome) {
    this.state = new FarmState();
    this.source = { is_up: false, why: "", is_replay: false };
    this.isConnected = false;
    this.isLoaded = false;
    this.words = {};
    this.troubles = null; // what is wrong, as the server says
    this.mayDrain = false;
    this.head = 0;
    this.waiting = [];
    this.waitingSize = 0;
    this.isPaused = false;
    this.skew = null;
    this.onWelcome = onWelcome;
  }

  open() {
    const events = new EventSource("events");
    this.events = events;
    events.onopen = () => (this.isConnected = true);
    events.onerror = () => {
      this.isConnected = false;
      // After an answer that is no stream (503, 401) a browser does not try again by itself.
      if (events.readyState === EventSource.CLOSED) setTimeout(() => this.events === events && this.open(), 3000);
    };
    events.addEventListener("welcome", (message) => {
      const told = JSON.parse(message.data);
      [this.words, this.mayDrain] = [told.words, told.may_drain];
      this.fields = this.state.fields = told.fields;
      this.onWelcome();
    });
    events.addEventListener("source", (message) => (this.source = JSON.parse(message.data)));
    for (const kind of ["snapshot", "batch", "troubles"]) events.addEventListener(kind, (message) => this.take(kind, message));
  }

  pause(isPaused) {
    this.isPaused = isPaused;
    if (isPaused) return;
    if (this.waitingSize > MOST_WAITING) {
      this.events.close();
      this.open();
    } else {
      for (const [kind, data, number] of this.waiting) this.apply(kind, data, number);
    }
    this.waiting = [];
    this.waitingSize = 0;
  }

  take(kind, message) {
    const number = Number(message.lastEventId.split("-")[1]);
    if (!this.isPaused) {
      this.apply(kind, message.data, number);
      return;
    }
    this.waitingSize += message.data.length;
    if (this.waitingSize > MOST_WAITING) this.waiting = [];
    else this.waiting.push([kind, message.data, number]);
  }

  apply(kind, data, number) {
    const told = JSON.parse(data);
    if (kind === "troubles") {
      this.troubles = told;
      return;
    }
    if (kind === "snapshot") {
      this.head = told.head;
      // One that came too late keeps its history; else the history comes with it.
      if (!told.late) {
        this.state = new FarmState(this.fields);
        this.isLoaded = false;
        this.skew = null;
      }
      this.state.applyRows(told.rows);
    } else {
      this.state.applyRows(told);
    }
    if (number >= this.head) this.isLoaded = true;
    const offset = this.state.nowMs - performance.now();
    this.skew = this.skew === null || offset > this.skew ? offset : this.skew * 0.95 + offset * 0.05;
  }

  /** The farm's time: it goes on between events, and stands where none can come. */
  now() {
    const last = this.state.nowMs;
    if (this.isPaused || this.skew === null || this.source.why === "ended" || !this.source.is_up) return last;
    return Math.max(last, Math.min(last + GRACE_MS, performance.now() + this.skew));
  }
}
