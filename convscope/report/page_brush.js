// Settings of the trials: a drag along an axis, or the two sliders below the chart, keep the trials
// whose value lies between; the others fade. Each axis has a range of its own.
const FADED = 0.06;
const rangesOf = new Map();  // chart's place -> Map of setting -> [from, to]
const valuesOf = (spec) => Object.values(spec.datasets || {})[0] || spec.data.values;
const keptOf = (spec, ranges) => {
  const kept = new Set(valuesOf(spec).map((row) => row.number));
  for (const row of valuesOf(spec)) {
    const range = ranges.get(row.setting);
    if (range && (row.place < range[0] || row.place > range[1])) kept.delete(row.number);
  }
  return kept;
};
// The specification with lines faded that a range leaves out; colours and axes stay.
brushed = (spec, place) => {
  const ranges = rangesOf.get(place);
  if (!ranges || !ranges.size) return spec;
  const kept = keptOf(spec, ranges);
  const test = `indexof(${JSON.stringify([...kept])}, datum.number) >= 0`;
  return { ...spec, layer: spec.layer.map((layer) => ({ ...layer, encoding: { ...layer.encoding,
    opacity: { condition: { test, value: 0.9 }, value: FADED } } })) };
};
for (const place of places.filter((one) => one.dataset.spec.endsWith("-parallel"))) {
  const spec = specOf(place), ranges = new Map();
  const settings = [...new Set(valuesOf(spec).map((row) => row.setting))];
  const count = new Set(valuesOf(spec).map((row) => row.number)).size;
  rangesOf.set(place, ranges);
  const axis = element("select", "");
  settings.forEach((name) => axis.append(element("option", name)));
  const [from, to] = ["from", "to"].map((end) => element("input", "", { type: "range", min: 0,
    max: 1, step: 0.01, "aria-label": `${end}, of the lowest to highest value searched` }));
  const clear = element("button", "All trials", { type: "button" });
  const told = element("output", "");
  const label = element("label", "Keep by ", {});
  label.append(axis);
  const bar = element("div", "", { class: "brush" });
  bar.append(label, from, to, clear, told);
  place.closest(".chart-scroll").after(bar);
  const shown = () => {
    [from.value, to.value] = ranges.get(axis.value) || [0, 1];
    told.textContent = `${keptOf(spec, ranges).size} of ${count} trials`;
  };
  const keep = (setting, low, high) => {
    if (low <= 0 && high >= 1) ranges.delete(setting);
    else ranges.set(setting, [low, high]);
    axis.value = setting;
    shown();
    redraw(place);
  };
  for (const input of [from, to]) {
    input.addEventListener("change", () => keep(axis.value,
      Math.min(from.value, to.value), Math.max(from.value, to.value)));
  }
  axis.addEventListener("change", shown);
  clear.addEventListener("click", () => { ranges.clear(); shown(); redraw(place); });
  let begun = null;
  const at = (event, view) => {
    const box = place.querySelector("svg").getBoundingClientRect(), [left, top] = view.origin();
    const x = event.clientX - box.left - left, y = event.clientY - box.top - top;
    const across = view.scale("x"), far = (name) => Math.abs(across(name) - x);
    return { setting: settings.reduce((a, b) => (far(a) <= far(b) ? a : b)),
      place: Math.min(1, Math.max(0, view.scale("y").invert(y))) };
  };
  place.addEventListener("pointerdown", async (event) => {
    const view = await draw(place);
    begun = view && at(event, view);
  });
  window.addEventListener("pointerup", async (event) => {
    if (!begun) return;
    const first = begun, view = await draw(place), last = at(event, view).place;
    begun = null;
    if (Math.abs(last - first.place) < 0.02) keep(first.setting, 0, 1);
    else keep(first.setting, Math.min(first.place, last), Math.max(first.place, last));
  });
  shown();
}
