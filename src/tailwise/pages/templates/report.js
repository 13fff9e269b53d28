"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const specifications = read("specifications");
  const data = read("class-data");

  // --- figures: drawn anew where light and dark, paper or the width of the screen change ---------------------------------

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colours = (printing) => {
    const style = getComputedStyle(document.documentElement);
    const of = (name, paper) => (printing ? paper : style.getPropertyValue(name).trim());
    const ink = of("--ink", "#1d2226"), soft = of("--soft", "#545c64"), grid = of("--grid", "#e6e8eb");
    return {
      background: "transparent", view: { stroke: null },
      axis: { gridColor: grid, domainColor: soft, tickColor: soft, labelColor: ink, titleColor: ink },
      legend: { labelColor: ink, titleColor: ink, columns: Math.max(1, Math.floor(innerWidth / 230)) }, header: { labelColor: ink, titleColor: ink }, text: { fill: ink },
    };
  };
  const hidden = new Set(); // rows that the reader has switched off
  // Beside each other where there is room, below each other on a phone; a single figure is as wide as its place.
  const fitted = (specification, width) => {
    const made = structuredClone(specification);
    for (const part of [made, ...(made.layer ?? [])])
      if (part.data?.values) part.data.values = part.data.values.filter((mark) => !hidden.has(mark.row));
    if (made.facet) {
      const across = Math.max(1, Math.floor(width / 210));
      const values = made.facet.column.sort.length;
      if (across < values) {
        made.facet = { ...made.facet.column };
        made.columns = across;
      }
      const inner = Math.max(110, Math.floor((width - 130) / Math.min(across, values)) - 24);
      const square = made.spec.width === made.spec.height;
      made.spec.width = Math.min(inner, 320);
      if (square) made.spec.height = made.spec.width;
    } else {
      made.width = width - 12;
      made.autosize = { type: "fit-x", contains: "padding" };
    }
    return made;
  };
  const many = (specification) => JSON.stringify(specification).length > 400000; // thousands of marks are slow as elements
  let drawing = 0;
  const draw = async (printing = false) => {
    const turn = ++drawing;
    for (const place of document.querySelectorAll("[data-figure]")) {
      if (turn !== drawing) return;
      const name = place.dataset.figure;
      await vegaEmbed(place, fitted(specifications[name], Math.floor(place.getBoundingClientRect().width)), {
        config: colours(printing), renderer: printing || !many(specifications[name]) ? "svg" : "canvas", ast: true, tooltip: { theme: dark.matches ? "dark" : "light" },
        actions: { export: true, source: false, compiled: false, editor: false }, downloadFileName: name,
      });
      // Read aloud a figure is one image with its caption: its numbers stand in the tables, mark by mark they would be noise.
      const drawn = place.querySelector(".chart-wrapper");
      drawn.setAttribute("role", "img");
      drawn.setAttribute("aria-label", place.getAttribute("aria-label"));
      drawn.querySelector(".marks").setAttribute("aria-hidden", "true");
      place.querySelector("summary")?.setAttribute("aria-label", `Save the figure: ${name}`);
    }
    document.documentElement.dataset.drawn = String(turn);
  };
  // Buttons do with a keyboard, and for all figures at once, what a click in a legend does for one.
  const rows = document.getElementById("rows");
  if (data.rows.length > 1) {
    rows.hidden = false;
    rows.append("Show", ...data.rows.map((name) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: name, className: "row" });
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        if (hidden.has(name)) hidden.delete(name);
        else if (hidden.size < data.rows.length - 1) hidden.add(name); // one row stays
        button.setAttribute("aria-pressed", String(!hidden.has(name)));
        draw();
      });
      return button;
    }));
  }
  dark.addEventListener("change", () => draw());
  let width = innerWidth, waiting;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(draw, 200);
  });
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => draw());

  // --- the table of classes: only the lines in view are in the document ----------------------------------------------------

  const HEIGHT = 33, MARGIN = 8;
  const box = document.getElementById("table"), search = document.getElementById("search"), group = document.getElementById("group");
  const said = document.getElementById("shown");
  const percent = (share) => (share === null ? "–" : (100 * share).toFixed(1));
  const columns = [
    { title: "class", text: (i) => data.names[i], value: (i) => data.names[i] },
    { title: "group", text: (i) => data.groups[data.group[i]], value: (i) => data.group[i] },
    { title: "training images", number: true, text: (i) => data.train[i].toLocaleString("en"), value: (i) => data.train[i] },
    { title: "n", number: true, text: (i) => data.images[i].toLocaleString("en"), value: (i) => data.images[i] },
    ...data.rows.map((name, row) => ({ title: name, number: true, text: (i) => percent(data.accuracy[row][i]), value: (i) => data.accuracy[row][i] })),
  ];
  const element = (tag, fields = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), fields);
    made.append(...children);
    return made;
  };
  data.groups.forEach((name, i) => group.append(element("option", { value: String(i), textContent: name })));

  const order = new Intl.Collator("en", { numeric: true });
  let sorted = { column: 2, down: true };
  let shown = [];
  const body = element("tbody");
  const heads = columns.map((column, place) => {
    const button = element("button", { type: "button", textContent: column.title });
    button.addEventListener("click", () => {
      sorted = { column: place, down: sorted.column === place ? !sorted.down : Boolean(column.number) };
      choose();
    });
    return element("th", { scope: "col", className: column.number ? "number" : "" }, button);
  });
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body);
  box.append(table);

  const compare = (a, b) => (typeof a === "string" ? order.compare(a, b) : a - b);
  const choose = () => {
    const part = search.value.trim().toLowerCase(), { value } = columns[sorted.column];
    shown = data.names.map((_, i) => i).filter((i) =>
      (!part || data.names[i].toLowerCase().includes(part)) && (group.value === "" || data.group[i] === Number(group.value)));
    shown.sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === null || y === null) return (x === null) - (y === null) || a - b; // classes without images are last either way
      return (sorted.down ? -1 : 1) * compare(x, y) || a - b;
    });
    heads.forEach((head, place) => {
      const here = place === sorted.column;
      if (here) head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
      head.firstChild.textContent = columns[place].title + (here ? (sorted.down ? " ↓" : " ↑") : "");
    });
    said.textContent = `${shown.length.toLocaleString("en")} of ${data.names.length.toLocaleString("en")} classes`;
    box.scrollTop = 0;
    fill();
  };
  const line = (i) => element("tr", {}, ...columns.map((column, place) => element(place ? "td" : "th", {
    textContent: column.text(i), className: column.number ? "number" : "", ...(place ? {} : { scope: "row", title: data.names[i] }),
  })));
  const space = (lines) => {
    const cell = element("td", { colSpan: columns.length });
    cell.style.height = `${lines * HEIGHT}px`;
    return element("tr", { className: "space", ariaHidden: "true" }, cell);
  };
  let all = false;
  const fill = () => {
    const first = all ? 0 : Math.max(0, Math.floor(box.scrollTop / HEIGHT) - MARGIN);
    const last = all ? Math.min(shown.length, 400) : Math.min(shown.length, Math.ceil((box.scrollTop + 480) / HEIGHT) + MARGIN);
    const lines = shown.slice(first, last).map(line);
    body.replaceChildren(...(first ? [space(first)] : []), ...lines, ...(last < shown.length && !all ? [space(shown.length - last)] : []));
  };
  box.addEventListener("scroll", () => requestAnimationFrame(fill), { passive: true });
  search.addEventListener("input", choose);
  group.addEventListener("change", choose);
  addEventListener("beforeprint", () => { all = true; fill(); });
  addEventListener("afterprint", () => { all = false; fill(); });

  choose();
  requestAnimationFrame(() => setTimeout(draw)); // words and numbers first
})();
