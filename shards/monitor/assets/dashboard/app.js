// What the page is made of, put together.

import { Chart } from "./charts.js";
import { Connections, ask } from "./connections.js";
import { Cores } from "./cores.js";
import { Feed } from "./feed.js";
import * as panels from "./panels.js";
import { byId, bytes, clock, count, say, span } from "./text.js";

const SLOW_EVERY_MS = 5000;

const feed = new Feed();
const msgs = new Chart(byId("chart-msgs"), "Messages per second", ["in_msgs", "out_msgs"], count);
const volume = new Chart(byId("chart-bytes"), "Bytes per second", ["in_bytes", "out_bytes"], bytes);
const cores = new Cores(byId("picture"));
const connections = new Connections(() => !feed.paused && feed.failures === 0);
let seconds = 120;
let slowAt = 0;

function draw() {
  msgs.show(feed.samples, seconds);
  volume.show(feed.samples, seconds);
}

function state(name, text) {
  document.body.dataset.state = name;
  say(byId("status-text"), text);
}

async function refreshSlow() {
  if (Date.now() - slowAt < SLOW_EVERY_MS) return;
  slowAt = Date.now();
  try {
    const most = { state: "open", sort: "pending", order: "desc", limit: 5 };
    const slow = { state: "closed", q: "slow consumer", sort: "stop", order: "desc", limit: 8 };
    const [behind, closed] = await Promise.all([ask(most), ask(slow)]);
    panels.showSlowLists(behind.connections, closed.connections);
  } catch {
    // The feed says when the server is lost.
  }
}

feed.addEventListener("data", ({ detail: { data, sample } }) => {
  const { server } = data;
  const shown = sample ?? feed.samples.findLast((it) => it);
  document.title = server.name;
  say(byId("server-name"), server.name);
  const up = span((server.now_ms - server.start_ms) * 1e6);
  say(byId("server-line"), `ringbus, nats-server ${server.version} · ${server.host}:${server.port} · up ${up}`);
  byId("lost").hidden = true;
  state("live", "Live");
  panels.showTiles(data, shown);
  panels.showShards(data, shown);
  cores.show(data, shown);
  panels.showLatency(data);
  panels.showSubjects(data);
  panels.showSlow(data);
  panels.showCluster(data);
  draw();
  refreshSlow();
});

feed.addEventListener("back", ({ detail: { restarted } }) => {
  state("live", restarted ? "Live again: the server was restarted" : "Live again");
  connections.now();
});

function showLost() {
  if (feed.failures === 0) return;
  const since = feed.heardAt ? `The figures are of ${clock(feed.heardAt)}.` : "There are no figures yet.";
  const wait = Math.max(0, Math.ceil((feed.retryAt - Date.now()) / 1000));
  say(byId("lost-text"), since);
  say(byId("retry"), wait > 0 ? `Try now, or in ${wait} s` : "Trying…");
}

feed.addEventListener("lost", () => {
  state("lost", "Server lost");
  document.title = `Lost: ${feed.last?.server.name ?? "ringbus"}`;
  byId("lost").hidden = false;
  showLost();
  draw();
});
setInterval(showLost, 500);

byId("retry").addEventListener("click", () => feed.now());

byId("pause").addEventListener("click", ({ currentTarget: button }) => {
  const paused = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(paused));
  feed.pause(paused);
  if (paused) state("paused", "Paused");
  else connections.now();
});

byId("window").addEventListener("change", (event) => {
  seconds = Number(event.target.value);
  draw();
});

const theme = document.documentElement.dataset.theme ?? "auto";
document.querySelector(`#theme input[value="${theme}"]`).checked = true;
byId("theme").addEventListener("change", ({ target: { value } }) => {
  if (value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = value;
  try {
    localStorage.setItem("ringbus-theme", value);
  } catch {
    // Then it lasts until the page is closed.
  }
});

draw();
feed.start();
connections.start();
