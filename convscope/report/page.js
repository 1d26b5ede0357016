"use strict";
// Charts: each is drawn by Vega from the JSON that stands beside it. Nothing is loaded.
for (const place of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(document.getElementById(place.dataset.spec).textContent);
  const actions = { export: true, source: false, compiled: false, editor: false };
  const options = { renderer: "svg", actions };
  // Vega styles what it is given, and the place has to scroll
  const inner = place.appendChild(document.createElement("div"));
  vegaEmbed(inner, spec, options).then(
    () => place.setAttribute("data-drawn", "yes"),
    (error) => {
      place.textContent = place.getAttribute("aria-label");
      place.setAttribute("data-drawn", String(error));
    },
  );
}
// Tables: a click on a heading sorts by it, numbers as numbers; a second click turns the order
// round. Empty cells stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.tHead.querySelectorAll("th").forEach((heading, column) => {
    heading.addEventListener("click", () => {
      const words = heading.classList.contains("text");
      const down = heading.getAttribute("aria-sort") === "ascending";
      table.tHead.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
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
// Long tables and the glossary are folded up, but not on paper, and not where a link leads.
const folded = () => document.querySelectorAll("details.long:not([open])");
let unfolded = [];
const turn = (open) => unfolded.forEach((details) => { details.open = open; });
window.addEventListener("beforeprint", () => { unfolded = [...folded()]; turn(true); });
window.addEventListener("afterprint", () => turn(false));
const reveal = () => {
  const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = place && place.closest("details.long");
  if (details) { details.open = true; place.scrollIntoView(); }
};
window.addEventListener("hashchange", reveal);
reveal();
