"""The section `model` of the configuration: which autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from aejax.config.checks import (
    MOST,
    WIDEST,
    Named,
    is_count,
    is_own,
    is_width,
    require,
    require_names,
    require_types,
    require_widths,
)

_Activation = Literal["relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity"]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < 2**63


Option = int | float | str | tuple[int | float | str, ...]


@dataclass(frozen=True)
class Model:
    """The architecture: number of layers and nodes per layer (`hidden`) and the code size."""

    hidden: tuple[int, ...] = (128,)
    """widths of the encoder's layers before the code; none makes it shallow"""
    code_size: int = 32
    """number of units of the code"""
    decoder_hidden: tuple[int, ...] | None = None
    """widths of the decoder's layers after the code; None mirrors the encoder"""
    activation: _Activation = "relu"
    """nonlinearity of every layer but the last, the code included"""
    kind: str = "plain"
    """plain, variational, or a class of your own that extends `aejax.Autoencoder`: FILE.py:CLASS or MODULE:CLASS"""
    code_activation: _Activation | None = None
    """nonlinearity of the code; None takes `activation` (a variational code has none)"""
    channels: tuple[int, ...] = ()
    """widths of 3x3 convolutions of stride 2 before the dense layers, mirrored in the decoder; none makes it dense"""
    spatial_code: bool = False
    """make the code by one more such convolution and not by dense layers: [h, w, code_size / (h w)], flattened"""
    tied: bool = False
    """the decoder's weights are the encoder's, transposed (dense layers only)"""
    top_k: int | None = None
    """keep only the so many largest units of each code; None keeps all"""
    samples: int = 1
    """codes that a variational model draws for each image in training"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """type in which the layers compute; parameters, optimizer and loss are float32 in any case"""
    precision: Literal["default", "high", "highest"] = "default"
    """of the products of float32 arrays in training: an accelerator rounds them by default (a TPU to bfloat16, a GPU to
    TF32); high takes three such products in place of one on a TPU, highest six; a processor rounds nothing"""
    options: Mapping[str, Option] = field(default_factory=Named)
    """numbers, strings or lists, by name, of a class of your own, which reads them when it is built:
    --model.options.NAME"""

    def __post_init__(self) -> None:
        require_types(self, "model")
        require_names(self.options, "model.options")
        if not isinstance(self.options, Named):
            object.__setattr__(self, "options", Named(self.options))
        for name, value in self.options.items():
            parts = value if isinstance(value, tuple) else (value,)
            holds = all(isinstance(part, str) or _is_number(part) for part in parts)
            require(holds, f"model.options.{name}", value, "a finite number, a string, or a list of them")
        require_widths(self.hidden, "model.hidden")
        if self.decoder_hidden is not None:
            require_widths(self.decoder_hidden, "model.decoder_hidden")
        require(is_width(self.code_size), "model.code_size", self.code_size, f"a whole number from 1 to {WIDEST:,}")
        require_widths(self.channels, "model.channels")
        choices = "plain, variational, FILE.py:CLASS or MODULE:CLASS"
        known = self.kind in ("plain", "variational")
        require(known or is_own(self.kind), "model.kind", self.kind, choices)
        require(not (known and self.options), "model.options", self.options, f"empty while model.kind is {self.kind}")
        require(is_count(self.samples), "model.samples", self.samples, f"a whole number from 1 to {MOST:,}")
        if self.top_k is not None:
            holds = is_count(self.top_k) and self.top_k <= self.code_size
            require(holds, "model.top_k", self.top_k, f"from 1 to {self.code_size}, the code size, or None")
        if self.spatial_code:
            require(self.hidden == (), "model.hidden", self.hidden, "empty while model.spatial_code is set")
        if self.tied:
            dense = self.channels == () and not self.spatial_code
            require(
                dense and self.decoder_hidden is None, "model.tied", True, "False for any but mirrored dense layers"
            )
        if self.kind == "variational":
            self.require_variational()

    def require_variational(self) -> None:
        """Refuse what a variational model would ignore.

        Raises:
            InputError: a field has no meaning for it.
        """
        ours = f"while model.kind is {self.kind}"
        require(not self.tied, "model.tied", True, f"False {ours}")
        require(self.top_k is None, "model.top_k", self.top_k, f"None {ours}")
        holds = self.code_activation in (None, "identity")
        require(holds, "model.code_activation", self.code_activation, f"None {ours}")

    def code_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """[code_size], or [h, w, channels] of a spatial code.

        Raises:
            InputError: a spatial code of this size does not fit these images.
        """
        if not self.spatial_code:
            return (self.code_size,)
        halvings = len(self.channels) + 1
        height, width = (-(-side // 2**halvings) for side in image_shape[:2])
        require(
            self.code_size % (height * width) == 0,
            "model.code_size",
            self.code_size,
            f"a multiple of {height * width}, since {halvings} convolutions of stride 2 make {height}x{width} of "
            f"{image_shape[0]}x{image_shape[1]} images",
        )
        return height, width, self.code_size // (height * width)
