"""Sparse autoencoders in each form that SAELens knows, by `options["form"]`; not to be trained."""

import jax
import jax.numpy as jnp
from flax import nnx

import aejax


class Dictionary(aejax.Autoencoder):
    options = {"form": "standard"}

    def __init__(self, config, image_shape, rngs):
        self.config, self.image_shape, self.form = config, image_shape, config.model.options["form"]
        width, units = image_shape[1], config.model.code_size
        self.arrays = nnx.Dict(W_enc=_drawn(rngs, width, units), W_dec=_drawn(rngs, units, width))
        self.arrays["b_dec"] = _drawn(rngs, width)
        for name in ("b_gate", "r_mag", "b_mag") if self.form == "gated" else ("b_enc",):
            self.arrays[name] = _drawn(rngs, units)
        if self.form in (sizes := {"jumprelu": (units,), "batchtopk": (), "matryoshka": ()}):
            self.arrays["threshold"] = _drawn(rngs, *sizes[self.form])

    def encode(self, images):
        arrays = {name: array[...] for name, array in self.arrays.items()}
        centred = images.reshape(len(images), -1) - arrays["b_dec"]
        if self.form == "gated":
            gates, sizes = centred @ arrays["W_enc"], centred @ (arrays["W_enc"] * jnp.exp(arrays["r_mag"]))
            return jnp.where(gates + arrays["b_gate"] > 0, jax.nn.relu(sizes + arrays["b_mag"]), 0)
        units = centred @ arrays["W_enc"] + arrays["b_enc"]
        if self.form == "topk":
            return jax.nn.relu(jnp.where(units >= jax.lax.top_k(units, 3)[0][:, -1:], units, 0))
        return jnp.where(units > arrays.get("threshold", 0), jax.nn.relu(units), 0)

    def decode(self, codes):
        decoded = codes @ self.arrays["W_dec"][...] + self.arrays["b_dec"][...]
        return decoded.reshape(-1, *self.image_shape)

    def sae_lens(self):
        arrays = {name: array[...] for name, array in self.arrays.items()}
        return self.form, arrays | ({"k": 3} if self.form == "topk" else {})


def _drawn(rngs, *shape):
    return nnx.Param(0.5 * jax.random.normal(rngs.params(), shape))
