// The tiles, the table of shards, latency, subjects, slow consumers, the cluster.

import { brief, byId, bytes, count, el, percent, resize, say, span, svg, whole } from "./text.js";

const TILES = [
  ["Connections", (d) => [whole(d.totals.connections), `${whole(d.totals.connections_total)} since start`]],
  ["Subscriptions", (d) => [whole(d.totals.subscriptions), ""]],
  ["Fan-out", (d, s) => {
    const out = s && s.in_msgs > 0 ? s.out_msgs / s.in_msgs : null;
    return [out === null ? "–" : `× ${out < 10 ? out.toFixed(1) : count(out)}`, "deliveries per message"];
  }],
  ["CPU", (d) => [`${Math.round(d.process.cpu_percent)} %`, `of ${100 * d.server.cores} % on ${d.server.cores} cores`]],
  ["Memory", (d) => [bytes(d.process.mem_bytes), "resident"]],
  ["Busiest shard", (d, s) => {
    if (!s) return ["–", ""];
    const top = s.shards.reduce((a, b) => (b.busy > a.busy ? b : a));
    const level = top.busy > 0.95 ? "bad" : top.busy > 0.8 ? "warn" : "";
    return [percent(top.busy), `shard ${top.id}`, level];
  }],
  ["Slow consumers", (d) => {
    const many = d.slow.pending_bytes + d.slow.write_deadline;
    return [whole(many), "closed since start", many > 0 ? "warn" : ""];
  }],
];

export function showTiles(data, sample) {
  const make = () => el("div", {}, el("dt"), el("dd", { class: "value" }), el("dd", { class: "note" }));
  resize(byId("tiles"), TILES.length, make).forEach((tile, at) => {
    const [name, read] = TILES[at];
    const [value, note, level] = read(data, sample);
    const [dt, dd, small] = tile.children;
    say(dt, name);
    say(dd, value);
    say(small, note);
    tile.className = level ?? "";
  });
}

export function showShards(data, sample) {
  const rates = new Map((sample?.shards ?? []).map((shard) => [shard.id, shard]));
  const make = () => el("tr", {}, el("th", { scope: "row" }),
    ...Array.from({ length: 9 }, () => el("td", { class: "number" })));
  const rows = resize(byId("shards").tBodies[0], data.shards.length, make);
  rows.forEach((row, at) => {
    const shard = data.shards[at];
    const rate = rates.get(shard.id);
    const full = Math.max(0, ...shard.lanes.map((lane) => (lane.ring_max ? lane.ring_peak / lane.ring_max : 0)));
    const texts = [
      String(shard.id), rate ? percent(rate.busy) : "–", whole(shard.connections),
      whole(shard.subscriptions), count(rate?.in_msgs), count(rate?.out_msgs), count(rate?.forwarded),
      shard.lanes.length ? percent(full) : "–", count(rate?.wakes), count(shard.congested),
    ];
    texts.forEach((text, column) => say(row.children[column], text));
    row.children[1].className = `number ${rate?.busy > 0.95 ? "bad-text" : rate?.busy > 0.8 ? "warn-text" : ""}`;
    row.children[7].className = `number ${full >= 0.95 ? "bad-text" : full >= 0.5 ? "warn-text" : ""}`;
  });
}

const QUANTILES = [["p50_ns", "p50"], ["p90_ns", "p90"], ["p99_ns", "p99"], ["p999_ns", "p99.9"], ["max_ns", "max"]];

/** On a scale from 1 µs to 10 s. */
const place = (ns) => Math.min(1, Math.max(0, Math.log10(Math.max(1, ns) / 1e3) / 7));

export function showLatency(data) {
  const body = byId("latency-body");
  const latency = data.latency;
  if (!latency || !latency.count) {
    const text = latency
      ? "No message was timed yet."
      : "This server doesn't time messages inside itself. Round trips are in the table of connections.";
    if (body.textContent !== text) body.replaceChildren(el("p", { class: "empty" }, text));
    return;
  }
  const make = () => el("div", {}, el("span"), el("meter", { min: "0", max: "1" }), el("strong", { class: "number" }));
  if (!body.querySelector(".bars")) body.replaceChildren(el("div", { class: "bars" }));
  resize(body.firstElementChild, QUANTILES.length, make).forEach((bar, at) => {
    const [key, name] = QUANTILES[at];
    say(bar.children[0], name);
    bar.children[1].value = place(latency[key]);
    bar.children[1].setAttribute("aria-label", `${name}: ${brief(latency[key])}`);
    say(bar.children[2], brief(latency[key]));
  });
}

export function showSubjects(data) {
  const body = byId("subjects-body");
  const subjects = data.subjects;
  if (!subjects) {
    const text = "This server doesn't count messages by subject.";
    if (body.textContent !== text) body.replaceChildren(el("p", { class: "empty" }, text));
    return;
  }
  const rows = subjects.map((subject) => [subject.subject, count(subject.rate), count(subject.msgs)]);
  table(body, "Subjects with the most messages", ["Subject", "Msgs/s", "Messages"], rows, "No messages yet.");
}

const REASONS = [
  ["Too much pending", "pending_bytes"], ["Write deadline", "write_deadline"], ["Stale", "stale"],
  ["Publisher stalls", "stalls"], ["Dropped behind", "dropped_behind"],
];

export function showSlow(data) {
  const make = () => el("div", {}, el("dt"), el("dd"));
  resize(byId("slow-counts"), REASONS.length, make).forEach((item, at) => {
    const [name, key] = REASONS[at];
    say(item.children[0], name);
    say(item.children[1], whole(data.slow[key]));
  });
}

/** `closed` are closed connections, newest first. */
export function showSlowList(closed) {
  const rows = closed.map((it) => [
    String(it.cid), it.name || it.addr, it.reason.replace("Slow Consumer ", ""), `${span(it.closed_ns)} ago`,
  ]);
  table(byId("slow-list"), "Closed as slow consumers, newest first", ["Id", "Client", "Why", "When"], rows,
    "No connection was closed as a slow consumer.");
}

function table(body, caption, heads, rows, empty) {
  if (rows.length === 0) {
    if (body.textContent !== empty) body.replaceChildren(el("p", { class: "empty" }, empty));
    return;
  }
  if (!body.querySelector("table")) {
    const head = el("tr", {}, ...heads.map((text) => el("th", { scope: "col" }, text)));
    body.replaceChildren(el("table", {}, el("caption", {}, caption), el("thead", {}, head), el("tbody")));
  }
  const make = () => el("tr", {}, el("th", { scope: "row" }), ...heads.slice(1).map(() => el("td")));
  resize(body.querySelector("tbody"), rows.length, make).forEach((row, at) => {
    rows[at].forEach((text, column) => say(row.children[column], text));
  });
}

export function showCluster(data) {
  const body = byId("cluster-body");
  const text = `${data.server.name} runs alone.`;
  if (body.dataset.shown === text) return;
  body.dataset.shown = text;
  const picture = svg("svg", { viewBox: "0 0 90 40", "aria-hidden": "true" },
    svg("circle", { class: "core", cx: 20, cy: 20, r: 14 }), svg("circle", { class: "gauge", cx: 20, cy: 20, r: 14 }),
    svg("path", { class: "client still", d: "M40,20H60" }), svg("circle", { class: "track still", cx: 74, cy: 20, r: 10 }));
  body.replaceChildren(el("div", { class: "alone" }, picture,
    el("p", {}, el("strong", {}, text), el("br"),
      el("span", { class: "muted" }, "Its routes, gateways and leafnodes are drawn here once it has some."))));
}
