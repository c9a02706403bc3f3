"use strict";
// Names are text of unknown origin: they are only ever set as textContent.
const { classes, pages } = JSON.parse(document.getElementById("data").textContent);

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function card(page, withHeat = false) {
  const figure = element("figure", undefined, page.target === page.predicted ? "page" : "page mistake");
  if (page.image) {
    const button = element("button", undefined, "enlarge");
    button.type = "button";
    button.setAttribute("aria-label", `enlarge ${page.id}`);
    const image = element("img");
    image.src = withHeat ? page.heat : page.image;
    image.alt = "";
    button.append(image);
    button.addEventListener("click", () => enlarge(page, withHeat));
    figure.append(button);
  }
  const caption = element("figcaption");
  caption.append(element("b", page.id));
  if (page.target !== page.predicted) {
    caption.append(element("span", `${classes[page.target]} → ${classes[page.predicted]}`));
  }
  caption.append(element("span", `confidence ${page.confidence.toFixed(2)}, loss ${page.loss.toFixed(2)}`, "figures"));
  if (page.words) caption.append(element("span", `words: ${page.words}`, "words"));
  figure.append(caption);
  return figure;
}

function enlarge(page, withHeat) {
  const right = page.target === page.predicted;
  const named = right ? classes[page.target] : `${classes[page.target]} → ${classes[page.predicted]}`;
  document.getElementById("zoom-caption").textContent = `${page.id}: ${named}, confidence ${page.confidence.toFixed(2)}`;
  const heat = document.getElementById("zoom-heat");
  const show = (pressed) => {
    heat.setAttribute("aria-pressed", String(pressed));
    document.getElementById("zoom-image").src = pressed ? page.heat : page.image;
  };
  heat.hidden = !page.heat;
  heat.title = `what spoke for ${classes[page.predicted]}`;
  heat.onclick = () => show(heat.getAttribute("aria-pressed") === "false");
  show(withHeat);
  document.getElementById("zoom").showModal();
}

function open(button) {
  const target = Number(button.dataset.target);
  const predicted = Number(button.dataset.predicted);
  const count = Number(button.dataset.count);
  const shown = pages.filter((page) => page.target === target && page.predicted === predicted);
  const missing = count - shown.length;
  document.getElementById("cell-title").textContent =
    target === predicted ? `${classes[target]}, classified correctly` : `${classes[target]}, predicted as ${classes[predicted]}`;
  document.getElementById("cell-note").textContent =
    `${count} ${count === 1 ? "page" : "pages"}` + (missing ? `, ${missing} of them are not in this file` : "");
  document.getElementById("cell-pages").replaceChildren(...shown.map((page) => card(page)));
  document.getElementById("cell").showModal();
}

function sort(heading) {
  const table = heading.closest("table");
  const column = heading.cellIndex;
  const direction = heading.getAttribute("aria-sort") === "descending" ? 1 : -1;
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  const value = (row) => row.cells[column].dataset.value;
  const compare = (a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left === "" || right === "") return (left === "") - (right === "");
    if (column === 0) return -direction * left.localeCompare(right, undefined, { numeric: true });
    return direction * (Number(left) - Number(right));
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

for (const button of document.querySelectorAll("#classes thead button")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}
for (const button of document.querySelectorAll(".matrix button")) {
  button.title = `${classes[button.dataset.target]} → ${classes[button.dataset.predicted]}`;
}
document.querySelector(".matrix").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) open(button);
});
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}
document.getElementById("zoom-image").addEventListener("click", () => document.getElementById("zoom").close());
const mistakes = pages.filter((page) => page.target !== page.predicted).slice(0, 24);
document.getElementById("mistakes")?.replaceChildren(...mistakes.map((page) => card(page)));
const surest = pages.filter((page) => page.surest).sort((a, b) => a.target - b.target);
document.getElementById("surest")?.replaceChildren(...surest.map((page) => card({ ...page, id: classes[page.target] + ": " + page.id }, true)));
