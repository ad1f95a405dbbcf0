"use strict";
// What a page knows of a run (`data`, of page.py), its model, and how images and bars are drawn on a canvas.

const data = JSON.parse(document.getElementById("data").textContent);
const get = (id) => document.getElementById(id);
const [height, width, channels] = data.shape;
const pixels = height * width * channels;
const [low, high] = data.scale;
const count = data.errors.length;
const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const images = Object.fromEntries(Object.entries(data.images).map(([name, base64]) => [name, bytes(base64)]));
const image = (name, i) =>
  Float32Array.from(images[name].subarray(i * pixels, (i + 1) * pixels), (byte) => low + (byte / 255) * (high - low));
const input = (i) => image("corrupted" in images ? "corrupted" : "original", i);
const encode = data.model && composed(data.model.encode, data.shape);
const decode = data.model && composed(data.model.decode, [data.code.size]);
window.aejax = { encode, decode };

const COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"];
const colour = (mark) => {
  const probe = get("title").style;
  probe.color = `var(${mark})`;
  const found = getComputedStyle(get("title")).color;
  probe.color = "";
  return found;
};

function show(canvas, values) {
  canvas.width = width;
  canvas.height = height;
  const shown = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) {
      const value = values[i * channels + (channels >= 3 ? c : 0)];
      shown.data[4 * i + c] = (255 * (value - low)) / (high - low); // clamped by the array's type
    }
    shown.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(shown, 0, 0);
}

// A canvas of as many pixels as it covers on the screen; returns its context and its size.
function sized(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const box = canvas.getBoundingClientRect();
  canvas.width = Math.max(1, Math.round(box.width * ratio));
  canvas.height = Math.max(1, Math.round(box.height * ratio));
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return [context, box.width, box.height];
}

function bars(canvas, values, most, name) {
  const [context, wide, tall] = sized(canvas);
  const step = wide / values.length;
  const base = tall - 16;
  context.fillStyle = colour("--mark");
  values.forEach((value, i) => {
    const size = (Math.abs(value) / (most || 1)) * (base - 14);
    context.fillRect(i * step, base - size, Math.max(step - (step > 3 ? 1 : 0), 0.5), size);
  });
  context.fillStyle = colour("--soft");
  context.font = "12px system-ui, sans-serif";
  context.fillRect(0, base, wide, 1);
  context.textAlign = "left";
  context.fillText(name.first, 0, tall - 3);
  context.fillText(name.most, 0, 11);
  context.textAlign = "right";
  context.fillText(name.last, wide, tall - 3);
}
