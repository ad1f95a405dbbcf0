"""A trained autoencoder: encode, decode, reconstruct, sample, save."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import Config, InputError
from aejax.config.checks import require
from aejax.data import Dataset, Examples, Standardization, as_met
from aejax.data.examples import size
from aejax.evaluation.accepted import accepted, filled
from aejax.evaluation.likelihood import exact, in_chunks
from aejax.models import Autoencoder, ImageShape, Variational, model_class
from aejax.models.autoencoder import reconstructed
from aejax.models.randomness import per_example, stream
from aejax.storage import opened
from aejax.training import Batch, Checkpoints, Steps, TrainState, build_steps, for_evaluation, memoised, require_own
from aejax.training.batches import inputs, unit_interval
from aejax.training.identity import Identity
from aejax.training.records import Record
from aejax.training.selection import Selection
from aejax.training.step import test_keys, values_of
from aejax.training.unreached import unreached


@dataclass(frozen=True, repr=False)
class Run:
    """A trained autoencoder, as `fit` and `load` return it.

    Images [N, H, W, C] are vectors [N, D] in all methods if the model was trained on vectors.

    Attributes:
        identity: the configuration, the dataset's identity, versions and settings.
        state: step, parameters, optimizer state, the model's other variables.
        history: one dictionary per epoch: step, epoch, seconds, images_per_second, train, validation (if there are
            validation examples), test (after the last epoch, and where `training.evaluate_test` is set), code.
        summary: the last metrics of a finished run, or those of the best epoch; empty for another state before the end.
        dataset: the examples that `fit` trained it on; None if the run was read from a workdir.
    """

    identity: Identity
    state: TrainState
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    dataset: Dataset | None = None

    def __repr__(self) -> str:
        return f"Run({self.config.model.kind} on {self.identity.dataset.name}, step {int(self.state.step)})"

    def __str__(self) -> str:
        """Format a table of the layers, with the shapes of their arrays, parameters and bytes."""
        from aejax.evaluation.layers import table

        return table(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields as plain arrays, without the dataset, which may be larger than memory."""
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return fields | {"state": jax.device_get(self.state), "dataset": None}

    @property
    def config(self) -> Config:
        """Configuration that was trained."""
        return self.identity.config

    @property
    def image_shape(self) -> ImageShape:
        """(height, width, channels) of the model's input; (1, D, 1) for vectors."""
        return self.identity.dataset.image_shape

    @property
    def example_shape(self) -> tuple[int, ...]:
        """(height, width, channels), or (D,) for vectors."""
        return self.image_shape[1:2] if self.vectors else self.image_shape

    @property
    def vectors(self) -> bool:
        """Whether the examples are vectors [N, D]."""
        return self.identity.dataset.vectors

    @functools.cached_property
    def parameters(self) -> int:
        """Number of parameters, without those that no gradient reaches."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.state.params)) - sum(self.unreached.values())

    @functools.cached_property
    def unreached(self) -> dict[tuple[str | int, ...], int]:
        """Path → size of the parameters that no gradient reaches: a user's class built them but does not use them."""
        return unreached(self.config, self.identity.dataset)

    @functools.cached_property
    def standardization(self) -> Standardization | None:
        """Standardization of the vectors before the model; None without standardization."""
        recorded = self.identity.dataset.standardization
        return None if recorded is None else Standardization.from_dict(recorded)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of a reconstruction: that of a target, by default `example_shape`."""
        recorded = self.identity.dataset.target_shape
        return self.example_shape if recorded is None else recorded

    @functools.cached_property
    def logits_are_of_probabilities(self) -> bool:
        """Whether the loss is "bce" and the model's `reconstruction` the default, so that errors are in nats."""
        ours = model_class(self.config.model.kind).reconstruction is Autoencoder.reconstruction
        return ours and self.config.loss.reconstruction == "bce"

    @functools.cached_property
    def reconstructs(self) -> bool:
        """Whether `decode` returns examples or targets; a model of the user's own may have no such method."""
        codes = jnp.zeros((1, self.config.model.code_size))
        try:
            jax.eval_shape(lambda: reconstructed(self._steps.model(self.state), codes, self._target_shape))
        except Exception:  # a user's model may raise any type
            return False
        return True

    @property
    def _target_shape(self) -> tuple[int, ...]:
        return as_met(self.target_shape, self.vectors)

    @property
    def autoencoder(self) -> Autoencoder:
        """Flax module with the trained parameters."""
        require_own()
        model = self._steps.model(self.state)
        model.config = self.config  # with the fields that no program depends on
        return model

    def encode(self, images: Examples) -> np.ndarray:
        """Encode images [N, H, W, C], on the scale of the training images or uint8: → codes float32[N, code_size]."""
        examples, trained = self._examples(images), self.identity.dataset
        examples = examples if trained.means is None else filled(examples, trained.imputed)
        return self._apply(_encode, examples, self.image_shape)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decode codes [N, code_size] → images float32[N, H, W, C]; of a model with BCE these are probabilities.

        The model's `reconstruction` makes them of the logits. With targets of the dataset's own, they have the shape of
        the targets.

        Raises InputError: they have the shape of neither.
        """
        return self._on_scale(self.standardized_outputs(codes), self.target_shape)

    def standardized_outputs(self, codes: np.ndarray) -> np.ndarray:
        """Decode codes as `decode` does, on the scale of the loss and in the model's shape [N, H, W, C]."""
        return self._decoded(codes, reconstructed, self._target_shape)

    def logits(self, codes: np.ndarray) -> np.ndarray:
        """Decode codes [N, code_size] → the decoder's output float32[N, H, W, C], before the sigmoid of BCE.

        The output for standardized vectors is standardized. A model with a loss of its own may return another shape.
        """
        return self._decoded(codes, _decode)

    def reconstruct(self, images: Examples) -> np.ndarray:
        """Encode and decode images [N, H, W, C] → float32[N, H, W, C]."""
        return self.decode(self.encode(images))

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Decode codes from the prior of a model, as variational models have it: → images float32[count, H, W, C].

        Raises InputError: the model has no prior, or defines only a part of it, or the count is below 1.
        """
        kind = model_class(self.config.model.kind)
        if not hasattr(kind, "prior"):
            raise InputError(f"model.kind is {self.config.model.kind!r}, which has no method prior(keys) to draw from")
        if kind.prior is Variational.prior and kind.log_prior is not Variational.log_prior:
            raise InputError(f"{kind.__name__} has a log_prior of its own and no prior(keys) to draw from")
        require(count >= 1, "count", count, "at least 1")
        require_own()
        return self.decode(self._apply(kind.prior, per_example(stream(seed, "sample"), jnp.arange(count))))

    def interpolate(self, begin: Examples, end: Examples, count: int = 10) -> np.ndarray:
        """Decode `count` even steps from code to code: images [N, H, W, C] twice → float32[N, count, H, W, C].

        Two single images [H, W, C] give float32[count, H, W, C].
        """
        if self.is_one(begin) and self.is_one(end):
            return self.interpolate(np.asarray(begin)[None], np.asarray(end)[None], count)[0]
        first, last = self.encode(begin), self.encode(end)
        if len(first) != len(last) or count < 2:
            raise InputError(f"{len(first)} examples, {len(last)} others and count {count}; give as many, at least 2")
        along = np.linspace(first, last, count, axis=1, dtype=np.float32)
        return self.decode(along.reshape(-1, first.shape[1])).reshape(len(first), count, *self.target_shape)

    def is_one(self, given: Any) -> bool:
        """Return whether an array is a single example: an image [H, W, C] or [H, W], or a vector [D]."""
        known = [self.example_shape] + [self.example_shape[:2]] * (self.example_shape[2:] == (1,))
        return tuple(getattr(given, "shape", ())) in known

    def traverse(self, images: np.ndarray, unit: int, values: np.ndarray) -> np.ndarray:
        """Decode codes with one unit set to each value: images [N, H, W, C] → float32[N, len(values), H, W, C]."""
        codes, values = self.encode(images), np.asarray(values, np.float32)
        if not 0 <= unit < codes.shape[1] or values.ndim != 1 or len(values) == 0:
            raise InputError(f"unit is {unit}, values {values.tolist()}; give 0 to {codes.shape[1] - 1}, and a list")
        varied = np.repeat(codes[:, None], len(values), axis=1)
        varied[..., unit] = values
        return self.decode(varied.reshape(-1, codes.shape[1])).reshape(len(codes), len(values), *self.target_shape)

    def corrupt(self, images: Examples) -> np.ndarray:
        """Corrupt (and binarize) images [N, H, W, C] as the test images in evaluation: → float32."""
        return self.evaluation_inputs(images)[1]

    def evaluation_inputs(self, images: Examples, targets: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Return target and input of the model for images [N, H, W, C], as in the evaluation: float32 both.

        Values that are missing are NaN in the target, and imputed in the input.

        Args:
            targets: [N, ...] of the dataset's own; None takes the images as targets.
        """
        target, seen = self.standardized_inputs(images, targets)
        return self._on_scale(target, None if targets is None else self.target_shape), self._on_scale(seen)

    def standardized_inputs(self, images: Examples, targets: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the result of `evaluation_inputs` after standardization, in the model's shape [N, H, W, C]."""
        noise = {"noise": jnp.float32(self.config.coefficients.get("noise", 0.0))}
        batch = jax.tree.map(jnp.asarray, self.batch(images, targets))
        keys, imputed = test_keys(self.config.training.seed), self.identity.dataset.imputed
        target, seen, observed = jax.device_get(inputs(self.config, batch, noise, keys, imputed))
        return (target if observed is None else np.where(observed, target, np.float32(np.nan))), seen

    def targets_of(self, dataset: Dataset) -> np.ndarray | None:
        """Return the targets [N, ...] of test examples; None if the model was trained to return its input.

        Raises InputError: the model was trained on targets, and the dataset has none of their shape.
        """
        if self.identity.dataset.target_shape is None:
            return None
        if dataset.target_shape != self.target_shape:
            found = "no targets" if dataset.target_shape is None else f"targets of {size(dataset.target_shape)}"
            wanted = f"it was trained on targets of {size(self.target_shape)}; give test_targets"
            raise InputError(f"{dataset.name} has {found} for {self.config.model.kind}; {wanted}")
        return dataset.test_targets

    def save(self, folder: str | Path, hyperparameters: Mapping[str, Any] | None = None) -> None:
        """Write the run to a new folder, which `load` reads.

        Args:
            hyperparameters: values by name, for the table of finished runs in TensorBoard.

        Raises InputError: the folder already holds a run, or cannot be written.
        """
        with opened(folder, "the folder") as target, contextlib.closing(Record(target, self.identity)) as record:
            if (target / "config.json").exists():
                raise InputError(f"{target} holds a run already; give another folder")
            record.open()
            record.start()
            for line in self.history:
                record.add(line)
            with Checkpoints(target / "checkpoints") as checkpoints:
                selected = Selection.of(self.config).lowest(self.history[-1:])
                checkpoints.save(self.state, selected=selected, records=record.texts)
            if self.summary:
                record.finish(self.summary, hyperparameters)

    def export(self, folder: str | Path, kind: Literal["jax", "safetensors", "onnx", "sae_lens"]) -> None:
        """Write the trained model and config.json to a new folder, for use without this library.

        Args:
            kind: `jax` and `onnx` write the functions encode, decode and reconstruct, of float32 batches of any size:
                images [N, H, W, C], from 0 to 1 if the model was trained on uint8, or vectors [N, D]. `safetensors`
                writes the arrays of the model, `sae_lens` a sparse autoencoder of vectors for SAELens. All kinds need
                the packages of `aejax[export]`.

        Raises InputError: a package is missing, the folder exists already, or the model cannot be exported.
        """
        from aejax.evaluation.export import export

        export(self, folder, kind)

    @functools.cached_property
    def _steps(self) -> Steps:
        return build_steps(self.config, self.image_shape, imputed=self.identity.dataset.imputed)

    def _apply(self, function: Callable, rows: Any, *static: Any) -> np.ndarray:
        """Apply a function of the model to all rows."""
        require_own()
        compiled = _compiled(self._steps, function, *static)
        state, coefficients = for_evaluation(self.state), values_of([self.config], alone=True)[0]
        return in_chunks(lambda part: compiled(state, coefficients, part), rows)

    def batch(self, images: Examples, targets: np.ndarray | None) -> Batch:
        """Return all examples, with their numbers, as one batch of NumPy arrays."""
        rows = np.asarray(self._examples(images)).reshape(-1, *self.image_shape)
        targets = None if targets is None else np.asarray(targets).reshape(len(rows), *self._target_shape)
        return Batch(rows, np.arange(len(rows), dtype=np.int32), targets=targets)

    def _examples(self, given: Examples) -> np.ndarray:
        """Check images [N, H, W, C] or vectors [N, D], and return them standardized."""
        examples = accepted(self.config, self.identity.dataset, given)
        return examples if self.standardization is None else self.standardization.apply(examples)

    def _on_scale(self, examples: np.ndarray, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Convert the model's input or output [N, ...] to the shape and the scale of the examples or targets."""
        examples = examples.reshape(len(examples), *(self.example_shape if shape is None else shape))
        return examples if self.standardization is None else self.standardization.invert(examples)

    def _decoded(self, codes: np.ndarray, function: Callable, *static: Any) -> np.ndarray:
        codes, size = np.asarray(codes, np.float32), self.config.model.code_size
        if codes.ndim != 2 or codes.shape[1] != size or len(codes) == 0:
            raise InputError(f"codes have shape {list(codes.shape)}; this model takes [N, {size}]")
        return self._apply(function, codes, *static)


@memoised
def _compiled(steps: Steps, function: Callable, *static: Any) -> Callable:
    """Compile a function of a model and an array: (state, coefficients, array) → array."""
    return exact(lambda state, coefficients, array: function(steps.model(state, coefficients), array, *static))


def _encode(model: Autoencoder, images: jax.Array, shape: ImageShape) -> jax.Array:
    return model.encode(unit_interval(images).reshape(len(images), *shape))


def _decode(model: Autoencoder, codes: jax.Array) -> jax.Array:
    return model.decode(codes)
