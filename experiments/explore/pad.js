"use strict";
// The pad: what is drawn on it is encoded and decoded, and by a denoising model cleaned.

const PEN = 10; // pixels of the pad for one of the image

function drawing() {
  const pad = get("pad");
  const context = pad.getContext("2d", { willReadFrequently: true });
  const random = Float32Array.from({ length: pixels }, Math.random);
  const normal = random.map((u) => Math.sqrt(-2 * Math.log(1 - u)) * Math.cos(2 * Math.PI * Math.random()));
  let last = null;
  let pen = { x: pad.width / 2, y: pad.height / 2, down: false };

  function seen() {
    const ink = context.getImageData(0, 0, pad.width, pad.height).data;
    const values = new Float32Array(pixels);
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        let sum = 0;
        for (let y = 0; y < PEN; y++)
          for (let x = 0; x < PEN; x++) sum += ink[4 * ((row * PEN + y) * pad.width + column * PEN + x)];
        values.fill(sum / (255 * PEN * PEN), (row * width + column) * channels, (row * width + column + 1) * channels);
      }
    }
    const noise = get("noise").valueAsNumber;
    const noisy = {
      none: (value) => value,
      gaussian: (value, i) => Math.min(Math.max(value + noise * normal[i], 0), 1),
      masking: (value, i) => (random[i] < noise ? 0 : value),
      salt_and_pepper: (value, i) => (random[i] < noise ? Number(random[i] < noise / 2) : value),
    };
    return values.map(noisy[data.corruption.kind]);
  }

  function update() {
    const values = seen();
    const drawn = encode(values);
    show(get("drawn"), values);
    show(get("answer"), decode(drawn));
    const most = drawn.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    bars(get("drawn-code"), [...drawn], most, { first: "unit 0", last: `${drawn.length - 1}`, most: most.toFixed(1) });
    get("noise-value").textContent = get("noise").valueAsNumber.toFixed(2);
  }

  function stroke(x, y) {
    context.beginPath();
    context.moveTo(last?.x ?? x, last?.y ?? y);
    context.lineTo(x, y);
    context.stroke();
    last = { x, y };
    update();
  }

  function clear() {
    context.fillStyle = "#000";
    context.fillRect(0, 0, pad.width, pad.height);
    last = null;
    update();
  }

  const place = (event) => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * pad.width, ((event.clientY - box.top) / box.height) * pad.height];
  };
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    last = null;
    stroke(...place(event));
  });
  pad.addEventListener("pointermove", (event) => event.buttons && stroke(...place(event)));
  pad.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step && event.key !== " ") return;
    event.preventDefault();
    if (step) {
      pen.x = Math.min(Math.max(pen.x + step[0] * PEN, 0), pad.width);
      pen.y = Math.min(Math.max(pen.y + step[1] * PEN, 0), pad.height);
    } else {
      pen.down = !pen.down;
      last = null;
    }
    if (pen.down) stroke(pen.x, pen.y);
  });
  get("clear").addEventListener("click", clear);
  get("noise").addEventListener("input", update);
  addEventListener("resize", update);
  context.lineWidth = PEN * Math.max(1.3, Math.min(height, width) / 12);
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = "#fff";
  clear();
}

if (decode && data.drawable) {
  get("drawing").hidden = false;
  get("pad").width = width * PEN;
  get("pad").height = height * PEN;
  if (data.corruption.kind !== "none") {
    get("noise-label").hidden = false;
    get("noise").value = data.corruption.noise;
    get("answer-caption").textContent = "cleaned by the model";
  }
  drawing();
}
