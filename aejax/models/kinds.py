"""From the kind that a configuration names to a model."""

from __future__ import annotations

import dataclasses

from flax import nnx

from aejax.config import Config, InputError
from aejax.config.checks import Watched, is_own
from aejax.config.user_files import own
from aejax.models.autoencoder import Autoencoder
from aejax.models.dense import ImageShape
from aejax.models.variational import Variational

KINDS = {"plain": Autoencoder, "variational": Variational}


def model_class(kind: str) -> type[Autoencoder]:
    """The class that `model.kind` names: in `KINDS`, or of the user's own.

    Raises:
        InputError: there is no such class, or it is no `aejax.Autoencoder`.
    """
    if kind in KINDS:
        return KINDS[kind]
    found = own(kind, "model.kind")
    if not (isinstance(found, type) and issubclass(found, Autoencoder)):
        place, _, name = kind.rpartition(":")
        raise InputError(f"model.kind is {kind!r}; {place} must define a class {name} that extends aejax.Autoencoder")
    return found


def require_model(config: Config) -> None:
    """Refuse what the class of the model would ignore or get wrong.

    Raises:
        InputError: there is no such class, or a field has no meaning for it.
    """
    kind = model_class(config.model.kind)
    variational = issubclass(kind, Variational)
    if variational:
        config.model.require_variational()
    if is_own(config.model.kind):
        config.require_kind(variational, own_loss=kind.loss is not Autoencoder.loss)
    if variational and kind.loss is Autoencoder.loss and config.coefficients.free_bits and not kind.has_closed_form():
        raise InputError(
            f"coefficients.free_bits is {config.coefficients.free_bits}; it must be 0 for {kind.__name__}, whose "
            "divergence has no closed form for each unit"
        )


def build(config: Config, image_shape: ImageShape, rngs: nnx.Rngs) -> Autoencoder:
    """The autoencoder that a configuration describes, with fresh weights.

    Raises:
        InputError: the class of the model does not read one of `model.options`.
    """
    options = Watched(config.model.options, "option")
    watched = dataclasses.replace(config, model=dataclasses.replace(config.model, options=options))
    options.read.clear()  # whoever checked them
    model = model_class(config.model.kind)(watched, image_shape, rngs)
    if unread := [name for name in config.model.options if name not in options.read]:
        raise InputError(
            f"model.options.{unread[0]} is given, and {type(model).__name__} does not read it when it is built"
            + (f"; it reads {', '.join(sorted(options.read))}" if options.read else "")
        )
    return model
