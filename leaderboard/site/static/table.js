// Sorting and filtering of a board's table. Without it the table stands in the order of its scores.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const table = document.getElementById("board");
  const body = document.getElementById("rows");
  const status = document.getElementById("status");
  const headers = [...table.tHead.rows[0].cells];
  const rows = [...body.rows].map((element) => {
    const cells = [...element.cells];
    return {
      element,
      cells: cells.map((cell) => cell.dataset.v ?? cell.textContent.trim()),
      text: (cells[1].textContent + " " + cells[2].textContent).toLowerCase(),
      kind: element.dataset.kind,
      best: "best" in element.dataset,
      matches: true,
    };
  });
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  // A missing figure is last in either direction.
  const byNumber = (a, b, sign) => {
    const none = (a === "") - (b === "");
    return none || sign * (Number(a) - Number(b));
  };
  const byText = (a, b, sign) => ((a === "") - (b === "")) || sign * collator.compare(a, b);

  // A long table lists its first rows only, until a reader asks for all: to lay out thousands takes a while.
  let most = 100;
  const all = document.getElementById("all");
  const list = (sorted) => {
    let matching = 0;
    for (const row of rows) {
      if (row.matches) matching += 1;
      const hidden = !row.matches || matching > most;
      if (row.element.hidden !== hidden) row.element.hidden = hidden;
    }
    const shown = Math.min(matching, most);
    all.hidden = shown === matching;
    all.textContent = `List all ${matching}`;
    const parts = [`${shown} of ${rows.length} shown`];
    if (shown < matching) parts.push(`${matching} match`);
    if (sorted) parts.push(sorted);
    status.textContent = parts.join("; ") + ".";
  };
  all.addEventListener("click", () => {
    const next = rows.filter((row) => row.matches)[most];
    most = Infinity;
    list();
    next.element.querySelector("a").focus(); // the button is gone
  });

  const sort = (column, direction) => {
    const compare = headers[column].dataset.sort === "number" ? byNumber : byText;
    const sign = direction === "ascending" ? 1 : -1;
    rows.sort((a, b) => compare(a.cells[column], b.cells[column], sign));
    body.replaceChildren(); // hidden or shown while they are nowhere, rows cost nothing
    list(`sorted by ${headers[column].querySelector("button").textContent}, ${direction}`);
    body.append(...rows.map((row) => row.element));
    headers.forEach((header, k) => {
      if (k === column) header.setAttribute("aria-sort", direction);
      else header.removeAttribute("aria-sort");
    });
  };

  headers.forEach((header, column) => {
    if (!header.dataset.sort) return;
    const button = document.createElement("button");
    button.type = "button";
    const label = header.firstChild; // what follows it, "95 % interval", is no part of the button
    label.replaceWith(button);
    button.append(label.textContent.trim());
    button.addEventListener("click", () => {
      // What a reader wants first: names from a, ranks from 1, other figures from the top.
      const first = header.dataset.sort === "text" || column === 0 ? "ascending" : "descending";
      const other = first === "ascending" ? "descending" : "ascending";
      const direction = header.getAttribute("aria-sort") === first ? other : first;
      sort(column, direction);
    });
  });

  const form = document.getElementById("filters");
  const find = document.getElementById("find");
  const kind = document.getElementById("kind");
  const best = document.getElementById("best");
  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      row.matches =
        words.every((word) => row.text.includes(word)) &&
        (!kind.value || row.kind === kind.value) &&
        (!best?.checked || row.best);
    }
    list();
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
});
