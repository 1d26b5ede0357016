"use strict";
// The playground's controls, its diagram, and the scatter of the study's networks.
window.convscope = window.convscope || {};
document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("pg-form");
  if (!form) return;
  const { network, defaults, svg, html, short, table, plot, keepDrawn } = window.convscope;
  const data = JSON.parse(document.getElementById("playground-data").textContent);
  const at = (id) => document.getElementById(`pg-${id}`);
  const fields = form.elements;
  const LISTS = ["pool_sizes", "dilations", "hidden"];
  const MOST_MAPS = 12; // of the diagram
  const MOST_ROWS = 300; // of the table
  const count = (n) => n.toLocaleString("en-US");
  const bytes = (n) => (n < 1024 ? `${n} B` : n < 1048576
    ? `${(n / 1024).toPrecision(3)} KiB` : `${(n / 1048576).toPrecision(3)} MiB`);
  let others = {}; // settings of a studied network that have no control here

  // "2+2, 8" as [2, 2, 8]; a text that is no list of numbers becomes NaN, which is refused
  const numbers = (text) => text.split(/[\s,+;]+/).filter(Boolean).map(Number);

  function settings() {
    const spec = { ...others };
    for (const key of Object.keys(defaults)) {
      const field = fields[key];
      if (!field) continue;
      if (LISTS.includes(key)) spec[key] = numbers(field.value);
      else if (field.type === "checkbox") spec[key] = field.checked;
      else spec[key] = field.type === "number" ? field.valueAsNumber : field.value;
    }
    // an order needs a flattened vector: the head was changed since
    if (spec.head !== "flatten") delete spec.order;
    return spec;
  }

  function take(model, shape = data.shape, classes = data.classes) {
    const spec = { ...defaults, ...model };
    others = {};
    for (const [key, value] of Object.entries(spec)) {
      const field = fields[key];
      if (!field) others[key] = value;
      else if (field.type === "checkbox") field.checked = value;
      else field.value = Array.isArray(value) ? value.join("+") : value;
    }
    [fields.channels.value, fields.height.value, fields.columns.value] = shape;
    fields.classes.value = classes;
    update();
  }

  function update() {
    const shape = ["channels", "height", "columns"].map((key) => fields[key].valueAsNumber);
    let found = null, why = "";
    try {
      found = network(settings(), shape, fields.classes.valueAsNumber);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      why = error.message;
    }
    at("error").hidden = Boolean(found);
    at("error").textContent = why;
    at("shown").hidden = at("sums").hidden = !found;
    if (found) {
      showSums(found, shape);
      at("diagram").replaceChildren(diagram(found, shape, fields.classes.valueAsNumber));
      showLayers(found);
    }
    window.convscope.playing = found;
    drawScatter();
  }

  function showSums(found, shape) {
    const convolutions = found.layers.filter((row) => /Conv2d|Whiten/.test(row.kind)).length;
    const field = found.field.join("×");
    const wide = found.whole || found.field.every((size, i) => size >= shape[i + 1]);
    const sums = [["parameters", count(found.parameters),
      `${bytes(4 * found.parameters)} as float32`],
      ["FLOPs of one image", short(found.flops), count(found.flops)],
      ["activations, at least", bytes(found.peak), `at ${found.peakAt}`],
      ["receptive field", `${found.field[0] === found.field[1] ? found.field[0] : field} px`,
        wide ? "the whole image" : `of ${shape.slice(1).join("×")}, before the head`],
      ["filters", count(found.filters),
        `${convolutions} convolution${convolutions > 1 ? "s" : ""}${found.fixed}`]];
    at("sums").replaceChildren(...sums.map(([word, value, more]) => html("div", {},
      html("dt", {}, word), html("dd", {}, value, html("small", {}, more)))));
  }

  // Feature maps from left to right, each a square with some depth behind it.
  function diagram(found, shape, classes) {
    const maps = [{ title: "image", shape }, ...found.stages];
    const left = Math.max(0, maps.length - MOST_MAPS);
    if (left) maps.splice(MOST_MAPS - 1, left, { title: `… ${left} more`, shape: null });
    const largest = Math.max(...shape.slice(1)), step = 104, height = 196, middle = 84;
    const width = step * (maps.length + 1) + 20;
    const words = `${maps.filter((map) => map.shape).map((map) =>
      `${map.title} ${map.shape.join("×")}`).join(", ")}, ${classes} classes`;
    const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": words }, svg("title", {}, "The network's feature maps"),
      svg("desc", {}, words));
    const text = (x, y, words, kind) => picture.append(
      svg("text", { x, y, "text-anchor": "middle", class: kind }, words));
    maps.forEach((map, i) => {
      const x = step * i + step / 2 + 6;
      if (i) picture.append(svg("path", { class: "pg-arrow",
        d: `M${x - step / 2 - 8} ${middle}h16m-5 -4l5 4l-5 4` }));
      text(x, 14, map.title, "pg-title");
      if (!map.shape) return;
      const [channels, rows, columns] = map.shape;
      const scale = (side) => 10 + 58 * Math.sqrt(side / largest);
      const w = scale(columns), h = scale(rows), deep = 2 + 2.2 * Math.log2(channels);
      const corner = [x - (w + deep) / 2, middle - (h - deep) / 2];
      for (const k of [1, 0.5, 0]) { // the sheets behind, then the one in front
        picture.append(svg("rect", { x: corner[0] + deep * k, y: corner[1] - deep * k, width: w,
          height: h, rx: 2, class: i ? "pg-map" : "pg-map pg-image" }));
      }
      if (!i) frames(picture, found, shape, corner, [w, h]);
      text(x, 154, `${count(channels)} × ${rows}×${columns}`, "pg-size");
      const field = map.field && (map.whole ? "sees all" :
        `sees ${map.field[0] === map.field[1] ? map.field[0] : map.field.join("×")} px`);
      text(x, 171, field || "", "pg-note");
      const block = found.spec.pools[i - found.stages.length + found.spec.depth - 1];
      if (i && map.title.startsWith("block") && block > 1) {
        text(x, 187, `pooled by ${block}`, "pg-note");
      }
    });
    const x = step * maps.length + step / 2 + 6;
    picture.append(svg("path", { class: "pg-arrow",
      d: `M${x - step / 2 - 8} ${middle}h16m-5 -4l5 4l-5 4` }),
      svg("rect", { x: x - 5, y: middle - 34, width: 10, height: 68, rx: 2, class: "pg-map" }));
    text(x, 14, found.spec.head === "gap" ? "GAP, FC" : "flatten, FC", "pg-title");
    text(x, 154, `${count(classes)} classes`, "pg-size");
    const { hidden } = found.spec;
    text(x, 171, hidden.length ? `hidden ${hidden.join("+")}` : "", "pg-note");
    return picture;
  }

  // On the image, what one value of each block's map sees, as far as it lies in the image.
  function frames(picture, found, shape, [x, y], sides) {
    found.stages.forEach(({ field, whole }) => {
      if (whole) return;
      const part = field.map((size, i) => Math.min(1, size / shape[i + 1]));
      const w = sides[0] * part[1], h = sides[1] * part[0];
      picture.append(svg("rect", { x: x + (sides[0] - w) / 2, y: y + (sides[1] - h) / 2, width: w,
        height: h, class: "pg-field" }));
    });
  }

  function showLayers(found) {
    const rows = found.layers.slice(0, MOST_ROWS).map((row) => [row.name, row.kind,
      row.shape.join("×"), count(row.parameters), count(row.flops),
      row.stride === null ? "all" : String(row.field[0]), bytes(row.memory)]);
    const more = found.layers.length - rows.length;
    at("layers").replaceChildren(table(`${count(found.layers.length)} layers` +
      (more > 0 ? `, the first ${MOST_ROWS}` : ""), ["layer", "kind", "output", "parameters",
      "FLOPs", "field", "memory"], rows));
  }

  // --- the networks of the study
  function drawScatter() {
    const { explorer, playing } = window.convscope;
    if (!explorer) return;
    const marks = explorer.networks.map((one) => ({ key: one.key, x: one.parameters,
      y: explorer.figure(one, "test_accuracy", "best"), colour: explorer.colour(one.key),
      picked: explorer.hasRuns(one), one })).filter(({ y }) => y !== null);
    for (const mark of marks) {
      mark.words = `${mark.one.name}: ${count(mark.x)} parameters, test accuracy ` +
        `${(100 * mark.y).toFixed(1)} %` + (mark.one.model ? "" : "; it has no settings here");
    }
    plot(at("scatter"), { title: "Test accuracy against parameters", height: 280, marks,
      words: "The networks of this study" + (playing
        ? `, and a line at ${count(playing.parameters)} parameters.` : "."),
      x: { label: "learnable parameters", log: true, more: playing ? [playing.parameters] : [] },
      y: { label: "test accuracy", format: (v) => `${Math.round(100 * v)} %` },
      rule: playing ? playing.parameters : undefined, focus: explorer.show,
      pick: (key) => {
        const { model } = explorer.networks[key];
        if (model) take(model, explorer.data.shape, explorer.data.number);
        at("studied").value = model ? key : "";
      } });
  }

  function begin() {
    const { explorer } = window.convscope;
    at("studied").append(...explorer.networks.filter((one) => one.model).map((one) =>
      html("option", { value: one.key }, one.name)));
    keepDrawn(at("scatter"), drawScatter);
  }
  if (window.convscope.explorer) begin();
  else document.addEventListener("convscope:explorer", begin);
  document.addEventListener("convscope:picked", drawScatter);
  at("studied").addEventListener("change", () => {
    const one = at("studied").value;
    if (one !== "") take(window.convscope.explorer.networks[one].model);
  });
  form.addEventListener("input", (event) => {
    if (event.target.id === "pg-studied") return;
    at("studied").value = "";
    update();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  take(data.start);
  Object.assign(window.convscope, { take });
});
