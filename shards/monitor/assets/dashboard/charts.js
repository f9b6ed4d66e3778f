// Two lines over time, in and out.

import { clock, el, say, set, svg } from "./text.js";

const WIDTH = 600;
const HEIGHT = 190;
const LEFT = 58;
const BOTTOM = 20;
const TOP = 8;
const SERIES = ["out", "in"];

/** The next of 10, 20, 50, 100 … that holds the value: half of it is a whole number, too. */
function ceiling(value) {
  if (!(value > 10)) return 10;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

export class Chart {
  #seconds = 120;
  #points = { in: [], out: [] };

  /** `keys` names what a sample calls the two lines. */
  constructor(figure, title, keys, format) {
    this.keys = keys;
    this.format = format;
    this.title = title;
    this.numbers = {};
    const numbers = ["in", "out"].map((name) => {
      this.numbers[name] = el("strong", {}, "–");
      return el("span", { class: `reading ${name}` }, this.numbers[name], ` ${name}`);
    });
    const caption = el("figcaption", {}, el("h3", {}, title), el("span", { class: "readings" }, ...numbers));
    this.svg = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "lines" });
    this.grid = svg("g", { class: "grid" });
    this.svg.append(this.grid);
    this.areas = {};
    this.lines = {};
    for (const name of SERIES) {
      this.areas[name] = svg("path", { class: `area ${name}` });
      this.lines[name] = svg("path", { class: `line ${name}` });
      this.svg.append(this.areas[name], this.lines[name]);
    }
    this.cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    this.svg.append(this.cursor);
    this.tip = el("p", { class: "tip", hidden: "" });
    figure.append(caption, el("div", { class: "plot" }, this.svg, this.tip));
    this.svg.addEventListener("pointermove", (event) => this.#point(event));
    this.svg.addEventListener("pointerleave", () => this.#unpoint());
    this.#drawGrid(ceiling(0));
  }

  show(samples, seconds) {
    this.#seconds = seconds;
    const shown = samples.slice(-seconds);
    const newest = shown.findLast((sample) => sample);
    const values = shown.flatMap((sample) => (sample ? this.keys.map((key) => sample[key]) : []));
    const max = ceiling(Math.max(0, ...values));
    this.#drawGrid(max);
    ["in", "out"].forEach((name, at) => {
      const key = this.keys[at];
      say(this.numbers[name], newest ? this.format(newest[key]) : "–");
      const points = shown.map((sample, index) =>
        sample ? { x: this.#x(shown.length - 1 - index), y: this.#y(sample[key], max), sample } : null);
      this.#points[name] = points;
      this.#draw(name, points);
    });
    const text = newest
      ? `${this.title}: ${this.format(newest[this.keys[0]])} in, ${this.format(newest[this.keys[1]])} out`
      : `${this.title}: no figures yet`;
    set(this.svg, { "aria-label": text });
  }

  #x(age) {
    return LEFT + (WIDTH - LEFT) * (1 - age / (this.#seconds - 1));
  }

  #y(value, max) {
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / max);
  }

  #draw(name, points) {
    let line = "";
    let area = "";
    let first = null;
    let last = null;
    const close = () => {
      if (first) area += `L${last.x.toFixed(1)},${HEIGHT - BOTTOM}L${first.x.toFixed(1)},${HEIGHT - BOTTOM}Z`;
      first = null;
    };
    for (const point of points) {
      if (!point) {
        close();
        continue;
      }
      const step = `${first ? "L" : "M"}${point.x.toFixed(1)},${point.y.toFixed(1)}`;
      line += step;
      area += step;
      first ??= point;
      last = point;
    }
    close();
    set(this.lines[name], { d: line });
    set(this.areas[name], { d: area });
  }

  #drawGrid(max) {
    const key = `${max} ${this.#seconds}`;
    if (this.drawn === key) return;
    this.drawn = key;
    this.grid.replaceChildren();
    for (const share of [0, 0.5, 1]) {
      const y = this.#y(share * max, max);
      this.grid.append(
        svg("line", { x1: LEFT, x2: WIDTH, y1: y, y2: y }),
        svg("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, this.format(share * max)),
      );
    }
    const minutes = this.#seconds / 60;
    const label = (share, text, anchor) =>
      svg("text", { x: LEFT + (WIDTH - LEFT) * share, y: HEIGHT - 4, "text-anchor": anchor }, text);
    this.grid.append(
      label(0, `${minutes} min ago`, "start"),
      label(0.5, minutes === 2 ? "1 min" : `${minutes / 2} min`, "middle"),
      label(1, "now", "end"),
    );
  }

  #point(event) {
    const box = this.svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    const points = this.#points.in.filter((point) => point);
    const near = points.reduce((best, point) =>
      !best || Math.abs(point.x - x) < Math.abs(best.x - x) ? point : best, null);
    if (!near || Math.abs(near.x - x) > 20) return this.#unpoint();
    set(this.cursor, { x1: near.x, x2: near.x, visibility: "visible" });
    const [first, second] = this.keys.map((key) => this.format(near.sample[key]));
    say(this.tip, `${clock(near.sample.at)}  ${first} in  ${second} out`);
    this.tip.hidden = false;
    this.tip.style.left = `${(near.x / WIDTH) * 100}%`;
    this.tip.classList.toggle("left", near.x > WIDTH / 2);
  }

  #unpoint() {
    set(this.cursor, { visibility: "hidden" });
    this.tip.hidden = true;
  }
}
