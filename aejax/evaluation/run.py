"""A trained autoencoder: encode, decode, reconstruct, sample, save."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import Config, InputError
from aejax.config.files import local
from aejax.data import Dataset, Examples, Standardization, as_examples, require_range, require_scale
from aejax.evaluation.likelihood import exact
from aejax.models import Autoencoder, ImageShape, Variational, model_class
from aejax.models.dense import identity
from aejax.models.randomness import per_example, stream
from aejax.training import Batch, Checkpoints, Steps, TrainState, build_steps, for_evaluation, memoised, require_own
from aejax.training.identity import Identity
from aejax.training.records import Record
from aejax.training.step import inputs, test_keys, unit_interval, values_of

_CHUNK = 1000


@dataclass(frozen=True, repr=False)
class Run:
    """What `fit` and `load` return.

    Attributes:
        identity: the configuration, the dataset's identity, versions and settings.
        state: step, parameters, optimizer state, the model's other variables.
        history: one dictionary per epoch: step, epoch, seconds, images_per_second, train, test, code.
        summary: the last figures of a finished run; empty for any state before its end.
        dataset: the examples that `fit` trained it on; None of a run that was read from a workdir.
    """

    identity: Identity
    state: TrainState
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    dataset: Dataset | None = None

    def __repr__(self) -> str:
        return f"Run({self.config.model.kind} on {self.identity.dataset.name}, step {int(self.state.step)})"

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone, as plain arrays: what was compiled is compiled again where it is needed.

        The images stay behind, as in a workdir: they may be larger than memory.
        """
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return fields | {"state": jax.device_get(self.state), "dataset": None}

    @property
    def config(self) -> Config:
        """The configuration that was trained."""
        return self.identity.config

    @property
    def description(self) -> dict[str, Any]:
        """The content of config.json."""
        return self.identity.to_dict()

    @property
    def image_shape(self) -> ImageShape:
        """(height, width, channels), as the model meets an example; a vector of D values is (1, D, 1)."""
        return self.identity.dataset.image_shape

    @property
    def vectors(self) -> bool:
        """Whether the examples are vectors [N, D], which then stand wherever images [N, H, W, C] are written here."""
        return self.identity.dataset.vectors

    @property
    def range(self) -> tuple[float, float] | None:
        """Lowest and highest pixel of the training images (see `Dataset.range`); None for vectors of floats."""
        return self.identity.dataset.range

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(np.size(leaf) for leaf in jax.tree.leaves(self.state.params))

    @functools.cached_property
    def is_variational(self) -> bool:
        """Whether the code is drawn from a distribution, and there is a prior to sample from."""
        return issubclass(self._class, Variational)

    @property
    def edge(self) -> Callable:
        """From the decoder's logits to images."""
        return {"bce": jax.nn.sigmoid, "mse": identity}[self.config.loss.reconstruction]

    @property
    def autoencoder(self) -> Autoencoder:
        """The Flax module with its trained parameters."""
        require_own()
        model = self._steps.model(self.state)
        model.config = self.config  # with the fields that no program depends on
        return model

    def encode(self, images: Examples) -> np.ndarray:
        """Images [N, H, W, C], on the scale of those trained on (or uint8) → codes float32[N, code_size]."""
        return self._in_chunks(self._compiled(_encode, self.image_shape), self._examples(images))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes float32[N, code_size] → images float32[N, H, W, C]: probabilities for BCE, as they are for MSE."""
        return self._on_scale(self._in_chunks(self._compiled(_decode, self.edge), self._codes(codes)))

    def logits(self, codes: np.ndarray) -> np.ndarray:
        """Codes float32[N, code_size] → what the decoder gives, float32[N, H, W, C]: for BCE before the sigmoid.

        Of standardized vectors these are standardized values.
        """
        return self._in_chunks(self._compiled(_decode, identity), self._codes(codes))

    def reconstruct(self, images: Examples) -> np.ndarray:
        """Images [N, H, W, C] → their reconstructions float32[N, H, W, C]."""
        return self.decode(self.encode(images))

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """New images float32[count, H, W, C]: codes drawn from the prior of a variational model, decoded.

        Raises:
            InputError: the model has no prior, or says only a part of it, or the count is below 1.
        """
        kind = self._class
        if not self.is_variational:
            raise InputError(f"model.kind is {self.config.model.kind!r}; only a variational model can be sampled from")
        if kind.prior is Variational.prior and kind.log_prior is not Variational.log_prior:
            raise InputError(f"{kind.__name__} has a log_prior of its own and no prior(keys) to draw from")
        if count < 1:
            raise InputError(f"count is {count}; it must be at least 1")
        require_own()
        keys = per_example(stream(seed, "sample"), jnp.arange(count))
        return self.decode(self._compiled(_prior)(keys))

    def interpolate(self, begin: np.ndarray, end: np.ndarray, count: int = 10) -> np.ndarray:
        """Images [N, H, W, C] twice → float32[N, count, H, W, C], decoded along the line from code to code."""
        first, last = self.encode(begin), self.encode(end)
        if len(first) != len(last) or count < 2:
            raise InputError(f"{len(first)} images, {len(last)} others and count {count}; give as many, and at least 2")
        along = np.linspace(first, last, count, axis=1, dtype=np.float32)
        return self.decode(along.reshape(-1, first.shape[1])).reshape(len(first), count, *self.example_shape)

    def traverse(self, images: np.ndarray, unit: int, values: np.ndarray) -> np.ndarray:
        """Images [N, H, W, C] → float32[N, len(values), H, W, C], one unit of their code set to each of the values."""
        codes, values = self.encode(images), np.asarray(values, np.float32)
        if not 0 <= unit < codes.shape[1] or values.ndim != 1 or len(values) == 0:
            raise InputError(f"unit is {unit}, values {values.tolist()}; give 0 to {codes.shape[1] - 1}, and a list")
        varied = np.repeat(codes[:, None], len(values), axis=1)
        varied[..., unit] = values
        return self.decode(varied.reshape(-1, codes.shape[1])).reshape(len(codes), len(values), *self.example_shape)

    def corrupt(self, images: Examples) -> np.ndarray:
        """Images [N, H, W, C] → float32, corrupted (and binarized) as the test images are in evaluation."""
        return self.evaluation_inputs(images)[1]

    def evaluation_inputs(self, images: Examples) -> tuple[np.ndarray, np.ndarray]:
        """Images [N, H, W, C] → (target, input of the model), both float32, as in the evaluation of test images."""
        target, seen = self.standardized_inputs(images)
        return self._on_scale(target), self._on_scale(seen)

    def standardized_inputs(self, images: Examples) -> tuple[np.ndarray, np.ndarray]:
        """The same as the model meets them, [N, H, W, C]: where vectors are standardized, after that."""
        examples = self._examples(images)
        batch = Batch(jnp.asarray(np.asarray(examples).reshape(-1, *self.image_shape)), jnp.arange(len(examples)))
        noise = {"noise": jnp.float32(self.config.coefficients.get("noise", 0.0))}
        return jax.device_get(inputs(self.config, batch, noise, test_keys(self.config.training.seed)))

    def save(self, folder: str | Path) -> None:
        """Write the run to a new folder, which `load` reads.

        Raises:
            InputError: the folder already holds a run, or cannot be written.
        """
        folder = local(folder, "the folder")
        if (folder / "config.json").exists():
            raise InputError(f"{folder} holds a run already; give another folder")
        with contextlib.closing(Record(folder, self.identity)) as record:
            record.start()
            for line in self.history:
                record.add(line)
            with Checkpoints(folder / "checkpoints", record.identity) as checkpoints:
                checkpoints.save(self.state, test_total=self.history[-1]["test"]["total"], records=record.texts)
            if self.summary:
                record.finish(self.summary)

    def export(self, folder: str | Path, kind: Literal["jax", "safetensors", "onnx", "sae_lens"]) -> None:
        """Write the trained model to a new folder, for use without this library; config.json lies beside it.

        Args:
            kind: `jax` and `onnx` write the functions encode, decode and reconstruct, of float32 batches of any size
                (`encode.jax`, for `jax.export.deserialize`, for cpu, cuda and tpu; `encode.onnx`), `safetensors` the
                arrays, each by its path in the model, `sae_lens` a sparse autoencoder of vectors for
                `sae_lens.SAE.load_from_disk`. Images are float32[N, H, W, C], from 0 to 1 where the model was
                trained on uint8; vectors are float32[N, D], which the functions standardize where `encode` does. Needs
                the packages of `aejax[export]`.

        Raises:
            InputError: a package is missing, the folder is there already, or the model cannot be written so.
        """
        from aejax.evaluation.export import export

        export(self, folder, kind)

    @functools.cached_property
    def _class(self) -> type[Autoencoder]:
        return model_class(self.config.model.kind)

    @functools.cached_property
    def _state(self) -> TrainState:
        return for_evaluation(self.state)

    @functools.cached_property
    def _steps(self) -> Steps:
        return build_steps(self.config, self.image_shape)

    def _compiled(self, function: Callable, *static: Any) -> Callable:
        """Compile a function of the model and an array, unless a run of the same shape has compiled it."""
        coefficients = values_of([self.config], alone=True)[0]
        return functools.partial(_compiled(self._steps, function, *static), self._state, coefficients)

    @property
    def example_shape(self) -> tuple[int, ...]:
        """(height, width, channels), or of vectors (D,)."""
        return self.image_shape[1:2] if self.vectors else self.image_shape

    @functools.cached_property
    def standardization(self) -> Standardization | None:
        """What was done to vectors before the model met them; None where nothing was."""
        recorded = self.identity.dataset.standardization
        return None if recorded is None else Standardization.from_dict(recorded)

    def _examples(self, given: Examples) -> np.ndarray:
        """Images [N, H, W, C] or vectors [N, D] as the model is to meet them, refused if it cannot."""
        what = "vectors" if self.vectors else "images"
        examples = as_examples(given, what, "last")  # else the shape below says what is wanted
        if not self.vectors and examples.ndim == 2 and examples.shape[1] == math.prod(self.example_shape):
            examples = np.asarray(examples).reshape(-1, *self.example_shape)  # flat images are no others
        if examples.shape[1:] != self.example_shape:
            taken = ", ".join(map(str, self.example_shape))
            raise InputError(f"{what} have shape {list(examples.shape)}; this model takes [N, {taken}]")
        if self.range is not None:
            require_scale(examples, self.range, f"the {'values' if self.vectors else 'pixels'}")
        if self.standardization is not None:
            return self.standardization.apply(examples)
        require_range(self.config, examples, f"the {'values' if self.vectors else 'pixels'}")
        return examples

    def _on_scale(self, examples: np.ndarray) -> np.ndarray:
        """What a model gives, [N, H, W, C], in the shape and on the scale of the examples."""
        examples = examples.reshape(-1, *self.example_shape)
        return examples if self.standardization is None else self.standardization.invert(examples)

    def _codes(self, codes: np.ndarray) -> np.ndarray:
        codes = np.asarray(codes, np.float32)
        if codes.ndim != 2 or codes.shape[1] != self.config.model.code_size or len(codes) == 0:
            raise InputError(
                f"codes have shape {list(codes.shape)}; this model takes [N, {self.config.model.code_size}]"
            )
        return codes

    def _in_chunks(self, function: Callable, rows: np.ndarray) -> np.ndarray:
        """Apply a compiled function to chunks of one size, and to what is left: nothing is padded (see `epoch`)."""
        require_own()
        starts = range(0, len(rows), _CHUNK)
        return np.concatenate(jax.device_get([function(rows[at : at + _CHUNK]) for at in starts]))


@memoised
def _compiled(steps: Steps, function: Callable, *static: Any) -> Callable:
    """Compile a function of a model: (state, coefficients, array) → array."""
    return exact(lambda state, coefficients, array: function(steps.model(state, coefficients), array, *static))


def _encode(model: Autoencoder, images: jax.Array, shape: ImageShape) -> jax.Array:
    return model.encode(unit_interval(images).reshape(len(images), *shape))


def _decode(model: Autoencoder, codes: jax.Array, edge: Callable) -> jax.Array:
    return edge(model.decode(codes))


def _prior(model: Variational, keys: jax.Array) -> jax.Array:
    return model.prior(keys)
