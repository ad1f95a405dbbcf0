"""Construction of a model from the kind that a configuration names."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aejax.config import Config, InputError, complete
from aejax.config.checks import is_own
from aejax.config.user_files import explained, line_of, own
from aejax.models.autoencoder import Autoencoder
from aejax.models.networks import ImageShape
from aejax.models.variational import Variational

KINDS = {"plain": Autoencoder, "variational": Variational}


def model_class(kind: str) -> type[Autoencoder]:
    """Return the class that `model.kind` names: one of `KINDS`, or a class of the user.

    Raises InputError: there is no such class, or it does not extend `aejax.Autoencoder`.
    """
    if kind in KINDS:
        return KINDS[kind]
    found = own(kind, "model.kind")
    if not (isinstance(found, type) and issubclass(found, Autoencoder)):
        place, _, name = kind.rpartition(":")
        raise InputError(f"model.kind is {kind!r}; {place} must define a class {name} that extends aejax.Autoencoder")
    return found


def build(config: Config, image_shape: ImageShape, rngs: nnx.Rngs) -> Autoencoder:
    """Build the autoencoder that a configuration describes, with fresh weights.

    Raises InputError: there is no such class, the class does not declare a given coefficient or option, it would ignore
        a field or compute it wrongly, it fails, or it has an array as an attribute.
    """
    kind = model_class(config.model.kind)
    if is_own(config.model.kind):
        config.require_kind(issubclass(kind, Variational), own_loss=kind.loss is not Autoencoder.loss)
    config = complete(config)
    # Flax would place arrays with partitioning metadata at once, on the mesh of a context, and fail without a mesh.
    placed_later = nnx.use_eager_sharding(False) if hasattr(nnx, "use_eager_sharding") else contextlib.nullcontext()
    with explained(), placed_later:
        model = kind(config, image_shape, rngs)
    for _, module in nnx.iter_graph(model):
        for name, value in vars(module).items() if isinstance(module, nnx.Module) else ():
            if isinstance(value, jax.Array | np.ndarray):
                where = f"{config.model.kind}{line_of(type(module).__init__)}"
                raise InputError(
                    f"{where}: the attribute {name} of {type(module).__name__} is an array; write self.{name} = "
                    f"aejax.frozen(...) and read self.{name}[...], or make it an nnx.Param to train it"
                )
    return model


def frozen(array: Any) -> nnx.Variable:
    """Make an attribute of a model from an array that is not trained, such as a mask or a fixed projection.

    Read it by `self.mask[...]`. It is saved with the run, in float32 where the array is float64.
    """
    return nnx.Variable(jnp.asarray(array))
