"use strict";
// The operations of an encoder or a decoder (aejax/models/operations.py), on one example: Float32Array → Float32Array.

const ACTIVATIONS = {
  relu: (x) => Math.max(x, 0),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  gelu: (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  silu: (x) => x / (1 + Math.exp(-x)),
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

const OPERATIONS = {
  dense(x, shape, { kernel, bias }) {
    const sums = Float64Array.from(bias);
    for (let i = 0; i < x.length; i++) {
      if (x[i] === 0) continue;
      for (let o = 0, at = i * sums.length; o < sums.length; o++, at++) sums[o] += x[i] * kernel[at];
    }
    return [Float32Array.from(sums), [sums.length]];
  },

  convolution(x, [height, width, channels], { kernel, bias, stride, size }) {
    const features = bias.length;
    const made = new Float32Array(size[0] * size[1] * features);
    const sums = new Float64Array(features);
    for (let row = 0; row < size[0]; row++) {
      for (let column = 0; column < size[1]; column++) {
        sums.set(bias);
        for (let i = 0; i < 3; i++) {
          for (let j = 0; j < 3; j++) {
            const y = row * stride + i - 1;
            const z = column * stride + j - 1;
            if (y < 0 || y >= height || z < 0 || z >= width) continue;
            for (let channel = 0; channel < channels; channel++) {
              const value = x[(y * width + z) * channels + channel];
              if (value === 0) continue;
              const at = ((i * 3 + j) * channels + channel) * features;
              for (let f = 0; f < features; f++) sums[f] += value * kernel[at + f];
            }
          }
        }
        made.set(sums, (row * size[1] + column) * features);
      }
    }
    return [made, [...size, features]];
  },

  doubling(x, [, width, channels], { size }) {
    const features = channels / 4;
    const made = new Float32Array(size[0] * size[1] * features);
    for (let row = 0; row < size[0]; row++) {
      for (let column = 0; column < size[1]; column++) {
        const from = ((row >> 1) * width + (column >> 1)) * channels + ((row & 1) * 2 + (column & 1)) * features;
        made.set(x.subarray(from, from + features), (row * size[1] + column) * features);
      }
    }
    return [made, [...size, features]];
  },

  activation: (x, shape, { name }) => [x.map(ACTIVATIONS[name]), shape],
  reshape: (x, before, { shape }) => [x, shape],
  everysecond: (x, [length]) => [x.filter((_, i) => i % 2 === 0), [length / 2]],

  largest(x, shape, { count }) {
    const places = [...x.keys()].sort((i, j) => Math.abs(x[j]) - Math.abs(x[i])); // equal ones stay in order
    const kept = new Set(places.slice(0, count));
    return [x.map((value, i) => (kept.has(i) ? value : 0)), shape];
  },
};

function numbers(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

// A function of one example of a shape, from a list of operations whose arrays are in base64.
function composed(operations, given) {
  const ready = operations.map((operation) => {
    const own = { ...operation };
    for (const name of ["kernel", "bias"]) if (name in own) own[name] = numbers(own[name]);
    return own;
  });
  return (example) => {
    let x = Float32Array.from(example);
    let shape = given;
    for (const operation of ready) [x, shape] = OPERATIONS[operation.kind](x, shape, operation);
    return x;
  };
}
