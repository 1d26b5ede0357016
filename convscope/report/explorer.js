"use strict";
// The explorer: one chart of all networks, the curves of those that are picked, one network's own.
window.convscope = window.convscope || {};
document.addEventListener("DOMContentLoaded", () => {
  const section = document.getElementById("explorer");
  if (!section) return;
  const { plot, keepDrawn, html, short, table, network: sizesOf } = window.convscope;
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const at = (id) => document.getElementById(`ex-${id}`);
  const count = (n) => n.toLocaleString("en-US");
  const percent = (v) => `${(100 * v).toFixed(1)} %`;
  const isAccuracy = (key) => key.endsWith("accuracy");
  const told = (key, v) => (v == null ? "–" : isAccuracy(key) ? percent(v) : v.toFixed(3));
  const named = [...data.colours.entries(), ...Object.entries(data.splits)];
  for (const [name, tone] of named) { // on dark ground with some white
    document.documentElement.style.setProperty(
      `--exc-${name}`, `light-dark(${tone}, color-mix(in oklab, ${tone} 68%, white))`);
  }

  // --- networks: their runs, sizes, figures
  const runs = data.runs.map((run, index) => ({ ...run, index,
    epochs: typeof run.epochs === "number"
      ? Array.from({ length: run.epochs }, (_, i) => i + 1) : run.epochs || [] }));
  const networks = data.networks.map((network, key) => {
    const [filters, parameters, flops] = network.size;
    const whole = { ...network, key, filters, parameters, flops, field: null, memory: null,
      runs: runs.filter((run) => run.of === key) };
    if (network.model && sizesOf) {
      try {
        const found = sizesOf(network.model, data.shape, data.number);
        whole.found = found;
        whole.memory = found.peak;
        whole.field = Math.max(...found.field);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error; // such images are too small for it
      }
    }
    return whole;
  });
  const mean = (values) => {
    const known = values.filter((v) => v != null);
    return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
  };
  const lastEpoch = Math.max(1, ...runs.flatMap((run) => run.epochs));

  // The row of a run's best epoch, its last one, or the last up to an epoch.
  function rowOf(run, when, epoch) {
    if (when === "best") return run.best;
    if (when === "last") return run.epochs.length - 1;
    return run.epochs.findLastIndex((e) => e <= epoch);
  }
  const figure = (network, key, when, epoch) => mean(network.runs.map((run) =>
    (run[key] || [])[rowOf(run, when, epoch)]));

  const X = { parameters: "learnable parameters", filters: "filters",
    flops: "FLOPs of one image", field: "receptive field before the head (pixels)",
    memory: "peak activation memory, at least (bytes)", images: "training images" };
  const Y = { test_loss: "test loss (nats)", val_loss: "validation loss (nats)",
    train_loss: "training loss (nats)", test_accuracy: "test accuracy" };
  const SPLITS = { train: ["training", "5 3"], val: ["validation", null], test: ["test", "1 4"] };
  const state = { picked: new Set(), slots: new Map(), shown: null };

  // --- picks: runs; a network has one colour as long as one of its runs is picked
  const hasRuns = (network) => network.runs.some((run) => state.picked.has(run.index));
  const colour = (key) => {
    const slot = state.slots.get(key);
    if (slot === undefined) return "var(--ex-none)";
    // the last colour of the palette is black: ink, so that it shows on dark ground
    return slot < data.colours.length - 1 ? `var(--exc-${slot})` : "currentColor";
  };

  function pickRuns(indices, wanted) {
    for (const index of indices) state.picked[wanted ? "add" : "delete"](index);
    for (const network of networks) {
      const picked = hasRuns(network);
      if (!picked) state.slots.delete(network.key);
      else if (!state.slots.has(network.key)) {
        const taken = new Set(state.slots.values());
        let slot = 0;
        while (taken.has(slot)) slot++;
        state.slots.set(network.key, slot);
      }
    }
    drawAll();
  }
  const pickNetwork = (key) =>
    pickRuns(networks[key].runs.map((run) => run.index), !hasRuns(networks[key]));

  // --- the chart of all networks
  const chosen = () => ({ x: at("x").value, y: at("y").value, when: at("when").value,
    epoch: Number(at("epoch").value) });
  const whenText = ({ when, epoch }) =>
    ({ best: "at the best epoch", last: "at the last epoch" }[when] || `at epoch ${epoch}`);

  function drawChart() {
    const now = chosen();
    const known = networks.map((network) => ({ network, x: network[now.x],
      y: figure(network, now.y, now.when, now.epoch) }))
      .filter(({ x, y }) => x !== null && y !== null);
    const points = known.filter(({ x }) => now.x === "field" || x > 0); // 0 has no logarithm
    const marks = points.map(({ network, x, y }) => ({ key: network.key, x, y,
      colour: colour(network.key), picked: hasRuns(network),
      words: `${network.name}: ${count(x)} ${X[now.x]}, ${Y[now.y]} ${told(now.y, y)}` }));
    const none = known.length - points.length, missing = networks.length - known.length;
    const lines = series(points);
    plot(at("chart"), { title: `${Y[now.y]} against ${X[now.x]}, ${whenText(now)}`,
      words: `${points.length} networks, each the mean of its seeds.`, height: 360,
      x: { label: X[now.x], log: now.x !== "field" },
      y: { label: Y[now.y], format: isAccuracy(now.y) ? (v) => `${Math.round(100 * v)} %` : null,
        log: false },
      lines, marks, focus: show, pick: pickNetwork });
    const kinds = new Set(points.map(({ network }) => network.name.split(",")[0])).size;
    const each = kinds < points.length
      ? ` (${kinds} networks, each way and training set by itself)` : "";
    at("chart-note").textContent = `${points.length} configurations${each} ${whenText(now)}` +
      (none ? `; ${none} with 0 ${now.x} left out` : "") +
      (missing ? `; of ${missing} this is not known.` : ".") +
      (lines.length ? " Thin lines join those of a chapter that differ in their width." : "");
    markShown();
  }

  // Thin lines join a chapter's networks that differ in width.
  function series(points) {
    const groups = new Map();
    for (const { network, x, y } of points) {
      if (!network.model) continue;
      const { width, ...others } = network.model;
      const key = JSON.stringify([others, network.images, network.chapters[0]]);
      groups.set(key, [...(groups.get(key) || []), [x, y, width || 32]]);
    }
    const widths = (group) => new Set(group.map(([, , width]) => width)).size;
    return [...groups.values()].filter((group) => widths(group) === group.length &&
      group.length > 2).map((group) => ({
      points: group.sort((a, b) => a[2] - b[2]), colour: "var(--ex-none)", width: 1.2,
      opacity: 0.6 }));
  }

  // --- one network, beside the chart
  function show(key) {
    if (state.shown === key) return;
    state.shown = key;
    drawSide();
    markShown();
    document.dispatchEvent(new CustomEvent("convscope:shown", { detail: networks[key] }));
  }

  function markShown() {
    for (const one of document.querySelectorAll("#explorer [data-key], #playground [data-key]")) {
      one.classList.toggle("ex-shown", one.dataset.key === String(state.shown));
    }
  }

  // Means over runs: [epoch, value] for each epoch that all evaluated.
  function curve(members, key) {
    const known = members.filter((run) => run[key]);
    if (!known.length) return [];
    return known[0].epochs.map((epoch) => {
      const values = known.map((run) => run[key][run.epochs.indexOf(epoch)]);
      return [epoch, values.every((v) => v != null) ? mean(values) : NaN];
    });
  }

  const once = (network) => network.runs.every((run) => run.epochs.length < 2);

  function drawSide() {
    const network = networks[state.shown];
    if (!network) return;
    const seeds = network.runs.length;
    at("name").textContent = network.name;
    at("name").title = network.long;
    at("facts").replaceChildren(...facts(network).flatMap(([word, text]) =>
      [html("dt", {}, word), html("dd", {}, text)]));
    const lines = Object.keys(SPLITS).map((split) => ({
      colour: `var(--exc-${split === "val" ? "validation" : split})`,
      points: curve(network.runs, `${split}_loss`) }));
    const best = mean(network.runs.map((run) => run.epochs[run.best]));
    plot(at("own"), { title: `Learning curves of ${network.name}`, height: 200,
      words: "Loss of the training, validation and test images after each epoch; " +
        `the best epoch is ${best === null ? "unknown" : Number(best.toFixed(1))}.`,
      x: { whole: true, label: `${once(network) ? "one epoch measured" : "epoch"}, mean of ` +
        `${seeds} seed${seeds > 1 ? "s" : ""}` },
      y: { label: "loss (nats)" }, lines, rule: best ?? undefined });
    drawClasses(network);
    at("layers").replaceChildren(network.found ? layers(network.found)
      : html("p", { class: "note" }, "Only networks of the family have their layers here; " +
        "convscope inspect lists those of others."));
    at("pick").textContent = hasRuns(network) ? "Take out of the comparison" : "Compare";
    at("pick").disabled = !network.runs.length;
  }

  function facts(network) {
    const known = (key) => `${told(key, figure(network, key, "best"))}, at the last epoch ` +
      told(key, figure(network, key, "last"));
    return [["parameters", count(network.parameters)],
      ["filters", count(network.filters) + (network.found?.fixed || "")],
      ["FLOPs", short(network.flops)],
      ["receptive field", network.field === null ? "–" : `${network.found.field.join("×")} px` +
        (network.found.whole ? " (all)" : "")],
      ["training images", count(network.images)], ["seeds", String(network.runs.length)],
      ["test loss", known("test_loss")], ["test accuracy", known("test_accuracy")]];
  }

  function layers(found) {
    return table("Layers", ["layer", "output", "parameters", "FLOPs", "field"],
      found.layers.filter((row) => row.kind !== "Act").map((row) => [`${row.name} ${row.kind}`,
        row.shape.join("×"), count(row.parameters), short(row.flops),
        row.stride === null ? "all" : String(row.field[0])]));
  }

  function drawClasses(network) {
    const rows = (network.by_class || []).map((v, i) => [data.classes[i], v]);
    rows.sort((a, b) => a[1] - b[1]);
    at("classes").replaceChildren(...rows.map(([name, v]) =>
      html("li", {}, html("span", {}, name), html("meter", { min: 0, max: 1, value: v,
        "aria-label": `${name}: ${percent(v)}` }), html("span", {}, percent(v)))));
    at("classes-note").textContent = rows.length
      ? "Test accuracy by class at the best epoch, the hardest class first."
      : "Which test images are right was not recorded for this network.";
  }

  // --- learning curves over each other
  function drawOverlay() {
    const { y, epoch, when } = chosen(), measure = isAccuracy(y) ? "accuracy" : "loss";
    const splits = Object.keys(SPLITS).filter((split) => at(`split-${split}`).checked);
    const picked = networks.filter(hasRuns);
    const lines = [];
    for (const network of picked) {
      const members = network.runs.filter((run) => state.picked.has(run.index));
      for (const split of splits) {
        const key = `${split}_${measure}`, dash = SPLITS[split][1];
        const common = { colour: colour(network.key), key: network.key, dash };
        if (members.length > 1) {
          lines.push(...members.map((run) => (
            { ...common, points: curve([run], key), width: 1, opacity: 0.35 })));
        }
        lines.push({ ...common, points: curve(members, key), width: 2.2 });
      }
    }
    const names = picked.map((network) => network.name).join("; ");
    plot(at("overlay"), { title: `Learning curves: ${measure}`, height: 300, lines,
      words: names ? `Of ${names}. The table below has the values.` : "Nothing is picked.",
      rule: when === "epoch" ? epoch : undefined, x: { label: "epoch", whole: true },
      y: { label: measure === "loss" ? "loss (nats)" : "accuracy",
        format: measure === "loss" ? null : (v) => `${Math.round(100 * v)} %` } });
    at("legend").replaceChildren(...picked.map((network) => {
      const swatch = html("i", { class: "ex-swatch" });
      swatch.style.background = colour(network.key);
      const button = html("button", { type: "button", "data-key": network.key,
        title: network.long }, swatch, network.name,
        once(network) ? " (no curve)" : null, html("span", { class: "ex-out" }, " ×"));
      button.setAttribute("aria-label", `${network.name}: take out of the comparison`);
      button.addEventListener("click", () => pickNetwork(network.key));
      for (const kind of ["focus", "pointerenter"]) {
        button.addEventListener(kind, () => show(network.key));
      }
      return html("li", {}, button);
    }));
    const columns = ["train_loss", "val_loss", "test_loss", "test_accuracy"];
    at("values").replaceChildren(table(`Means over seeds ${whenText(chosen())}`,
      ["network", "train loss", "val loss", "test loss", "test accuracy"],
      picked.map((network) => [network.name, ...columns.map((key) => told(key, mean(network.runs
        .filter((run) => state.picked.has(run.index))
        .map((run) => (run[key] || [])[rowOf(run, when, epoch)])))) ])));
    markShown();
  }

  function drawAll() {
    drawChart();
    drawOverlay();
    drawSide();
    document.dispatchEvent(new CustomEvent("convscope:picked"));
  }

  function stepTo(epoch) {
    at("epoch").value = epoch;
    at("epoch-out").textContent = at("epoch").value;
    at("when").value = "epoch";
    drawAll();
  }
  at("epoch").max = lastEpoch;
  at("epoch").value = lastEpoch;
  at("epoch-out").textContent = lastEpoch;
  at("epoch").addEventListener("input", () => stepTo(Number(at("epoch").value)));
  at("back").addEventListener("click", () => stepTo(Number(at("epoch").value) - 1));
  at("on").addEventListener("click", () => stepTo(Number(at("epoch").value) + 1));
  at("pick").addEventListener("click", () => pickNetwork(state.shown));
  for (const id of ["x", "y", "when", "split-train", "split-val", "split-test"]) {
    at(id).addEventListener("change", drawAll);
  }
  Object.assign(window.convscope, { explorer: { data, networks, runs, state, colour, show,
    pickRuns, pickNetwork, hasRuns, figure } });
  pickRuns(data.picked.flatMap((key) => networks[key].runs.map((run) => run.index)), true);
  if (networks.length) show(data.picked[0] || 0);
  keepDrawn(at("chart"), drawChart);
  keepDrawn(at("overlay"), drawOverlay);
  keepDrawn(at("own"), drawSide);
  document.dispatchEvent(new CustomEvent("convscope:explorer"));
});
