// A line chart of the last minutes: drawn as SVG, read out under the pointer.

import { fill, h } from "./dom.js";
import { bytes, moment } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 120;

function svg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// A chart with `series`, each `[label, second => number]`. `ceiling` is the least height of its scale.
export class Chart {
  constructor(title, series, format, ceiling = 1) {
    Object.assign(this, { series, format, ceiling, seconds: [] });
    this.picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title });
    this.legend = h("p", { class: "legend" });
    this.top = h("span", { class: "scale" });
    this.element = h("figure", { class: "chart" },
      h("figcaption", {}, title, this.top), this.picture, this.legend);
    this.picture.addEventListener("pointermove", (event) => this.read(event));
    this.picture.addEventListener("pointerleave", () => this.readLast());
  }

  // Draws `seconds`, the oldest first, as the right end of `span` of them.
  draw(seconds, span) {
    this.seconds = seconds;
    this.span = span;
    const values = seconds.flatMap((second) => this.series.map(([, value]) => value(second)));
    this.max = nice(Math.max(this.ceiling, ...values), this.format === bytes ? 1024 : 1);
    this.top.textContent = this.format(this.max);
    const lines = this.series.map(([, value], at) => svg("polyline", {
      class: `line line-${at}`,
      points: seconds.map((second, index) => `${this.x(index)},${this.y(value(second))}`).join(" "),
      "vector-effect": "non-scaling-stroke",
    }));
    const grid = [0, 0.5, 1].map((part) => svg("line", {
      class: "grid", x1: 0, x2: WIDTH, y1: this.y(this.max * part), y2: this.y(this.max * part),
      "vector-effect": "non-scaling-stroke",
    }));
    this.cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT, "vector-effect": "non-scaling-stroke" });
    this.picture.replaceChildren(...grid, ...lines);
    if (this.readAt === undefined) this.readLast();
  }

  x(index) {
    return WIDTH - ((this.seconds.length - 1 - index) * WIDTH) / (this.span - 1);
  }

  y(value) {
    return HEIGHT - 1 - (value / this.max) * (HEIGHT - 2);
  }

  read(event) {
    const box = this.picture.getBoundingClientRect();
    const back = Math.round((1 - (event.clientX - box.left) / box.width) * (this.span - 1));
    this.readAt = Math.min(Math.max(this.seconds.length - 1 - back, 0), this.seconds.length - 1);
    this.tell(this.seconds[this.readAt], true);
    if (!this.cursor) return;
    this.cursor.setAttribute("x1", this.x(this.readAt));
    this.cursor.setAttribute("x2", this.x(this.readAt));
    this.picture.append(this.cursor);
  }

  readLast() {
    this.readAt = undefined;
    this.cursor?.remove();
    this.tell(this.seconds.at(-1), false);
  }

  tell(second, isPast) {
    if (!second) return fill(this.legend, "no figures yet");
    fill(this.legend,
      this.series.map(([label, value], at) => h("span", {}, h("i", { class: `dot dot-${at}` }), `${label} `, h("b", {}, this.format(value(second))))),
      isPast && h("span", { class: "dim" }, moment(second.unix_ms)));
  }
}

// The next of 1, 2, 5, 10, ... that is not less than `value`; of sizes, in the unit that they are told in.
function nice(value, base) {
  if (base > 1 && value >= base) return base * nice(value / base, base);
  const step = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((times) => times * step).find((top) => top >= value);
}
