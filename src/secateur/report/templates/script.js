"use strict";
// The page is complete without scripts; this one sorts, selects, filters and zooms.
document.documentElement.classList.add("scripted");

// Tables: a click on a column's name sorts by it; a second one reverses the order.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.value;
      const order = (a, b) =>
        column === 0 ? original.indexOf(a) - original.indexOf(b)
          : isNaN(key(a)) ? key(a).localeCompare(key(b)) : key(a) - key(b);
      const missing = (row) => column > 0 && key(row) === "–";
      const known = original.filter((row) => !missing(row));
      known.sort((a, b) => (descending ? order(b, a) : order(a, b)));
      body.append(...known, ...original.filter(missing));
    });
  });
}

// Galleries: show one chart of many, enlarged.
for (const gallery of document.querySelectorAll(".gallery[data-what]")) {
  const charts = [...gallery.children];
  if (charts.length < 2) continue;
  const label = document.createElement("label");
  const select = document.createElement("select");
  select.append(new Option("all", ""));
  charts.forEach((chart, number) => select.append(new Option(chart.dataset.name, number)));
  label.className = "picker";
  label.append(`${gallery.dataset.what}: `, select);
  gallery.before(label);
  select.addEventListener("change", () => {
    gallery.classList.toggle("picked", select.value !== "");
    charts.forEach((chart, number) => {
      chart.hidden = select.value !== "" && number !== Number(select.value);
    });
  });
}

// Pictures: show boxes of at least the chosen confidence, and count them.
const slider = document.querySelector(".confidence input");
function filterBoxes() {
  const least = Number(slider.value);
  document.querySelector(".confidence output").textContent = `${Math.round(100 * least)} %`;
  for (const pane of document.querySelectorAll(".pair figure")) {
    const counts = { hit: 0, false: 0, ignored: 0 };
    for (const box of pane.querySelectorAll(".found")) {
      const shown = Number(box.dataset.score) >= least;
      box.classList.toggle("filtered", !shown);
      if (shown) for (const outcome in counts) counts[outcome] += box.classList.contains(outcome);
    }
    const count = pane.querySelector(".count");
    count.textContent = `finds ${counts.hit} of ${count.dataset.objects}, ${counts.false} false`;
  }
}
if (slider) {
  slider.addEventListener("input", filterBoxes);
  filterBoxes(); // a browser may restore the slider's position
}

// Zoom: both pictures together, in the whole window.
function openLarge(pair) {
  const dialog = document.createElement("dialog");
  const bar = document.createElement("div");
  const large = pair.cloneNode(true);
  const panes = [...large.querySelectorAll("svg")];
  const [, , width, height] = panes[0].getAttribute("viewBox").split(" ").map(Number);
  let view = { x: 0, y: 0, zoom: 1 };
  const show = () => {
    view.zoom = Math.min(Math.max(view.zoom, 1), 16);
    view.x = Math.min(Math.max(view.x, 0), width - width / view.zoom);
    view.y = Math.min(Math.max(view.y, 0), height - height / view.zoom);
    for (const pane of panes) {
      pane.setAttribute(
        "viewBox", `${view.x} ${view.y} ${width / view.zoom} ${height / view.zoom}`);
      pane.style.setProperty("--zoom", view.zoom);
    }
  };
  const zoomAt = (factor, x, y) => {
    const zoom = Math.min(Math.max(view.zoom * factor, 1), 16);
    view = { x: x - (x - view.x) * view.zoom / zoom, y: y - (y - view.y) * view.zoom / zoom, zoom };
    show();
  };
  const middle = () => [view.x + width / view.zoom / 2, view.y + height / view.zoom / 2];
  const actions = [
    ["+", "zoom in", () => zoomAt(1.5, ...middle())],
    ["−", "zoom out", () => zoomAt(1 / 1.5, ...middle())],
    ["Close", "close", () => dialog.close()],
  ];
  for (const [text, name, act] of actions) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.setAttribute("aria-label", name);
    button.addEventListener("click", act);
    bar.append(button);
  }
  bar.className = "bar";
  large.removeAttribute("tabindex");
  large.removeAttribute("title");
  dialog.append(bar, large);
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "=") zoomAt(1.5, ...middle());
    else if (event.key === "-") zoomAt(1 / 1.5, ...middle());
    else if (event.key === "0") zoomAt(1 / 16, ...middle());
    else if (event.key in step) {
      view.x += step[event.key][0] * width / view.zoom / 8;
      view.y += step[event.key][1] * height / view.zoom / 8;
      show();
    } else return;
    event.preventDefault();
  });
  const at = (event) => {
    const pane = event.target.closest("svg");
    if (!pane) return null;
    const point = new DOMPoint(event.clientX, event.clientY);
    return point.matrixTransform(pane.getScreenCTM().inverse());
  };
  large.addEventListener("wheel", (event) => {
    const point = at(event);
    if (point) zoomAt(event.deltaY < 0 ? 1.2 : 1 / 1.2, point.x, point.y);
    event.preventDefault();
  }, { passive: false });
  let held = null;
  large.addEventListener("pointerdown", (event) => {
    held = at(event);
    large.setPointerCapture(event.pointerId);
  });
  large.addEventListener("pointermove", (event) => {
    if (!held) return;
    const scale = panes[0].getScreenCTM().a;
    view.x -= event.movementX / scale;
    view.y -= event.movementY / scale;
    show();
  });
  large.addEventListener("pointerup", () => { held = null; });
  dialog.showModal();
}
for (const pair of document.querySelectorAll(".pair")) {
  pair.tabIndex = 0;
  pair.title = "Click to enlarge";
  pair.addEventListener("click", () => openLarge(pair));
  pair.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // otherwise it presses the first button, which then has the focus
    openLarge(pair);
  });
}
