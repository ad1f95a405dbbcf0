"""Construction of a model from the kind that a configuration names."""

from __future__ import annotations

from flax import nnx

from aejax.config import Config, InputError, complete
from aejax.config.checks import is_own
from aejax.config.user_files import own
from aejax.models.autoencoder import Autoencoder
from aejax.models.networks import ImageShape
from aejax.models.variational import Variational

KINDS = {"plain": Autoencoder, "variational": Variational}


def model_class(kind: str) -> type[Autoencoder]:
    """Return the class that `model.kind` names: one of `KINDS`, or a class of the user.

    Raises:
        InputError: there is no such class, or it does not extend `aejax.Autoencoder`.
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

    Raises:
        InputError: there is no such class, the class does not declare a given coefficient or option, or it would ignore
            a field or compute it wrongly.
    """
    kind = model_class(config.model.kind)
    if is_own(config.model.kind):
        config.require_kind(issubclass(kind, Variational), own_loss=kind.loss is not Autoencoder.loss)
    return kind(complete(config), image_shape, rngs)
