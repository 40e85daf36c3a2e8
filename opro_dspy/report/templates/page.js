"use strict";
(() => {
  const table = document.getElementById("table");
  let data = null;
  // Read on the first click only: the meta-prompts may be large.
  const read = () => (data ??= JSON.parse(document.getElementById("data").textContent));

  const make = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  };

  // Copying
  const copied = document.getElementById("copied");
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = make("textarea", text);
      document.body.append(field);
      field.select();
      const done = document.execCommand("copy");
      field.remove();
      if (!done) throw new Error("the browser does not let a page copy");
    }
  };
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      try {
        await copy(read().best[Number(button.dataset.part)]);
        copied.textContent = "Copied.";
      } catch (error) {
        copied.textContent = `Not copied: ${error.message}. Select the text instead.`;
      }
      button.focus();
    });
  }
  if (!table) return;

  // Opening a candidate
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const byIndex = new Map(rows.map((row) => [row.dataset.index, row]));

  const difference = (pieces) => {
    const tags = { new: "ins", gone: "del", same: "span" };
    const block = make("pre", undefined, "diff");
    for (const [kind, text] of pieces) block.append(make(tags[kind], text));
    return block;
  };

  const titled = (place, title, ...blocks) => {
    if (blocks.length) place.append(make("h3", title), ...blocks);
  };

  const detail = (index) => {
    const { candidates, metaPrompts } = read();
    const found = candidates[index];
    const row = make("tr", undefined, "detail");
    const cell = make("td");
    row.setAttribute("role", "row");
    cell.setAttribute("role", "cell");
    cell.colSpan = 7;
    row.append(cell);
    const several = found.parts.length > 1;
    for (const part of found.parts) {
      titled(cell, several ? `Instruction of ${part.name}` : "Instruction", make("pre", part.text));
      if (part.diff) titled(cell, "What changed since its parent", difference(part.diff));
    }
    if (found.whole) titled(cell, "Training set, met after the search", make("p", found.whole));
    if (found.dropped) titled(cell, "Given up", make("p", found.dropped));
    titled(cell, "Errors", ...found.failures.map((text) => make("pre", text)));
    for (const query of found.queries) {
      const block = make("pre", metaPrompts[query.prompt], "prompt");
      block.tabIndex = 0;
      const of = several ? ` for ${query.component}` : "";
      titled(cell, `Meta-prompt${of}, temperature ${query.temperature}`, block);
    }
    titled(cell, "Answer of the optimizer LM", ...found.answers.map((text) => make("pre", text)));
    if (!found.queries.length) titled(cell, "Meta-prompt", make("p", "None: it was given, or put together from others."));
    return row;
  };

  const isOpen = (row) => row.nextElementSibling?.classList.contains("detail");
  const toggle = (row) => {
    const open = isOpen(row);
    if (open) row.nextElementSibling.remove();
    else row.after(detail(Number(row.dataset.index)));
    const button = row.querySelector(".open");
    button.setAttribute("aria-expanded", String(!open));
    button.firstChild.textContent = open ? "Open" : "Close";
  };
  body.addEventListener("click", (event) => {
    const button = event.target.closest(".open");
    if (button) toggle(button.closest("tr"));
  });

  // Searching, and the first rows only until all are asked for; without a script, all are there
  const FIRST = 20;
  let most = FIRST;
  const search = document.getElementById("search");
  const count = document.getElementById("count");
  const noHits = document.getElementById("no-hits");
  const showAll = document.getElementById("show-all");
  const texts = new Map(rows.map((row) => [row, row.querySelector(".instruction").textContent.toLowerCase()]));
  const inOrder = () => [...body.rows].filter((row) => byIndex.get(row.dataset.index) === row);
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const row of inOrder()) {
      row.hidden = !words.every((word) => texts.get(row).includes(word));
      found += row.hidden ? 0 : 1;
      const both = isOpen(row) ? [row, row.nextElementSibling] : [row];
      for (const one of both) {
        one.hidden = row.hidden;
        one.classList.toggle("later", found > most);
      }
    }
    count.textContent = `${found} of ${rows.length}`;
    table.hidden = !found;
    noHits.hidden = Boolean(found);
    showAll.hidden = found <= most;
    showAll.textContent = `Show all ${found}`;
  };
  search.addEventListener("input", filter);
  showAll.addEventListener("click", () => {
    const next = body.querySelector("tr.candidate.later:not([hidden]) .open");
    most = rows.length;
    filter();
    next.focus();
  });
  filter();

  // Sorting: what has no value stays last, ties by number
  const value = (row, key) => (key === "text" ? texts.get(row) : row.dataset[key] === undefined ? null : Number(row.dataset[key]));
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const heads = [...table.tHead.querySelectorAll("th[data-key]")];
  const sort = (head) => {
    const upFirst = ["index", "step", "text"].includes(head.dataset.key);
    const now = head.getAttribute("aria-sort");
    const up = now ? now !== "ascending" : upFirst;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = head.dataset.key;
    const order = [...rows].sort((a, b) => {
      const x = value(a, key), y = value(b, key);
      if (x === null || y === null) return compare(x === null, y === null);
      return (up ? 1 : -1) * compare(x, y) || Number(a.dataset.index) - Number(b.dataset.index);
    });
    const opened = new Map(order.filter(isOpen).map((row) => [row, row.nextElementSibling]));
    body.append(...order.flatMap((row) => (opened.has(row) ? [row, opened.get(row)] : [row])));
    filter();
  };
  for (const head of heads) head.querySelector("button").addEventListener("click", () => sort(head));

  // A dot of the curve leads to its candidate; the table is the way by keyboard
  for (const mark of document.querySelectorAll("figure [data-index]")) {
    mark.addEventListener("click", () => {
      const row = byIndex.get(mark.dataset.index);
      search.value = "";
      most = rows.length;
      filter();
      if (!isOpen(row)) toggle(row);
      row.scrollIntoView({ block: "center" });
      row.querySelector(".open").focus({ preventScroll: true });
    });
  }
})();
