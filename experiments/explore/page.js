"use strict";
// The page itself: pages of images, sliders, the plane, the charts.

// ---- originals and reconstructions

const PER_PAGE = 20;
let page = 0;
let order = [...data.errors.keys()];
let chosen = 0;

function gallery() {
  const pages = Math.ceil(count / PER_PAGE);
  page = Math.min(Math.max(page, 0), pages - 1);
  get("place").textContent = `${page + 1} of ${pages}`;
  get("previous").disabled = page === 0;
  get("next").disabled = page === pages - 1;
  get("gallery").replaceChildren(
    ...order.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map((i) => {
      const cell = document.createElement("button");
      cell.type = "button";
      cell.setAttribute("aria-pressed", i === chosen);
      cell.setAttribute("aria-label", `test image ${i}, error ${data.errors[i].toFixed(4)}`);
      for (const name of Object.keys(images)) {
        const canvas = document.createElement("canvas");
        show(canvas, image(name, i));
        cell.append(canvas);
      }
      cell.append(data.errors[i].toFixed(4));
      cell.addEventListener("click", () => {
        choose(i);
        for (const other of get("gallery").children) other.setAttribute("aria-pressed", other === cell);
      });
      return cell;
    }),
  );
}
get("previous").addEventListener("click", () => { page--; gallery(); });
get("next").addEventListener("click", () => { page++; gallery(); });
get("order").addEventListener("change", ({ target }) => {
  const sign = { test: 0, worst: -1, best: 1 }[target.value];
  order = [...data.errors.keys()].sort((a, b) => sign * (data.errors[a] - data.errors[b]) || a - b);
  page = 0;
  gallery();
});
get("gallery-note").textContent = `From top to bottom: ${Object.keys(images).join(", ")}; ${data.error_unit}.`;

// ---- the decoder, live

let code = null;
const sliders = [];

function decoded() {
  show(get("decoded"), decode(code));
}

function choose(i) {
  chosen = i;
  if (!encode) return;
  code = encode(input(i));
  for (const { unit, slider, shown } of sliders) {
    slider.value = code[unit];
    shown.textContent = code[unit].toFixed(2);
  }
  decoded();
}

if (decode) {
  get("live").hidden = false;
  for (const { unit, least, most } of data.code.sliders) {
    const label = document.createElement("label");
    const slider = Object.assign(document.createElement("input"), { type: "range", step: "any" });
    [slider.min, slider.max] = [least, most];
    const shown = document.createElement("output");
    slider.addEventListener("input", () => {
      code[unit] = slider.valueAsNumber;
      shown.textContent = code[unit].toFixed(2);
      decoded();
    });
    label.append(`unit ${unit}`, slider, shown);
    get("sliders").append(label);
    sliders.push({ unit, slider, shown });
  }
}

// ---- the plane of the code

const { x: xs, y: ys } = data.plane;
const span = (values) => {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const edge = 0.04 * (most - least || 1);
  return [least - edge, most + edge];
};
const [left, right] = span(xs);
const [bottom, top_] = span(ys);
let pointed = 0;
const known = (i) => data.labels && data.labels[i] >= 0; // -1: a missing label

function plane() {
  const canvas = get("points");
  canvas.style.height = `${canvas.getBoundingClientRect().width * 0.75}px`;
  const [context, wide, tall] = sized(canvas);
  const at = (i) => [((xs[i] - left) / (right - left)) * wide, (1 - (ys[i] - bottom) / (top_ - bottom)) * tall];
  for (let i = 0; i < count; i++) {
    context.fillStyle = known(i) ? COLOURS[data.labels[i] % COLOURS.length] : colours.mark;
    context.beginPath();
    context.arc(...at(i), 2.5, 0, 7);
    context.fill();
  }
  context.strokeStyle = colours.text;
  context.lineWidth = 2;
  context.beginPath();
  context.arc(...at(pointed), 6, 0, 7);
  context.stroke();
}

function point(i) {
  pointed = i;
  show(get("point-image"), image("original", i));
  const label = known(i) ? `, class ${data.classes[data.labels[i]]}` : "";
  get("point-caption").textContent = `test image ${i}${label}`;
  plane();
}

function under(x, y) {
  if (!decode || !data.plane.axes) return;
  get("under").hidden = false;
  const { origin, first, second } = data.plane.axes;
  show(get("under-image"), decode(origin.map((value, i) => value + x * first[i] + y * second[i])));
}

get("points").addEventListener("pointermove", (event) => {
  const box = get("points").getBoundingClientRect();
  const x = left + ((event.clientX - box.left) / box.width) * (right - left);
  const y = top_ - ((event.clientY - box.top) / box.height) * (top_ - bottom);
  const far = (i) => ((xs[i] - x) / (right - left)) ** 2 + ((ys[i] - y) / (top_ - bottom)) ** 2;
  point(xs.reduce((best, _, i) => (far(i) < far(best) ? i : best), 0));
  under(x, y);
});
get("points").addEventListener("click", () => { choose(pointed); gallery(); });
get("points").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  if (!step && event.key !== "Enter") return;
  event.preventDefault();
  if (step) {
    point((pointed + step + count) % count);
    under(xs[pointed], ys[pointed]);
  } else {
    choose(pointed);
    gallery();
  }
});
const range = (least, most) => `${least.toPrecision(3)} to ${most.toPrecision(3)}`;
get("horizontal").textContent = `${data.plane.names[0]}: ${range(left, right)}`;
get("vertical").textContent = data.plane.names[1] && `${data.plane.names[1]}: ${range(bottom, top_)}`;
get("plane-title").textContent = `The plane of the code: ${data.plane.title}`;
if (data.labels) {
  get("legend").append(
    ...data.classes.map((name, i) => {
      const entry = document.createElement("span");
      const dot = document.createElement("i");
      dot.style.background = COLOURS[i % COLOURS.length];
      entry.append(dot, name);
      return entry;
    }),
  );
}

// ---- the code

const colours = {};

function charts() {
  Object.assign(colours, { mark: colour("--mark"), text: colour("--text") });
  const { percent, edges } = data.code.histogram;
  const most = Math.max(...percent);
  bars(get("histogram"), percent, most, {
    first: edges[0].toPrecision(3),
    last: edges[1].toPrecision(3),
    most: `${most.toFixed(1)} %`,
  });
  const { deviations } = data.code;
  bars(get("units"), deviations, deviations[0], {
    first: "unit with the largest",
    last: `${deviations.length} units`,
    most: deviations[0].toPrecision(3),
  });
  plane();
}

get("title").textContent = data.title;
get("facts").textContent = data.facts;
get("code-facts").textContent = data.code.facts;
get("histogram-note").textContent = data.code.histogram.note;
get("units-note").textContent = data.code.note;
gallery();
charts();
choose(0);
point(0);
addEventListener("resize", charts);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", charts);
