"use strict";
const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const kept = (key, value) => {  // pages of files may have no storage
  try {
    if (value === undefined) return localStorage.getItem(key);
    localStorage.setItem(key, value);
  } catch { /* then nothing is remembered */ }
  return null;
};
// Light and dark: the system's unless the reader has chosen.
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
const theme = document.getElementById("theme");
const paint = () => {
  theme.setAttribute("aria-pressed", String(isDark()));
  document.dispatchEvent(new Event("convscope-theme"));
};
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  kept("convscope-theme", root.dataset.theme);
  paint();
});
system.addEventListener("change", paint);
if (["light", "dark"].includes(kept("convscope-theme"))) {
  root.dataset.theme = kept("convscope-theme");
}
theme.setAttribute("aria-pressed", String(isDark()));
document.querySelector(".controls").hidden = false;
// Ways to read: a reader's parts are unfolded, those of the others folded.
const readers = all("input[name=reader]");
const readAs = (reader) => {
  document.body.dataset.reader = reader;
  for (const details of all("details[data-for]")) {
    details.open = details.dataset.for.split(" ").includes(reader);
  }
  kept("convscope-reader", reader);
};
for (const input of readers) input.addEventListener("change", () => readAs(input.value));
const asBefore = readers.find((input) => input.value === kept("convscope-reader"));
if (asBefore && !asBefore.checked) {
  asBefore.checked = true;
  readAs(asBefore.value);
}
// Charts of one family: one at a time.
for (const family of all(".switch")) {
  const select = family.querySelector("select");
  const show = () => {
    for (const one of all("figure", family)) one.hidden = one.id !== select.value;
  };
  select.parentElement.hidden = false;
  select.addEventListener("change", show);
  family.addEventListener("convscope-reveal", (event) => {
    select.value = event.target.id;
    show();
  });
  show();
}
// Galleries with a slider: one picture at a time.
for (const gallery of all("[data-slider]")) {
  const figures = all("figure", gallery);
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type: "range", min: 1, max: figures.length, step: 1 });
  const show = () => figures.forEach((one, i) => {
    one.hidden = i + 1 !== Number(input.value);
    if (!one.hidden) input.setAttribute("aria-valuetext", one.textContent.trim() || i + 1);
  });
  input.addEventListener("input", show);
  label.append(gallery.dataset.slider, input);
  label.className = "slide";
  gallery.querySelector(".pictures").before(label);
  input.value = figures.length;
  show();
}
// What is wider than its place says that it scrolls.
const wider = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    target.classList.toggle("over", target.scrollWidth > target.clientWidth + 4);
  }
});
document.addEventListener("DOMContentLoaded", () => {
  for (const one of all(".chart-scroll, .table-scroll, .ex-scroll")) wider.observe(one);
});
// Tables: a click on a heading sorts by it, numbers as numbers; a second click turns the order
// round. Empty cells stay last.
for (const table of all("table.sortable")) {
  const body = table.tBodies[0];
  all("th", table.tHead).forEach((heading, column) => {
    heading.addEventListener("click", () => {
      const words = heading.classList.contains("text");
      const down = heading.getAttribute("aria-sort") === "ascending";
      all("th", table.tHead).forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        const x = value(a), y = value(b);
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = words || isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return down ? -order : order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
// What is folded is unfolded on paper, and where a link leads.
let unfolded = [];
window.addEventListener("beforeprint", () => {
  unfolded = all("details:not([open]):not(.values):not(.words)");
  unfolded.forEach((details) => { details.open = true; });
});
window.addEventListener("afterprint", () => {
  unfolded.forEach((details) => { details.open = false; });
});
const reveal = () => {
  const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!place) return;
  place.dispatchEvent(new Event("convscope-reveal", { bubbles: true }));
  for (let at = place.closest("details"); at; at = at.parentElement.closest("details")) {
    at.open = true;
  }
  place.scrollIntoView();
};
window.addEventListener("hashchange", reveal);
reveal();
