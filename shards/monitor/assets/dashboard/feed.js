// Asks the server once a second, turns its counters into rates, and notices when it is gone.

const EVERY_MS = 1000;
const ANSWER_MS_MAX = 4000;
const RETRY_MS_MAX = 5000;
const SAMPLES_MAX = 600;

export class Feed extends EventTarget {
  samples = [];
  last = null;
  paused = false;
  failures = 0;
  heardAt = null;
  #timer = null;
  #busy = false;

  start() {
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.now();
    });
    this.now();
  }

  /** Asks at once. */
  now() {
    clearTimeout(this.#timer);
    if (!this.#busy) this.#ask();
  }

  pause(paused) {
    this.paused = paused;
    if (!paused) this.now();
  }

  get retryAt() {
    return this.failures > 0 ? this.#due : null;
  }
  #due = 0;

  #again(ms) {
    clearTimeout(this.#timer);
    this.#due = Date.now() + ms;
    this.#timer = setTimeout(() => this.#ask(), ms);
  }

  async #ask() {
    // Nobody looks: nothing is asked.
    if (this.paused || document.hidden) return;
    this.#busy = true;
    const began = performance.now();
    try {
      const signal = AbortSignal.timeout(ANSWER_MS_MAX);
      const response = await fetch("dashboard/data", { signal, cache: "no-store" });
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      this.#heard(await response.json());
      this.#busy = false;
      this.#again(Math.max(100, EVERY_MS - (performance.now() - began)));
    } catch (error) {
      this.#busy = false;
      this.#failed(error);
    }
  }

  #failed(error) {
    this.failures += 1;
    this.#again(Math.min(RETRY_MS_MAX, 500 * 2 ** this.failures));
    if (this.failures === 1) this.samples.push(null);
    this.dispatchEvent(new CustomEvent("lost", { detail: error }));
  }

  #heard(data) {
    const before = this.last;
    const wasLost = this.failures > 0;
    const restarted = before !== null && before.server.id !== data.server.id;
    this.failures = 0;
    this.heardAt = Date.now();
    this.last = data;
    if (restarted) this.samples.push(null);
    const sample = !restarted && before ? measure(before, data) : null;
    if (sample) this.samples.push(sample);
    if (this.samples.length > SAMPLES_MAX) this.samples.splice(0, this.samples.length - SAMPLES_MAX);
    if (wasLost || restarted) {
      this.dispatchEvent(new CustomEvent("back", { detail: { restarted } }));
    }
    this.dispatchEvent(new CustomEvent("data", { detail: { data, sample } }));
  }
}

/** Growth per second of one counter. */
function rate(before, after, seconds) {
  return Math.max(0, after - before) / seconds;
}

/** What happened between two answers. */
function measure(before, after) {
  const first = before.shards[0]?.now_ns ?? 0;
  const seconds = ((after.shards[0]?.now_ns ?? 0) - first) / 1e9;
  // The answer was another viewer's, and has been seen.
  if (!(seconds > 0)) return null;
  const grown = (key) => rate(before.totals[key], after.totals[key], seconds);
  const old = new Map(before.shards.map((shard) => [shard.id, shard]));
  return {
    at: after.server.now_ms,
    in_msgs: grown("in_msgs"),
    out_msgs: grown("out_msgs"),
    in_bytes: grown("in_bytes"),
    out_bytes: grown("out_bytes"),
    shards: after.shards.map((shard) => measureShard(old.get(shard.id) ?? shard, shard)),
  };
}

/** Messages in a frame to a peer, on average; none if none went. */
function batch(before, after) {
  const grown = (key) =>
    after.reduce((sum, lane) => sum + lane[key] - (before.get(lane.to) ?? lane)[key], 0);
  const frames = grown("frames");
  return frames > 0 ? grown("msgs") / frames : null;
}

function measureShard(before, after) {
  const ns = after.now_ns - before.now_ns;
  const seconds = ns / 1e9 || 1;
  const grown = (key) => rate(before[key], after[key], seconds);
  const lanes = new Map(before.lanes.map((lane) => [lane.to, lane]));
  return {
    id: after.id,
    busy: ns > 0 ? Math.min(1, Math.max(0, 1 - (after.idle_ns - before.idle_ns) / ns)) : 0,
    in_msgs: grown("in_msgs"),
    out_msgs: grown("out_msgs"),
    in_bytes: grown("in_bytes"),
    out_bytes: grown("out_bytes"),
    forwarded: grown("forwarded_msgs"),
    wakes: grown("wakes"),
    batch: batch(lanes, after.lanes),
    lanes: after.lanes.map((lane) => ({
      to: lane.to,
      msgs: rate((lanes.get(lane.to) ?? lane).msgs, lane.msgs, seconds),
      full: lane.ring_max > 0 ? lane.ring_peak / lane.ring_max : 0,
    })),
  };
}
