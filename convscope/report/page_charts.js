// Charts: each is drawn by Vega from the JSON that stands beside it, when it comes near the
// screen; the others follow while nothing else is to be done, so that paper has them all.
// Nothing is loaded, and no text is run as a program: expressions are interpreted (ast).
const NARROW = 640;
const WIDE = 620;  // of a chart that stands alone on a wide screen
const PAPER = "#12161d";
const DARK = {
  "#000000": "#f2f4f8", "black": "#f2f4f8", "#ffffff": PAPER, "white": PAPER,
  "#dddddd": "#3a4452", "#eeeeee": "#252d38", "#0072B2": "#56a8e0", "#009E73": "#35c296",
  "#D55E00": "#f0853d", "#CC79A7": "#e0a0c4", "#56B4E9": "#9ad4f5",
};
const LIGHT_TEXT = "#c9d0db";
const specOf = (place) => JSON.parse(document.getElementById(place.dataset.spec).textContent);

// Colours of a specification for dark paper.
const darkened = (value) => {
  if (typeof value === "string") return DARK[value] || value;
  if (Array.isArray(value)) return value.map(darkened);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, darkened(item)]));
};
const darkConfig = () => {
  const text = { labelColor: LIGHT_TEXT, titleColor: LIGHT_TEXT };
  return {
    axis: { ...text, gridColor: "#252d38", domainColor: "#56606e", tickColor: "#56606e" },
    legend: text, header: text, title: { color: LIGHT_TEXT, subtitleColor: LIGHT_TEXT },
    rule: { stroke: LIGHT_TEXT }, text: { fill: LIGHT_TEXT }, view: { stroke: "#3a4452" },
  };
};
const merged = (a, b) => {
  const out = { ...a };
  for (const [key, value] of Object.entries(b)) {
    const both = out[key] && typeof value === "object" && typeof out[key] === "object";
    out[key] = both ? merged(out[key], value) : value;
  }
  return out;
};
// What a chart may be wide; of one that is folded up, what its place will have.
const widthFor = (place) => {
  const figure = place.closest("figure");
  return figure.clientWidth || figure.parentElement.clientWidth ||
    root.clientWidth - (place.closest(".more") ? 66 : 34);
};
const PARTS = ["hconcat", "vconcat", "concat", "facet", "repeat"];
const PANELS = ["row", "column", "facet"];
const isPart = (spec) => PARTS.some((key) => spec[key]) ||
  PANELS.some((key) => spec.encoding && spec.encoding[key]);
// Panels side by side stand below each other on a narrow screen, and none is wider than it.
const stacked = (spec, width) => {
  const out = { ...spec };
  if (typeof out.width === "number") out.width = Math.min(out.width, width - 78);
  if (out.hconcat) {
    out.vconcat = out.hconcat.map((part) => stacked(part, width));
    delete out.hconcat;
  } else if (out.vconcat) {
    out.vconcat = out.vconcat.map((part) => stacked(part, width));
  }
  if (out.concat) {
    const widths = out.concat.map((part) => (part.vconcat || [part])[0].width || 0);
    const panel = 60 + Math.max(...widths);
    out.columns = Math.max(1, Math.floor(width / panel));
  }
  if (out.facet && out.spec) {
    const by = out.facet.column || out.facet.row || out.facet;
    out.facet = by;
    out.columns = 1;
    out.spec = stacked(out.spec, width);
  }
  for (const channel of ["column", "facet"]) {
    if (out.encoding && out.encoding[channel]) {
      const { [channel]: by, ...others } = out.encoding;
      out.encoding = { ...others, facet: { ...by, columns: 1 } };
    }
  }
  return out;
};
// Names on a vertical axis in lines of about 16 letters, so that marks have room beside them.
const LINES = "split(replace(datum.label, regexp('(.{12,}?) ', 'g'), '$1\\n'), '\\n')";
const wrapped = (value) => {
  if (Array.isArray(value)) return value.map(wrapped);
  if (value === null || typeof value !== "object") return value;
  const out = Object.fromEntries(Object.entries(value).map(([key, item]) =>
    [key, ["values", "datasets"].includes(key) ? item : wrapped(item)]));
  if (out.y && out.y.type === "nominal" && !out.y.aggregate) {
    const axis = { labelLimit: 130, labelExpr: LINES, labelLineHeight: 11, ...out.y.axis };
    out.y = { ...out.y, axis: { ...axis, labelLimit: 130 } };
  }
  return out;
};
const NARROW_LEGEND = { orient: "bottom", columns: 2, labelLimit: 150, symbolLimit: 0,
  layout: { bottom: { direction: "vertical", anchor: "start" } } };
const fitted = (spec, place) => {
  let shown = isDark() ? darkened(spec) : spec;
  let config = merged(shown.config || {}, { background: "transparent", aria: false,
    axisXQuantitative: { labelOverlap: true, labelSeparation: 4 } });
  if (isDark()) config = merged(config, darkConfig());
  const whole = !isPart(shown) && typeof shown.width === "number";
  const square = shown.width === shown.height;
  if (root.clientWidth < NARROW) {
    const width = widthFor(place);
    shown = whole
      ? { ...wrapped(shown), width, autosize: { type: "fit-x", contains: "padding" } }
      : stacked(shown, width);
    if (square && whole) shown.height = Math.min(shown.height, width - 90);
    config = merged(config, { legend: NARROW_LEGEND });
  } else if (whole && !square) {
    shown = { ...shown, width: Math.max(shown.width, Math.min(WIDE, widthFor(place) - 420)) };
  }
  return { ...shown, config };
};

let brushed = (spec) => spec;  // page_brush.js fades what a reader does not keep
const drawings = new Map();  // chart's place -> promise of Vega's view
const draw = (place) => {
  if (!drawings.has(place)) {
    const inner = document.createElement("div");  // Vega styles what it is given
    place.replaceChildren(inner);
    const options = { renderer: "svg", actions: false, ast: true, tooltip: { theme: "dark" } };
    const spec = fitted(brushed(specOf(place), place), place);
    drawings.set(place, vegaEmbed(inner, spec, options).then(
      (found) => {
        const svg = inner.querySelector("svg");
        if (svg) svg.setAttribute("aria-hidden", "true");  // the place around it has the words
        place.dataset.drawn = "yes";
        return found.view;
      },
      (error) => {
        place.textContent = place.getAttribute("aria-label");
        place.dataset.drawn = String(error);
        return null;
      },
    ));
  }
  return drawings.get(place);
};
const redraw = (place) => {
  const before = drawings.get(place);
  drawings.delete(place);
  if (before) before.then((view) => view && view.finalize());
  return draw(place);
};
const places = all(".chart[data-spec]");
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
}, { rootMargin: "400px" });
const later = window.requestIdleCallback || ((call) => setTimeout(call, 30));
const rest = () => {
  const next = places.find((place) => !drawings.has(place));
  if (next) draw(next).then(() => later(rest));
  else Promise.all(drawings.values()).then(() => { root.dataset.drawn = "yes"; });
};
const begin = () => {
  root.dataset.charts = isDark() ? "dark" : "light";
  places.forEach((place) => near.observe(place));
  later(rest);
};
const again = () => {
  delete root.dataset.drawn;
  for (const [place, drawn] of drawings) {
    drawn.then((view) => view && view.finalize());
    near.unobserve(place);
    delete place.dataset.drawn;
  }
  drawings.clear();
  begin();
};
document.addEventListener("convscope-theme", again);
let narrow = root.clientWidth < NARROW;
window.addEventListener("resize", () => {
  if (narrow === root.clientWidth < NARROW) return;
  narrow = !narrow;
  again();
});
begin();

// A chart's values as a table, for those who cannot see it or want the figures.
const rowsOf = (value, out = []) => {
  if (value && typeof value === "object") {
    if (Array.isArray(value.values)) out.push(...value.values);
    for (const [key, item] of Object.entries(value)) {
      if (key === "datasets") Object.values(item).forEach((rows) => out.push(...rows));
      else if (key !== "values") rowsOf(item, out);
    }
  }
  return out;
};
const element = (tag, text, attributes = {}) => {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
const shown = (value) => {  // a count in full, anything else to five digits
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return String(typeof value === "number" ? Number(value.toPrecision(5)) : value);
};
const MOST = 2000;  // rows
for (const details of all("details.values")) {
  details.addEventListener("toggle", () => {
    if (!details.open || details.querySelector("table")) return;
    const rows = rowsOf(JSON.parse(document.getElementById(details.dataset.of).textContent));
    const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    keys.forEach((key) => head.append(element("th", key, { scope: "col" })));
    const body = table.createTBody();
    for (const row of rows.slice(0, MOST)) {
      const line = body.insertRow();
      keys.forEach((key) => {
        const value = row[key];
        line.append(element("td", shown(value)));
      });
    }
    const box = element("div", "", { class: "table-scroll", tabindex: "0", role: "group",
      "aria-label": "values of the chart" });
    box.append(table);
    details.append(box);
  });
}
// Each chart as a file.
for (const place of all(".save")) {
  for (const kind of ["svg", "png"]) {
    const button = place.appendChild(element("button", `Save as ${kind.toUpperCase()}`));
    button.type = "button";
    button.addEventListener("click", async () => {
      const view = await draw(document.querySelector(`#${CSS.escape(place.dataset.of)} .chart`));
      if (!view) return;
      const link = element("a", "", { download: `${place.dataset.of}.${kind}` });
      link.href = await view.toImageURL(kind, 2);
      link.click();
    });
  }
}
