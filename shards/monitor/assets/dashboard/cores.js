// The server as a picture: cores on a circle, their clients outside, rings between them inside.

import { count, percent, set, svg } from "./text.js";

const WIDTH = 710;
const HEIGHT = 470;
const MIDDLE = { x: WIDTH / 2, y: HEIGHT / 2 };
/** More arrows than these would be a thicket: the strongest are shown. */
const ARROWS_MAX = 96;

/** Wider for more, by orders of magnitude: 1/s is thin, 10 M/s is thick. */
const width = (rate) => (rate > 0 ? Math.min(9, 1.2 + Math.log10(1 + rate)) : 0);

const speed = (rate) => (rate > 1e5 ? "fast" : rate > 1e3 ? "steady" : "slow");

const heat = (full) => (full >= 0.95 ? "bad" : full >= 0.5 ? "warn" : "");

export class Cores {
  #nodes = new Map();
  #arrows = new Map();

  constructor(place) {
    this.svg = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    this.svg.append(this.#markers());
    this.flows = svg("g", { class: "flows" });
    this.nodes = svg("g", { class: "nodes" });
    this.labels = svg("g", { class: "labels" });
    this.svg.append(this.flows, this.nodes, this.labels);
    place.append(this.svg);
  }

  #markers() {
    const defs = svg("defs");
    for (const name of ["in", "out", "flow", "warn", "bad"]) {
      const tip = svg("path", { d: "M0,0 L6,3 L0,6 Z", class: `tip-${name}` });
      defs.append(svg("marker", {
        id: `tip-${name}`, viewBox: "0 0 6 6", refX: 4, refY: 3, orient: "auto",
        markerWidth: 13, markerHeight: 13, markerUnits: "userSpaceOnUse",
      }, tip));
    }
    return defs;
  }

  show(data, sample) {
    const shards = data.shards;
    this.#arrange(shards.map((shard) => shard.id));
    const rates = new Map((sample?.shards ?? []).map((shard) => [shard.id, shard]));
    for (const shard of shards) this.#showNode(shard, rates.get(shard.id));
    this.#showFlows(sample?.shards ?? []);
    const words = shards.map((shard) => {
      const rate = rates.get(shard.id);
      const busy = rate ? percent(rate.busy) : "unknown";
      return `shard ${shard.id} ${busy} busy with ${shard.connections} connections`;
    });
    const shown = words.slice(0, 8).join(", ");
    set(this.svg, { "aria-label": `Cores and rings: ${shown}. The table has all figures.` });
  }

  #arrange(ids) {
    const key = ids.join(" ");
    if (this.arranged === key) return;
    this.arranged = key;
    this.nodes.replaceChildren();
    this.flows.replaceChildren();
    this.labels.replaceChildren();
    this.#nodes.clear();
    this.#arrows.clear();
    const many = ids.length;
    const radius = many <= 2 ? 50 : many <= 4 ? 44 : many <= 8 ? 32 : many <= 16 ? 24 : many <= 32 ? 15 : 9;
    const [rx, ry] = many === 1 ? [0, 0] : many === 2 ? [150, 0] : [180, 145];
    // One or two stand in a row, which needs no more height than that.
    set(this.svg, { viewBox: many <= 2 ? `0 ${MIDDLE.y - 110} ${WIDTH} 220` : `0 0 ${WIDTH} ${HEIGHT}` });
    ids.forEach((id, at) => {
      const angle = many === 2 ? Math.PI * (1 - at) : (2 * Math.PI * at) / many - Math.PI / 2;
      const x = MIDDLE.x + rx * Math.cos(angle);
      const y = MIDDLE.y + ry * Math.sin(angle);
      const away = many === 1 ? { x: -1, y: 0 } : { x: Math.cos(angle), y: Math.sin(angle) };
      this.#nodes.set(id, this.#node(id, { x, y, away, radius, many }));
    });
  }

  #node(id, spot) {
    const { x, y, away, radius, many } = spot;
    const round = 2 * Math.PI * (radius + 5);
    const node = { ...spot, round };
    node.gauge = svg("circle", {
      class: "gauge", cx: x, cy: y, r: radius + 5, transform: `rotate(-90 ${x} ${y})`,
      "stroke-dasharray": `0 ${round}`,
    });
    node.busy = svg("text", { class: "busy", x, y: y + 5 }, "–");
    node.label = svg("text", { class: "label", x, y: y + 23 });
    node.title = svg("title");
    const name = svg("text", { class: "label", x, y: y - 15 }, `core ${id}`);
    const disc = svg("circle", { class: "core", cx: x, cy: y, r: radius });
    const track = svg("circle", { class: "track", cx: x, cy: y, r: radius + 5 });
    const group = svg("g", {}, node.title, track, node.gauge, disc);
    if (many <= 8) group.append(name, node.busy, node.label);
    else if (many <= 32) group.append(svg("text", { class: "label", x, y: y + 4 }, String(id)));
    this.nodes.append(group);
    for (const [side, name] of [[1, "in"], [-1, "out"]]) {
      node[name] = this.#clientArrow(node, side, name);
    }
    return node;
  }

  /** The way between a core and its clients, outside of the circle. */
  #clientArrow({ x, y, away, radius, many }, side, name) {
    const across = { x: -away.y * side, y: away.x * side };
    const gap = Math.min(12, radius / 2);
    const length = many <= 8 ? 36 : 26;
    const at = (distance) => ({
      x: x + away.x * distance + across.x * gap,
      y: y + away.y * distance + across.y * gap,
    });
    const near = at(radius + 9);
    const far = at(radius + 9 + length);
    const [from, to] = name === "in" ? [far, near] : [near, far];
    const path = svg("path", {
      class: `client ${name}`, d: `M${from.x},${from.y}L${to.x},${to.y}`,
      "marker-end": `url(#tip-${name})`,
    });
    this.flows.append(path);
    let text = null;
    if (many <= 8) {
      const spot = at(radius + 9 + length + 10);
      const level = Math.abs(away.y) > 0.5;
      const anchor = level ? (across.x < 0 ? "end" : "start") : away.x < 0 ? "end" : "start";
      // Above and below the cores the two numbers stand beside their arrows, else one over the other.
      const place = level
        ? { x: at(0).x + across.x * 6, y: (near.y + far.y) / 2 + 4 }
        : { x: spot.x, y: spot.y + 4 + across.y * 2 };
      text = svg("text", { class: `rate ${name}`, "text-anchor": anchor, ...place });
      this.flows.append(text);
    }
    return { path, text };
  }

  #showNode(shard, rate) {
    const node = this.#nodes.get(shard.id);
    const busy = rate?.busy ?? 0;
    set(node.gauge, {
      "stroke-dasharray": `${(busy * node.round).toFixed(1)} ${node.round.toFixed(1)}`,
      class: `gauge ${busy > 0.95 ? "bad" : busy > 0.8 ? "warn" : ""}`,
    });
    write(node.busy, rate ? percent(busy) : "–");
    write(node.label, `${count(shard.connections)} conn`);
    write(node.title, `Shard ${shard.id}: ${rate ? percent(busy) : "–"} busy, `
      + `${shard.connections} connections, ${shard.subscriptions} subscriptions`);
    for (const name of ["in", "out"]) {
      const flow = rate?.[`${name}_msgs`] ?? 0;
      const { path, text } = node[name];
      set(path, { "stroke-width": width(flow) || 1, class: `client ${name} ${flow > 0 ? speed(flow) : "still"}` });
      if (text) write(text, flow > 0 ? `${count(flow)}/s` : "");
    }
  }

  #showFlows(shards) {
    const flows = shards.flatMap((shard) =>
      shard.lanes.map((lane) => ({ from: shard.id, ...lane })));
    const busy = flows.filter((flow) => flow.msgs > 0 || flow.full >= 0.5);
    busy.sort((a, b) => b.msgs - a.msgs);
    const shown = this.#nodes.size <= 4 ? flows : busy.slice(0, ARROWS_MAX);
    const seen = new Set();
    for (const flow of shown) {
      const key = `${flow.from} ${flow.to}`;
      seen.add(key);
      if (!this.#arrows.has(key)) this.#arrows.set(key, this.#arrow(flow));
      const { path, title, text } = this.#arrows.get(key);
      const hot = heat(flow.full);
      set(path, {
        "stroke-width": width(flow.msgs) || 1,
        class: `lane ${hot} ${flow.msgs > 0 ? speed(flow.msgs) : "still"}`,
        "marker-end": `url(#tip-${hot || "flow"})`,
      });
      write(title, `Shard ${flow.from} to ${flow.to}: ${count(flow.msgs)} messages/s, `
        + `ring ${percent(flow.full)} full at most`);
      if (text) write(text, flow.msgs > 0 ? `${count(flow.msgs)}/s` : "");
    }
    for (const [key, { group, text }] of this.#arrows) {
      if (seen.has(key)) continue;
      group.remove();
      text?.remove();
      this.#arrows.delete(key);
    }
  }

  #arrow({ from, to }) {
    const [a, b] = [this.#nodes.get(from), this.#nodes.get(to)];
    const [dx, dy] = [b.x - a.x, b.y - a.y];
    const length = Math.hypot(dx, dy) || 1;
    // Bent to one side, so that there and back don't lie on each other.
    const bend = Math.min(46, length * 0.16);
    const control = { x: (a.x + b.x) / 2 - (dy / length) * bend, y: (a.y + b.y) / 2 + (dx / length) * bend };
    const edge = (node, margin) => {
      const [ex, ey] = [control.x - node.x, control.y - node.y];
      const reach = (node.radius + margin) / (Math.hypot(ex, ey) || 1);
      return { x: node.x + ex * reach, y: node.y + ey * reach };
    };
    const [start, end] = [edge(a, 10), edge(b, 12)];
    const title = svg("title");
    const path = svg("path", {
      d: `M${start.x.toFixed(1)},${start.y.toFixed(1)}Q${control.x.toFixed(1)},${control.y.toFixed(1)} `
        + `${end.x.toFixed(1)},${end.y.toFixed(1)}`,
    });
    const group = svg("g", {}, title, path);
    let text = null;
    if (this.#nodes.size <= 4) {
      // Nearer to where it comes from: those that cross each other have their numbers apart.
      const t = this.#nodes.size === 2 ? 0.5 : 0.32;
      const on = (key) => (1 - t) ** 2 * start[key] + 2 * t * (1 - t) * control[key] + t ** 2 * end[key];
      const spot = { x: on("x"), y: on("y") };
      text = svg("text", { class: "rate flow", "text-anchor": "middle", x: spot.x, y: spot.y + 4 });
    }
    this.flows.append(group);
    if (text) this.labels.append(text);
    return { group, path, title, text };
  }
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
