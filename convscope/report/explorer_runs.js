"use strict";
// The table of runs: a filter, boxes to pick runs, and in what the picked ones differ.
window.convscope = window.convscope || {};
document.addEventListener("convscope:explorer", () => {
  const runsTable = document.getElementById("table-runs");
  if (!runsTable) return;
  const { html, explorer } = window.convscope;
  const { data, runs, networks, state } = explorer;
  const MOST = 12; // columns of the table of differences
  const heads = [...runsTable.tHead.rows[0].cells].map((head) => head.textContent.trim());
  const rows = new Map(); // a run's id -> its row, box and index
  const indices = new Map(runs.map((run) => [run.id, run.index]));

  for (const row of runsTable.tBodies[0].rows) {
    const cell = row.cells[0], id = cell.dataset.value, index = indices.get(id);
    if (index === undefined) continue;
    const box = html("input", { type: "checkbox", "aria-label": `Compare run ${id}` });
    const swatch = html("i", { class: "ex-swatch" });
    cell.prepend(box, swatch);
    const { name, long } = networks[runs[index].of];
    const text = `${row.textContent} ${name} ${long}`.toLowerCase();
    rows.set(id, { row, box, swatch, index, text });
  }
  const byIndex = new Map([...rows.values()].map((one) => [one.index, one]));
  runsTable.addEventListener("change", (event) => {
    const id = event.target.closest("td, th").dataset.value;
    if (rows.has(id)) explorer.pickRuns([rows.get(id).index], event.target.checked);
  });
  for (const kind of ["focusin", "pointerover"]) {
    runsTable.addEventListener(kind, (event) => {
      const row = event.target.closest("tbody tr");
      const one = row && rows.get(row.cells[0].dataset.value);
      if (one) explorer.show(runs[one.index].of);
    });
  }

  // --- the filter
  const plain = (text) => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  const COMPARE = { "<": (a, b) => a < b, ">": (a, b) => a > b, "=": (a, b) => a === b,
    "<=": (a, b) => a <= b, ">=": (a, b) => a >= b };

  // A word is a text of the row, or a comparison as parameters<5000 or test-accuracy>=70%.
  function condition(word) {
    const parts = word.match(/^([^<>=]+)(<=|>=|<|>|=)([\d.,e+-]+)(%?)$/);
    const name = parts && plain(parts[1]);
    const column = name ? heads.findIndex((head) => plain(head).startsWith(name)) : -1;
    if (column < 0) return ({ text }) => text.includes(word);
    const value = Number(parts[3].replaceAll(",", "")) / (parts[4] ? 100 : 1);
    return ({ row }) => {
      const given = row.cells[column].dataset.value;
      return given !== "" && COMPARE[parts[2]](Number(given), value);
    };
  }

  function filter() {
    const typed = search.value.toLowerCase().match(/"[^"]*"|[^\s"]+/g) || [];
    const words = typed.map((word) => condition(word.replaceAll('"', "")));
    let shown = 0;
    for (const one of rows.values()) {
      const fits = words.every((word) => word(one)) && (!only.checked || one.box.checked);
      one.row.hidden = !fits;
      shown += fits;
    }
    counted.textContent = `${shown} of ${rows.size} runs`;
  }

  const search = html("input", { type: "search", id: "ex-filter", autocomplete: "off",
    placeholder: "skip width parameters<5000" });
  const only = html("input", { type: "checkbox", id: "ex-only" });
  const all = html("input", { type: "checkbox", id: "ex-all" });
  const none = html("button", { type: "button", id: "ex-none" }, "Pick none");
  const counted = html("output", { id: "ex-counted", for: "ex-filter ex-only" });
  const differences = html("div", { class: "ex-scroll", id: "ex-differences", tabindex: "0",
    role: "region", "aria-label": "Differences of the picked runs" });
  const place = runsTable.closest(".table-scroll") || runsTable;
  place.before(
    html("div", { class: "ex-bar", id: "ex-tools" },
      html("label", {}, "Filter ", search),
      html("label", {}, only, " only picked runs"), none, counted),
    html("p", { class: "note" }, "Each word, or \"words in quotes\", must stand in the row; a " +
      "comparison is a heading, a sign and a number: test-accuracy>70%. A box picks a run for " +
      "the curves and for the comparison below the table."));
  const caption = place.parentNode.querySelector(":scope > p.caption");
  (caption || place).after(
    html("h3", {}, "What the picked runs have in common, and what not"),
    html("div", { class: "ex-bar" },
      html("label", {}, all, " also what is the same")), differences);

  // --- in what the picked runs differ
  function compare() {
    const picked = [...rows.entries()].filter(([, one]) => one.box.checked).slice(0, MOST);
    if (picked.length < 2) {
      differences.replaceChildren(html("p", { class: "note" }, "Pick two runs or more."));
      return;
    }
    const lines = [];
    const add = (name, texts) => {
      const same = texts.every((text) => text === texts[0]);
      const said = name.replace("model.", "").replaceAll("_", " ").replace(/^lr$/, "learning rate");
      if (lines.some(([other]) => other === said)) return; // the recipe has said it
      if (all.checked || !same) lines.push([said, texts, same]);
    };
    const { same, vary } = data.settings;
    for (const [name, [values, which]] of Object.entries(vary)) {
      add(name, picked.map(([, one]) => values[which[one.index]] || "–"));
    }
    heads.forEach((head, column) => {
      if (column) add(head, picked.map(([, one]) => one.row.cells[column].textContent.trim()));
    });
    if (all.checked) {
      for (const [name, value] of Object.entries(same)) {
        add(name, picked.map(() => value || "–"));
      }
    }
    const head = html("tr", {}, html("th", { scope: "col" }, "setting or result"),
      ...picked.map(([id, one]) => {
        const swatch = html("i", { class: "ex-swatch" });
        swatch.style.background = explorer.colour(runs[one.index].of);
        return html("th", { scope: "col", title: networks[runs[one.index].of].long }, swatch, id);
      }));
    const left = rows.size && state.picked.size > MOST ? `, the first ${MOST}` : "";
    differences.replaceChildren(html("table", { class: "ex-table", id: "ex-differences-table" },
      html("caption", {}, `${all.checked ? "Settings and results" : "Only the differences"} ` +
        `of ${picked.length} runs${left}`),
      html("thead", {}, head),
      html("tbody", {}, ...lines.map(([name, texts, alike]) => html("tr",
        { class: alike ? "ex-same" : null }, html("th", { scope: "row" }, name),
        ...texts.map((text) => html("td", {}, text)))))));
  }

  function refresh() {
    for (const [index, one] of byIndex) {
      const picked = state.picked.has(index);
      if (one.box.checked !== picked) one.box.checked = picked;
      one.row.classList.toggle("ex-picked", picked);
      one.swatch.style.background = picked ? explorer.colour(runs[index].of) : "";
    }
    filter();
    compare();
  }
  document.addEventListener("convscope:picked", refresh);
  document.addEventListener("convscope:shown", (event) => {
    for (const [index, one] of byIndex) {
      one.row.classList.toggle("ex-shown", runs[index].of === event.detail.key);
    }
  });
  search.addEventListener("input", filter);
  only.addEventListener("change", filter);
  all.addEventListener("change", compare);
  none.addEventListener("click", () => explorer.pickRuns([...state.picked], false));
  refresh();
});
