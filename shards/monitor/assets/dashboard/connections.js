// The table of connections. The server searches, sorts and cuts; the page shows one part.

import { brief, byId, bytes, count, el, resize, say, span, whole } from "./text.js";

const EVERY_MS = 2000;
const TYPED_MS = 250;

/**
 * Key to sort by, title, class, text of a connection; `first` is the direction of the first click. What
 * is `less` gives way to the rates on a narrow screen.
 */
const COLUMNS = [
  { key: "cid", title: "Id", kind: "number" },
  { key: "name", title: "Name", kind: "name", text: (c) => c.name || "–" },
  { key: "addr", title: "Address", kind: "mono less", text: (c) => c.addr },
  { key: null, title: "Client", kind: "client less", text: (c) => [c.lang, c.version].filter(Boolean).join(" ") || "–" },
  { key: "shard", title: "Shard", kind: "number less", text: (c) => String(c.shard) },
  { key: "subs", title: "Subs", kind: "number", first: "desc", text: (c) => whole(c.subs) },
  { key: "in_rate", title: "In/s", kind: "number", first: "desc", open: true, text: (c) => count(c.in_rate) },
  { key: "out_rate", title: "Out/s", kind: "number", first: "desc", open: true, text: (c) => count(c.out_rate) },
  { key: "in_msgs", title: "In", kind: "number", first: "desc", text: (c) => count(c.in_msgs) },
  { key: "out_msgs", title: "Out", kind: "number", first: "desc", text: (c) => count(c.out_msgs) },
  { key: "pending", title: "Pending", kind: "number", first: "desc", open: true, text: (c) => bytes(c.pending_bytes) },
  { key: "rtt", title: "RTT", kind: "number", first: "desc", open: true, text: (c) => brief(c.rtt_ns) },
  { key: "idle", title: "Idle", kind: "number", open: true, text: (c) => span(c.idle_ns) },
  { key: "uptime", title: "Uptime", kind: "number", first: "desc", text: (c) => span(c.uptime_ns) },
  { key: "reason", title: "Why it closed", kind: "", closed: true, text: (c) => c.reason },
  { key: "stop", title: "When", kind: "number", first: "desc", closed: true, text: (c) => `${span(c.closed_ns)} ago` },
];

export class Connections {
  #query = { state: "open", sort: "cid", order: "asc", offset: 0, limit: 25, q: "" };
  #found = 0;
  #timer = null;
  #asked = 0;
  #typed = null;

  /** `isOn` tells whether the page is live. */
  constructor(isOn) {
    this.isOn = isOn;
    this.#head();
    byId("search").addEventListener("input", () => {
      clearTimeout(this.#typed);
      this.#typed = setTimeout(() => this.#change({ q: byId("search").value.trim(), offset: 0 }), TYPED_MS);
    });
    document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
    byId("state").addEventListener("change", (event) => this.#setState(event.target.value));
    byId("limit").addEventListener("change", (event) =>
      this.#change({ limit: Number(event.target.value), offset: 0 }));
    const step = (id, to) => byId(id).addEventListener("click", () => {
      const { offset, limit } = this.#query;
      const last = Math.max(0, Math.ceil(this.#found / limit) - 1) * limit;
      this.#change({ offset: Math.min(last, Math.max(0, to(offset, limit, last))) });
    });
    step("first", () => 0);
    step("previous", (offset, limit) => offset - limit);
    step("next", (offset, limit) => offset + limit);
    step("last", (offset, limit, last) => last);
    byId("table").tBodies[0].addEventListener("click", (event) => {
      const button = event.target.closest("button.id");
      if (button) this.#detail(Number(button.textContent));
    });
  }

  start() {
    this.now();
  }

  async now() {
    clearTimeout(this.#timer);
    if (this.isOn() && !document.hidden) await this.#load();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.now(), EVERY_MS);
  }

  #columns() {
    const closed = this.#query.state === "closed";
    return COLUMNS.filter((column) => (closed ? !column.open : !column.closed));
  }

  #head() {
    const row = byId("table").tHead.rows[0];
    row.replaceChildren(...this.#columns().map((column) => {
      const inside = column.key ? el("button", { type: "button" }, column.title) : column.title;
      const th = el("th", { scope: "col", class: column.kind }, inside);
      if (column.key) inside.addEventListener("click", () => this.#sort(column));
      return th;
    }));
    this.#arrows();
  }

  #arrows() {
    const { sort, order } = this.#query;
    this.#columns().forEach((column, at) => {
      if (!column.key) return;
      const word = order === "asc" ? "ascending" : "descending";
      byId("table").tHead.rows[0].cells[at].setAttribute("aria-sort", column.key === sort ? word : "none");
    });
  }

  #sort({ key, first = "asc" }) {
    const { sort, order } = this.#query;
    const other = order === "asc" ? "desc" : "asc";
    this.#change({ sort: key, order: key === sort ? other : first, offset: 0 });
  }

  #setState(state) {
    const sort = state === "closed" ? { sort: "stop", order: "desc" } : { sort: "cid", order: "asc" };
    Object.assign(this.#query, { state, offset: 0, ...sort });
    byId("table").tBodies[0].replaceChildren();
    this.#head();
    this.#change({});
  }

  async #change(changes) {
    Object.assign(this.#query, changes);
    this.#arrows();
    await this.#load();
    const { sort, order } = this.#query;
    const title = COLUMNS.find((column) => column.key === sort).title;
    const word = order === "asc" ? "ascending" : "descending";
    say(byId("announce"), `${byId("range").textContent}, sorted by ${title}, ${word}`);
  }

  async #load() {
    const asked = ++this.#asked;
    try {
      const answer = await ask(this.#query);
      // A later question may have been answered already.
      if (asked === this.#asked) this.#show(answer);
    } catch {
      // The feed says when the server is lost.
    }
  }

  #show({ total, found, offset, limit, connections }) {
    this.#found = found;
    if (offset >= found && offset > 0) return this.#change({ offset: 0 });
    const columns = this.#columns();
    const make = () => el("tr", {}, ...columns.map((column) => {
      const td = el("td", { class: column.kind });
      if (column.key === "cid") td.append(el("button", { type: "button", class: "id" }));
      return td;
    }));
    const rows = resize(byId("table").tBodies[0], connections.length, make);
    rows.forEach((row, at) => {
      const it = connections[at];
      columns.forEach((column, index) => {
        const cell = row.cells[index];
        if (column.key === "cid") say(cell.firstElementChild, String(it.cid));
        else say(cell, column.text(it));
        if (column.key === "name") cell.title = it.name;
        if (column.key === "pending") cell.classList.toggle("warn-text", it.pending_bytes > 1e6);
      });
    });
    const { state, q } = this.#query;
    const range = found === 0
      ? q ? `No ${state} connection matches “${q}”` : `No ${state} connections`
      : `${whole(offset + 1)}–${whole(offset + connections.length)} of ${whole(found)}`;
    say(byId("range"), range);
    say(byId("connections-count"), q ? `${whole(found)} of ${whole(total)} ${state}` : `${whole(total)} ${state}`);
    byId("first").disabled = byId("previous").disabled = offset === 0;
    byId("next").disabled = byId("last").disabled = offset + limit >= found;
  }

  async #detail(cid) {
    const state = this.#query.state;
    let it;
    try {
      const response = await fetch(`connz?cid=${cid}&subs=detail&auth=1&state=${state}`, { cache: "no-store" });
      it = (await response.json()).connections?.[0];
    } catch {
      return;
    }
    say(byId("detail-title"), `Connection ${cid}`);
    const fields = it ? Object.entries(it).filter(([, value]) => typeof value !== "object") : [];
    byId("detail-fields").replaceChildren(...fields.map(([key, value]) =>
      el("div", {}, el("dt", {}, key.replaceAll("_", " ")), el("dd", {}, String(value)))));
    const subs = it?.subscriptions_list_detail ?? [];
    const head = el("tr", {}, ...["Subject", "Queue", "Sid", "Messages"].map((text) => el("th", { scope: "col" }, text)));
    const rows = subs.slice(0, 500).map((sub) => el("tr", {},
      el("td", { class: "mono" }, sub.subject), el("td", {}, sub.qgroup ?? ""),
      el("td", {}, sub.sid), el("td", { class: "number" }, whole(sub.msgs))));
    const list = subs.length > 0
      ? el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows))
      : el("p", { class: "empty" }, it ? "None." : "This connection is gone.");
    byId("detail-subs").replaceChildren(list);
    byId("detail").showModal();
  }
}

export async function ask(query) {
  const response = await fetch(`dashboard/connections?${new URLSearchParams(query)}`, {
    signal: AbortSignal.timeout(8000), cache: "no-store",
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.json();
}
