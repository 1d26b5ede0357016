"use strict";
// Small charts as SVG: scales, lines, points that the keyboard reaches.
window.convscope = window.convscope || {};
(() => {
  const SPACE = "http://www.w3.org/2000/svg";
  const NEAR = 36; // pixels: a pointer this close to a point means it
  const MARGIN = { top: 12, right: 14, bottom: 44, left: 58 };

  // svg("circle", { r: 3 }, …children); a text is escaped by being a text node
  function svg(tag, attributes = {}, ...children) {
    return filled(document.createElementNS(SPACE, tag), attributes, children);
  }

  function html(tag, attributes = {}, ...children) {
    return filled(document.createElement(tag), attributes, children);
  }

  function filled(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value != null && value !== false) {
        element.setAttribute(name, value === true ? "" : value);
      }
    }
    element.append(...children.filter((child) => child != null));
    return element;
  }

  const UNITS = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
  // 12,345 as "12.3k": for axes
  function short(n) {
    const [size, unit] = UNITS.find(([size]) => Math.abs(n) >= size) || [1, ""];
    return `${Number((n / size).toPrecision(3))}${unit}`;
  }

  function linearTicks(low, high, most) {
    const rough = (high - low) / most || 1, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough);
    const ticks = [];
    for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; i++) {
      ticks.push(Number((i * step).toPrecision(12)));
    }
    return ticks;
  }

  function logTicks(low, high, most) {
    for (const steps of [[1, 2, 5], [1, 3], [1]]) {
      const ticks = [];
      for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) {
        ticks.push(...steps.map((k) => k * 10 ** e).filter((t) => t >= low && t <= high));
      }
      if (ticks.length <= most || steps.length === 1) {
        const every = Math.ceil(ticks.length / most);
        return ticks.filter((_, i) => i % every === 0);
      }
    }
    return [];
  }

  // From values to pixels, with some air at both ends.
  function scale(values, from, to, { log, whole }, most) {
    const known = values.filter((v) => Number.isFinite(v) && (!log || v > 0));
    let low = Math.min(...known), high = Math.max(...known);
    if (!known.length) [low, high] = [1, 2];
    const turn = log ? Math.log : (v) => v, back = log ? Math.exp : (v) => v;
    let [a, b] = [turn(low), turn(high)];
    const air = (b - a) * 0.05 || Math.abs(a) * 0.1 || 0.5;
    [a, b] = [a - air, b + air];
    if (!log && low >= 0) a = Math.max(a, 0);
    const place = (v) => from + ((turn(v) - a) / (b - a)) * (to - from);
    place.shows = (v) => Number.isFinite(v) && (!log || v > 0);
    let ticks = (log ? logTicks : linearTicks)(back(a), back(b), most);
    if (whole) ticks = ticks.filter(Number.isInteger);
    if (log && ticks.length < 2) ticks = linearTicks(low, high, 3).filter((t) => t > 0);
    place.ticks = ticks;
    return place;
  }

  function axes(x, y, spec, width, height) {
    const { top, right, bottom, left } = MARGIN;
    const group = svg("g", { class: "ex-axes", "aria-hidden": "true" });
    for (const tick of y.ticks) {
      group.append(
        svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "ex-grid" }),
        svg("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" },
          (spec.y.format || short)(tick)));
    }
    for (const tick of x.ticks) {
      group.append(
        svg("line", { x1: x(tick), x2: x(tick), y1: top, y2: height - bottom, class: "ex-grid" }),
        svg("text", { x: x(tick), y: height - bottom + 16, "text-anchor": "middle" },
          (spec.x.format || short)(tick)));
    }
    group.append(
      svg("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle",
        class: "ex-label" }, spec.x.label),
      svg("text", { x: 0, y: 0, "text-anchor": "middle", class: "ex-label",
        transform: `translate(13 ${(top + height - bottom) / 2}) rotate(-90)` }, spec.y.label));
    return group;
  }

  // Draws spec into place, an element whose width the chart takes. spec:
  // title, words: what the chart is and says; height, in pixels; x, y: { label, log, format, whole,
  // more }, with whole where only whole numbers get a tick, more values that the axis holds.
  // lines: { points, colour, dash, width, key }; marks: { x, y, key, colour, words, picked };
  // rule: an x to mark; focus(key), pick(key): what a point does, none where it does nothing.
  function plot(place, spec) {
    const width = Math.max(place.clientWidth || 640, 240), height = spec.height || 300;
    const held = place.contains(document.activeElement) && document.activeElement.dataset.key;
    const marks = spec.marks || [], lines = spec.lines || [];
    const all = (axis, i) => [...marks.map((m) => m[axis]), ...(spec[axis].more || []),
      ...lines.flatMap((line) => line.points.map((point) => point[i]))];
    const { top, right, bottom, left } = MARGIN;
    const x = scale(all("x", 0), left, width - right, spec.x, Math.max(3, width / 90));
    const y = scale(all("y", 1), height - bottom, top, spec.y, 5);
    const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`,
      role: spec.pick ? "group" : "img", "aria-label": `${spec.title}. ${spec.words || ""}` });
    picture.append(svg("title", {}, spec.title), svg("desc", {}, spec.words || spec.title),
      axes(x, y, spec, width, height));
    if (spec.rule !== undefined && x.shows(spec.rule)) {
      picture.append(svg("line", { x1: x(spec.rule), x2: x(spec.rule), y1: top,
        y2: height - bottom, class: "ex-rule" }));
    }
    for (const line of lines) {
      const points = line.points.filter(([a, b]) => x.shows(a) && y.shows(b));
      if (points.length === 1) { // a line of one point is nothing to see
        picture.append(svg("circle", { cx: x(points[0][0]), cy: y(points[0][1]), r: 3.5,
          fill: line.colour, class: "ex-dot" }));
      }
      const path = points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`);
      picture.append(svg("polyline", { points: path.join(" "), class: "ex-line",
        "stroke-dasharray": line.dash, "stroke-width": line.width || 2, stroke: line.colour,
        "data-key": line.key, opacity: line.opacity }));
    }
    const shown = marks.filter((mark) => x.shows(mark.x) && y.shows(mark.y));
    shown.sort((a, b) => a.x - b.x);
    for (const mark of shown) {
      mark.at = [x(mark.x), y(mark.y)];
      const circle = svg("circle", { cx: mark.at[0], cy: mark.at[1], r: mark.picked ? 7 : 5,
        class: "ex-mark", fill: mark.colour, "data-key": mark.key,
        role: spec.pick ? "button" : null, "aria-label": spec.pick ? mark.words : null,
        "aria-pressed": spec.pick ? String(Boolean(mark.picked)) : null,
        tabindex: spec.pick ? "-1" : null }, svg("title", {}, mark.words));
      mark.circle = circle;
    }
    // picked ones on top
    const order = [...shown].sort((a, b) => Boolean(a.picked) - Boolean(b.picked));
    picture.append(...order.map((mark) => mark.circle));
    place.replaceChildren(picture);
    if (spec.pick) reachable(picture, shown, spec, held);
    place.dataset.drawn = "yes";
  }

  // One point is in the order of Tab; arrow keys go on to the next.
  function reachable(picture, shown, spec, held) {
    let current = shown.findIndex((mark) => String(mark.key) === held);
    if (held && current >= 0) setTimeout(() => shown[current].circle.focus(), 0);
    if (current < 0) current = Math.max(0, shown.findIndex((mark) => mark.picked));
    if (shown.length) shown[current].circle.setAttribute("tabindex", "0");
    const go = (to) => {
      shown[current].circle.setAttribute("tabindex", "-1");
      current = Math.min(Math.max(to, 0), shown.length - 1);
      shown[current].circle.setAttribute("tabindex", "0");
      shown[current].circle.focus();
    };
    shown.forEach((mark, i) => {
      mark.circle.addEventListener("focus", () => {
        current = i;
        spec.focus(mark.key);
      });
    });
    picture.addEventListener("keydown", (event) => {
      const to = { ArrowRight: current + 1, ArrowUp: current + 1, ArrowLeft: current - 1,
        ArrowDown: current - 1, Home: 0, End: shown.length - 1 }[event.key];
      if (to !== undefined) go(to);
      else if (event.key === "Enter" || event.key === " ") spec.pick(shown[current].key);
      else return;
      event.preventDefault();
    });
    const nearest = (event) => {
      const box = picture.getBoundingClientRect();
      const far = (mark) =>
        Math.hypot(mark.at[0] - event.clientX + box.left, mark.at[1] - event.clientY + box.top);
      const best = shown.reduce((a, b) => (a && far(a) <= far(b) ? a : b), null);
      return best && far(best) <= NEAR ? best : null;
    };
    picture.addEventListener("pointermove", (event) => {
      const mark = nearest(event);
      picture.classList.toggle("ex-near", Boolean(mark));
      if (mark) spec.focus(mark.key);
    });
    picture.addEventListener("click", (event) => {
      const mark = nearest(event);
      if (mark) spec.pick(mark.key);
    });
  }

  // Draws now and whenever the width of place changes.
  function keepDrawn(place, draw) {
    let width = -1;
    new ResizeObserver(() => {
      if (place.clientWidth !== width) {
        width = place.clientWidth;
        draw();
      }
    }).observe(place);
  }

  const cell = (tag, text, attributes = {}) => html(tag, attributes, text);
  // head: texts; rows: lists of texts or elements, the first one a row's name
  function table(caption, head, rows) {
    return html("table", { class: "ex-table" }, html("caption", {}, caption),
      html("thead", {}, html("tr", {}, ...head.map((text) => cell("th", text, { scope: "col" })))),
      html("tbody", {}, ...rows.map(([name, ...rest]) => html("tr", {},
        cell("th", name, { scope: "row" }), ...rest.map((text) => cell("td", text))))));
  }

  Object.assign(window.convscope, { plot, keepDrawn, svg, html, short, table });
})();
