// Elements are made here, and of text alone: nothing that a client has sent is ever read as HTML.

const TYPED_MS = 250;

// `h("p", { class: "error", onclick: act }, "text", element)`: null and false are left out.
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value") element.value = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  fill(element, ...children);
  return element;
}

// Has `element` hold these and nothing else. What had the keyboard has it afterwards, if it is there again.
export function fill(element, ...children) {
  const focused = element.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  if (focused !== null) {
    const again = [...element.querySelectorAll("a, button, summary")].find((child) => keyOf(child) === focused);
    again?.focus({ preventScroll: true });
  }
  return element;
}

// By what a control is known when it is drawn anew.
function keyOf(control) {
  return control.dataset.key ?? control.getAttribute("href") ?? control.textContent;
}

// Calls `draw` some time after it was asked for, once however often that was, and not while a button in `place` is held
// down: a click on what is replaced meanwhile would be lost. Nothing is drawn for a page that has gone.
export function drawer(life, place, everyMs, draw) {
  let isDue = false;
  const turn = () => {
    if (place.matches(":active")) return setTimeout(turn, everyMs);
    isDue = false;
    if (!life.signal.aborted) draw();
  };
  return () => {
    if (!isDue) setTimeout(turn, everyMs);
    isDue = true;
  };
}

// Calls `task` when nothing has been typed for a moment.
export function whenTyped(form, task) {
  let timer = null;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(task, TYPED_MS);
  });
}

// A table of `rows`; a column is `[title, row => content, class]`. `empty` is said where there is no row.
export function table(columns, rows, empty) {
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  const head = columns.map(([title, , kind]) => h("th", { class: kind, scope: "col" }, title));
  const cell = (row) => ([title, content, kind]) => h("td", { class: kind, "data-title": title }, h("div", {}, content(row)));
  return h("div", { class: "scroll" },
    h("table", {},
      h("thead", {}, h("tr", {}, head)),
      h("tbody", {}, rows.map((row) => h("tr", {}, columns.map(cell(row)))))));
}

// Names and values, one under the other.
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, known.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

// A section with a heading.
export function section(title, ...children) {
  return h("section", {}, h("h2", {}, title), children);
}

// A field of a form under its label.
export function field(label, attributes = {}, options = null) {
  const { value, ...rest } = attributes;
  const input = options
    ? h("select", rest, options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)))
    : h("input", { autocomplete: "off", spellcheck: "false", ...attributes });
  return h("label", { class: "field" }, h("span", {}, label), input);
}

// What the fields of a form hold, by their names, as it is typed.
export function fields(form) {
  return Object.fromEntries(new FormData(form));
}

// Asks before something is done that cannot be undone.
export function confirmed(question) {
  return window.confirm(question);
}

// Has the browser save `text` as a file.
export function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { href: url, download: name }).click();
  URL.revokeObjectURL(url);
}
