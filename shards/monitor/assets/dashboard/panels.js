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
    ...Array.from({ length: 11 }, () => el("td", { class: "number" })));
  const rows = resize(byId("shards").tBodies[0], data.shards.length, make);
  rows.forEach((row, at) => {
    const shard = data.shards[at];
    const rate = rates.get(shard.id);
    const full = Math.max(0, ...shard.lanes.map((lane) => (lane.ring_max ? lane.ring_peak / lane.ring_max : 0)));
    const texts = [
      String(shard.id), rate ? percent(rate.busy) : "–", whole(shard.connections),
      whole(shard.subscriptions), count(rate?.in_msgs), count(rate?.out_msgs), count(rate?.forwarded),
      rate?.batch ? rate.batch.toFixed(1) : "–", shard.lanes.length ? percent(full) : "–",
      count(shard.congested), count(rate?.wakes), brief(shard.latency.p99_ns),
    ];
    texts.forEach((text, column) => say(row.children[column], text));
    row.children[1].className = `number ${rate?.busy > 0.95 ? "bad-text" : rate?.busy > 0.8 ? "warn-text" : ""}`;
    row.children[8].className = `number ${full >= 0.95 ? "bad-text" : full >= 0.5 ? "warn-text" : ""}`;
  });
}

const QUANTILES = [["p50_ns", "p50"], ["p90_ns", "p90"], ["p99_ns", "p99"], ["p999_ns", "p99.9"], ["max_ns", "Longest"]];
const DECADES = ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"];

/** On a scale from the first of the decades to the last, percent. */
const place = (ns) =>
  100 * Math.min(1, Math.max(0.01, Math.log10(Math.max(1, ns) / 1e3) / (DECADES.length - 1)));

export function showLatency(data) {
  const body = byId("latency-body");
  const { latency } = data;
  if (latency.p50_ns === null) {
    const text = latency.count > 0
      ? "Nothing was delivered in the last minute."
      : "Nothing has been delivered yet.";
    if (body.textContent !== text) body.replaceChildren(el("p", { class: "empty" }, text));
    return;
  }
  if (!body.querySelector(".tail")) body.replaceChildren(...tail());
  const rows = body.querySelector("tbody").rows;
  QUANTILES.forEach(([key], at) => {
    const [, value, bar] = rows[at].cells;
    say(value, brief(latency[key]));
    bar.firstElementChild.style.width = `${place(latency[key]).toFixed(1)}%`;
  });
  const text = "All deliveries of the last minute or two, receivers that are slow included. "
    + `${count(latency.count)} since start.`;
  say(body.querySelector(".note"), text);
}

function tail() {
  const row = ([, name]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "number" }),
    el("td", { class: "bar", "aria-hidden": "true" }, el("span", { class: "fill" })));
  const axis = el("tr", { "aria-hidden": "true" }, el("td"), el("td"),
    el("td", { class: "axis" }, ...DECADES.map((text) => el("span", {}, text))));
  return [
    el("table", { class: "tail" },
      el("caption", { class: "hidden" }, "Latency inside the server, by share of the deliveries"),
      el("tbody", {}, ...QUANTILES.map(row)), el("tfoot", {}, axis)),
    el("p", { class: "note muted" }),
  ];
}

export function showSubjects(data) {
  const body = byId("subjects-body");
  const { subjects } = data;
  if (!subjects?.length) {
    const text = subjects
      ? "Nothing was published in the last seconds."
      : "This server is told not to sample subjects: metrics { top_subjects: 0 }.";
    if (body.textContent !== text) body.replaceChildren(el("p", { class: "empty" }, text));
    return;
  }
  // Accounts are told apart only where there are several.
  const several = new Set(subjects.map((it) => it.account)).size > 1;
  const heads = ["Subject", ...(several ? ["Account"] : []), "Msgs/s", "Bytes/s"];
  const caption = "Where clients publish most, estimated from samples";
  const rows = subjects.map((it) =>
    [it.subject, ...(several ? [it.account] : []), count(it.msgs), bytes(it.bytes)]);
  table(body, caption, heads, rows).forEach((row, at) => {
    row.classList.add("share");
    row.style.setProperty("--share", `${((100 * subjects[at].msgs) / subjects[0].msgs).toFixed(1)}%`);
    const name = row.cells[0];
    name.title = subjects[at].subject;
    // A line may end after a token.
    if (name.childElementCount === 0) {
      const tokens = subjects[at].subject.split(/(?<=\.)/);
      name.replaceChildren(...tokens.flatMap((token, place) => (place > 0 ? [el("wbr"), token] : [token])));
    }
  });
}

const REASONS = [
  ["Too much pending", "pending_bytes", "closed"], ["Write deadline", "write_deadline", "closed"],
  ["No answer to PING", "stale", "closed"], ["Publishers slowed", "stalls", "times"],
  ["Behind", "dropped_behind", "dropped"], ["No queue member", "dropped_no_member", "dropped"],
  ["Responses", "dropped_responses", "dropped"], ["Server's own", "dropped_internal", "dropped"],
];

export function showSlow(data) {
  const make = () => el("div", {}, el("dt"), el("dd", { class: "value" }), el("dd", { class: "note" }));
  resize(byId("slow-counts"), REASONS.length, make).forEach((item, at) => {
    const [name, key, what] = REASONS[at];
    say(item.children[0], name);
    say(item.children[1], whole(data.slow[key]));
    say(item.children[2], what);
    item.className = data.slow[key] > 0 ? "warn" : "";
  });
}

/** As much waits for a receiver that keeps up, too. */
const BEHIND_BYTES_MIN = 256 * 1024;

/** `behind` are open connections, those with most waiting first; `closed` are closed, newest first. */
export function showSlowLists(behind, closed) {
  const waiting = behind.filter((it) => it.pending_bytes >= BEHIND_BYTES_MIN);
  const rows = waiting.map((it) => [String(it.cid), it.name || it.addr, bytes(it.pending_bytes)]);
  tableOr(byId("slow-now"), "Behind now", ["Id", "Client", "Pending"], rows, "Nobody is behind now.");
  const old = closed.map((it) =>
    [String(it.cid), it.name || it.addr, reason(it.reason), `${span(it.closed_ns)} ago`]);
  tableOr(byId("slow-list"), "Closed as slow consumers, newest first", ["Id", "Client", "Why", "When"], old,
    "No connection was closed as a slow consumer.");
}

const reason = (text) => text.replace("Slow Consumer (", "").replace(")", "");

function tableOr(body, caption, heads, rows, empty) {
  if (rows.length > 0) return table(body, caption, heads, rows);
  if (body.textContent !== empty) body.replaceChildren(el("p", { class: "empty" }, empty));
}

/** Numbers are in columns whose heads are a rate, an amount or a time. Gives its rows. */
function table(body, caption, heads, rows) {
  const kinds = heads.map((head) => (/\/s$|Pending|When/.test(head) ? "number" : ""));
  const known = body.querySelector("table");
  if (!known || known.dataset.heads !== heads.join()) {
    const head = el("tr", {}, ...heads.map((text, at) => el("th", { scope: "col", class: kinds[at] }, text)));
    body.replaceChildren(el("table", { "data-heads": heads.join() },
      el("caption", {}, caption), el("thead", {}, head), el("tbody")));
  }
  const make = () => el("tr", {}, el("th", { scope: "row", class: "name" }),
    ...kinds.slice(1).map((kind) => el("td", { class: kind || "name" })));
  const shown = resize(body.querySelector("tbody"), rows.length, make);
  shown.forEach((row, at) => rows[at].forEach((text, column) => say(row.cells[column], text)));
  return shown;
}

export function showCluster(data) {
  const body = byId("cluster-body");
  const text = `There is no cluster: ${data.server.name} runs alone.`;
  if (body.dataset.shown === text) return;
  body.dataset.shown = text;
  const picture = svg("svg", { viewBox: "0 0 90 40", "aria-hidden": "true" },
    svg("circle", { class: "core", cx: 20, cy: 20, r: 14 }), svg("circle", { class: "gauge", cx: 20, cy: 20, r: 14 }),
    svg("path", { class: "client still", d: "M40,20H60" }), svg("circle", { class: "track still", cx: 74, cy: 20, r: 10 }));
  body.replaceChildren(el("div", { class: "alone" }, picture,
    el("p", {}, el("strong", {}, text), el("br"),
      el("span", { class: "muted" }, "This server has no routes, gateways or leafnodes yet."))));
}
