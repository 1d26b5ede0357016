"use strict";
// Draws what the stream of events tells. Texts are set as texts: nothing in them is markup.
const runs = new Map();
const by = (id) => document.getElementById(id);
const CURVES = 12, WIDTH = 720, HEIGHT = 260, LEFT = 44, BOTTOM = 24;
const SVG = "http://www.w3.org/2000/svg";
let order = 0, chosen = null, study = {}, heard = 0, connected = false, drawing = false;

const losses = (run) => run.rows.map((row) => row.val_loss).filter((loss) => loss !== null);
const best = (run) => run.rows.reduce(
  (a, b) => (b.val_loss !== null && (!a || b.val_loss < a.val_loss) ? b : a), null);
const shown = () => [...runs.values()]
  .filter((run) => run.judged || by("pilots").checked)
  .sort((a, b) => b.order - a.order);

function element(name, text, parent) {
  const made = document.createElement(name);
  made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function drawn(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

function path(values, x, y) {
  return values.map((v, i) => `${i ? "L" : "M"}${x(i).toFixed(1)},${y(v).toFixed(1)}`).join("");
}

function spark(values, parent) {
  const svg = drawn("svg", { class: "spark", viewBox: "0 0 100 20", "aria-hidden": "true",
    preserveAspectRatio: "none" }, parent);
  const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
  const x = (i) => (values.length > 1 ? (100 * i) / (values.length - 1) : 0);
  if (values.length > 1) drawn("path", { d: path(values, x, (v) => 19 - (18 * (v - low)) / span) },
    svg);
}

function row(run) {
  const made = document.createElement("tr");
  made.dataset.run = run.id;
  if (run.id === chosen) made.className = "on";
  const button = element("button", run.network, element("td", "", made));
  button.type = "button";
  button.setAttribute("aria-pressed", String(run.id === chosen));
  button.addEventListener("click", () => { chosen = chosen === run.id ? null : run.id; later(); });
  const last = run.rows.at(-1), lowest = best(run);
  element("td", run.seed, made);
  element("td", `${last ? last.epoch : 0} of ${run.epochs}`, made);
  spark(losses(run), element("td", "", made));
  element("td", lowest ? lowest.val_loss.toFixed(3) : "–", made);
  const right = lowest && lowest.val_accuracy;
  element("td", typeof right === "number" ? `${(100 * right).toFixed(1)} %` : "–", made);
  element("td", run.status || "running", made);
  return made;
}

function curves() {
  const svg = by("curves");
  const some = chosen ? [runs.get(chosen)] : shown().slice(0, CURVES);
  const lines = some.filter((run) => run && losses(run).length);
  svg.replaceChildren();
  if (!lines.length) return;
  const all = lines.flatMap(losses), low = Math.min(...all), high = Math.max(...all);
  const most = Math.max(...lines.map((run) => losses(run).length), 2), span = high - low || 1;
  const x = (i) => LEFT + ((WIDTH - LEFT - 8) * i) / (most - 1);
  const y = (v) => 8 + ((HEIGHT - BOTTOM - 16) * (high - v)) / span;
  for (const run of lines) {
    const line = drawn("path", { d: path(losses(run), x, y) }, svg);
    drawn("title", {}, line).textContent = `${run.network}, seed ${run.seed}`;
  }
  for (const value of [low, high])
    drawn("text", { x: 0, y: y(value) + 4 }, svg).textContent = value.toFixed(3);
  drawn("text", { x: LEFT, y: HEIGHT - 4 }, svg).textContent = "1";
  drawn("text", { x: WIDTH - 30, y: HEIGHT - 4 }, svg).textContent = String(most);
  const range = `from ${low.toFixed(3)} to ${high.toFixed(3)}`;
  svg.setAttribute("aria-label", `Validation loss by epoch of ${lines.length} runs, ${range}`);
}

function state() {
  const every = [...runs.values()], ended = every.filter((run) => run.status).length;
  const parts = [`${ended} of ${every.length} runs so far have ended`];
  if (study.complete) parts.push("the study is complete");
  else if (heard) parts.push(`the last news ${Math.round((Date.now() - heard) / 1000)} s ago`);
  if (!connected) parts.push("the connection is lost: is convscope watch still there?");
  by("state").textContent = parts.join("; ");
}

function draw() {
  drawing = false;
  by("rows").replaceChildren(...shown().map(row));
  curves();
  state();
}

function later() {
  if (!drawing) requestAnimationFrame(draw);
  drawing = true;
}

function news(run) {
  run.order = ++order;
  heard = Date.now();
  later();
}

const source = new EventSource("events");
const on = (kind, act) => source.addEventListener(kind, (event) => act(JSON.parse(event.data)));
source.addEventListener("open", () => { connected = true; state(); });
source.addEventListener("error", () => { connected = false; state(); });
on("hello", () => { runs.clear(); later(); });
on("study", (about) => {
  study = about;
  by("name").textContent = about.data ? `${about.data}, ${about.preset}` : about.folder;
  document.title = `${by("name").textContent} · convscope`;
  by("command").textContent = about.command || "";
  later();
});
on("run", (run) => { runs.set(run.id, run); news(run); });
on("epoch", ({ id, row }) => {
  const run = runs.get(id);
  if (run) { run.rows.push(row); news(run); }
});
on("ended", ({ id, status }) => {
  const run = runs.get(id);
  if (run) { run.status = status; news(run); }
});
on("report", ({ written }) => {
  by("report").hidden = false;
  by("frame").src = `report.html?${written}`;
});
by("pilots").addEventListener("change", later);
setInterval(state, 1000);
