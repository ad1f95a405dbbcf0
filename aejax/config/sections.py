"""The sections of a configuration, each checked when it is built."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from aejax.config.checks import (
    COUNT,
    EPOCHS,
    POSITIVE,
    SEED,
    SHARE,
    WIDTH,
    WIDTHS,
    Allowed,
    Named,
    Section,
    is_finite,
    is_own,
    require,
    whole,
)
from aejax.config.numbers import AUGMENTATIONS, KINDS, OPTIMIZERS, Options

_Activation = Literal["relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity"]
SELECT = Allowed(
    lambda value: re.fullmatch(r"((min|max) )?\w+", value),
    "the name of a term of the loss or of a metric, after min (default) or max, such as total or max accuracy",
)
_PATHS = Allowed(
    lambda value: isinstance(value, tuple) and all(isinstance(path, str) and path for path in value),
    "a list of paths, such as encoder and decoder.layers.0",
)
_AUGMENTATIONS = Allowed(
    lambda value: isinstance(value, tuple) and set(value) <= {*AUGMENTATIONS} and len(set(value)) == len(value),
    f"some of {', '.join(AUGMENTATIONS)}, each once",
)
_PART = Allowed(lambda value: is_finite(value) and 0 <= value < 1, "at least 0 and below 1")
_NAME = Allowed(bool, "a dataset's name or a path")
_KIND = Allowed(lambda value: value in KINDS or is_own(value), f"{', '.join(KINDS)}, FILE.py:CLASS or MODULE:CLASS")
_OPTIMIZER = Allowed(
    lambda value: value in OPTIMIZERS or is_own(value), f"one of {', '.join(OPTIMIZERS)}, or FILE.py:NAME"
)


def _is_coordinator(value: str) -> bool:
    host, _, port = value.rpartition(":")
    return value == "auto" or (host != "" and re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 2**16)


@dataclass(frozen=True)
class Data(Section):
    """The examples."""

    name: Annotated[str, _NAME] = "digits"
    """digits, mnist, fashion_mnist, another image dataset of tensorflow-datasets, the path of a .npy, .npz, .csv or
    .parquet file or of a folder of images or of shards (train-0.npy, train-1.npy, ...), or a dataset of your own,
    FILE.py:NAME"""
    source_dir: str | None = None
    """folder with the original files of mnist or fashion_mnist, or with one folder per dataset; default: the
    environment variable AEJAX_SOURCE_DIR"""
    binarize: bool = False
    """draw each pixel as 0 or 1 with its value as the probability, anew at every step; the target too"""
    augmentation: Annotated[tuple[str, ...], _AUGMENTATIONS] = ()
    """changes of the training images, drawn anew at every step, of input and target alike: shift (by whole pixels; the
    rest is 0), flip (left and right), crop (a window, enlarged to the image); see --coefficients.shift and .crop"""
    order_seed: Annotated[int, SEED] | None = None
    """seed of the order of examples; None takes training.seed"""
    channels: Literal["auto", "first", "last"] = "auto"
    """position of the channels of arrays from a file, [N, C, H, W] or [N, H, W, C]; auto refuses arrays that look like
    the first form"""
    size: Annotated[int, whole(1, 2**14)] | None = None
    """resize images (antialiased) until their shorter side has this number of pixels, and keep the square in the
    centre; None keeps the size, which must be that of all images"""
    colour: Literal["grey", "rgb"] | None = None
    """convert images to one channel (luma of ITU-R BT.601) or to three; None keeps one channel where all are grey"""
    label: str | None = None
    """column of a table, or key of an example, that holds the classes"""
    standardize: bool = False
    """give each feature of vectors mean 0 and standard deviation 1 over the training examples; the trained model takes
    and returns values on the scale of the data"""
    missing: Literal["refuse", "mask"] = "refuse"
    """missing values (NaN) of vectors: refuse, or mask, which replaces them by the feature's training mean in the input
    and leaves them out of the loss and of metrics"""
    validation: Annotated[float, _PART] | None = None
    """share of the training examples that is set aside as validation examples, by which training.patience, sweeps and
    the best checkpoint choose; 0 sets none aside. None takes the validation part of the dataset; if there is none,
    0.1 where something chooses, otherwise 0"""
    placement: Literal["auto", "device", "stream"] = "auto"
    """keep all images on the device, or stream them to it in blocks; auto keeps them on the device if they and the
    state fit in half of its free memory. The result does not depend on the placement"""

    @property
    def reading(self) -> dict[str, Any]:
        """The fields that `aejax.load_dataset` and `aejax.Dataset.from_arrays` take, by name."""
        return {name: getattr(self, name) for name in ("channels", "size", "colour", "missing", "label")}


@dataclass(frozen=True)
class Model(Section):
    """The architecture: number of layers and nodes per layer (`hidden`) and the code size."""

    hidden: Annotated[tuple[int, ...], WIDTHS] = (128,)
    """widths of the encoder's layers before the code; no widths make the model shallow"""
    code_size: Annotated[int, WIDTH] = 32
    """number of units of the code"""
    decoder_hidden: Annotated[tuple[int, ...], WIDTHS] | None = None
    """widths of the decoder's layers after the code; None mirrors the encoder"""
    activation: _Activation = "relu"
    """nonlinearity of every layer, including the code, except the last layer"""
    kind: Annotated[str, _KIND] = "plain"
    """plain, variational, or a class of your own that extends `aejax.Autoencoder`: FILE.py:CLASS or MODULE:CLASS"""
    code_activation: _Activation | None = None
    """nonlinearity of the code; None takes `activation` (a variational code has none)"""
    channels: Annotated[tuple[int, ...], WIDTHS] = ()
    """widths of 3x3 convolutions of stride 2 before the dense layers, mirrored in the decoder; () is dense"""
    spatial_code: bool = False
    """make the code by one more such convolution instead of dense layers: [h, w, code_size / (h w)], flattened"""
    tied: bool = False
    """the decoder's weights are the encoder's, transposed (dense layers only)"""
    top_k: Annotated[int, COUNT] | None = None
    """keep only the k largest units of each code; None keeps all"""
    samples: Annotated[int, COUNT] = 1
    """codes that a variational model draws for each image in training"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """type in which the layers compute; parameters, optimizer and loss are always float32"""
    precision: Literal["default", "high", "highest"] = "default"
    """precision of products of float32 arrays in training: by default an accelerator rounds the factors (a TPU to
    bfloat16, a GPU to TF32); on a TPU, high takes three products instead of one, highest six; a CPU rounds nothing"""
    options: Options = field(default_factory=Named)
    """static numbers, strings or lists that a class of your own declares: --model.options.NAME"""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "options", Named.of(self.options, "model.options"))
        for name, value in self.options.items():
            for each in value if isinstance(value, tuple) else (value,):
                holds = isinstance(each, str | None) or (isinstance(each, int | float) and abs(each) < 2**63)
                require(holds, f"model.options.{name}", value, "a finite number, a string, or a list of them")
        holds = self.top_k is None or self.top_k <= self.code_size
        require(holds, "model.top_k", self.top_k, f"from 1 to {self.code_size}, the code size, or None")
        if self.spatial_code:
            require(self.hidden == (), "model.hidden", self.hidden, "empty while model.spatial_code is set")
        if self.tied:
            mirrored = self.channels == () and not self.spatial_code and self.decoder_hidden is None
            require(mirrored, "model.tied", True, "False except for mirrored dense layers")

    def code_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Return [code_size], or [h, w, channels] of a spatial code.

        Raises:
            InputError: a spatial code of this size does not fit these images.
        """
        if not self.spatial_code:
            return (self.code_size,)
        halvings = len(self.channels) + 1
        height, width = (-(-side // 2**halvings) for side in image_shape[:2])
        channels, rest = divmod(self.code_size, height * width)
        made = f"{halvings} convolutions of stride 2 make {height}x{width} of {image_shape[0]}x{image_shape[1]} images"
        require(rest == 0, "model.code_size", self.code_size, f"a multiple of {height * width}, since {made}")
        return height, width, channels


@dataclass(frozen=True)
class Loss(Section):
    """The comparison of a reconstruction with the clean image."""

    reconstruction: Literal["bce", "mse", "l1", "huber", "ssim", "ms_ssim"] = "bce"
    """binary cross-entropy on logits; squared error; absolute error; Huber loss: half the squared error up to
    coefficients.delta, linear from there; or 1 - SSIM, 1 - MS-SSIM of images of at least 11, 22 pixels a side"""
    pixels: Literal["mean", "sum"] = "mean"
    """reduction of the reconstruction over pixels and channels, or over features; a sum of bce is in nats per image, as
    an ELBO needs it. A structural similarity is of a whole image: mean"""
    bound: Literal["elbo", "importance"] = "elbo"
    """objective of a variational model: the ELBO, or the importance-weighted bound of `model.samples` codes"""
    sparsity: Literal["l1", "rate"] = "l1"
    """penalty on the code: its L1 norm, or the divergence of each unit's mean from a target rate"""


@dataclass(frozen=True)
class Corruption(Section):
    """The noise on the input; the target stays clean."""

    kind: Literal["none", "gaussian", "masking", "salt_and_pepper"] = "none"
    """gaussian adds noise and clips to [0, 1]; masking sets pixels to 0; salt_and_pepper to 0 or 1"""


@dataclass(frozen=True)
class Training(Section):
    """Duration, batches, randomness and optimizer."""

    epochs: Annotated[int, COUNT] = 10
    """number of epochs"""
    passes: Annotated[int, COUNT] = 1
    """passes over the training set in an epoch (several passes give a small dataset epochs of a useful length)"""
    batch_size: Annotated[int, COUNT] = 32
    """examples per step; the last, smaller batch of a pass is dropped"""
    seed: Annotated[int, SEED] = 0
    """seed of everything random: initial weights, order of examples, corruption"""
    optimizer: Annotated[str, _OPTIMIZER] = "adam"
    """adam, adamw, sgd (plain gradient descent), or a function of your own that returns an optax transformation,
    FILE.py:NAME or MODULE:NAME (see `aejax.training.optimizer`)"""
    average: Annotated[float, SHARE] | None = None
    """decay of an exponential moving average (EMA) of the weights, which evaluation and the trained model then use;
    None uses the weights themselves"""
    patience: Annotated[int, COUNT] | None = None
    """epochs without a better value of `select` after which the run finishes (early stopping); None trains all
    epochs"""
    select: Annotated[str, SELECT] | None = None
    """term of the loss or metric of the validation examples by which the best epoch and the best member of a sweep are
    chosen: total, min l0, max accuracy; None takes the model's own choice, which is total by default"""
    evaluate_test: bool = False
    """evaluate the test examples after each epoch; they are always evaluated at the end"""
    clip_norm: Annotated[float, POSITIVE] | None = None
    """largest global norm of the gradient; None does not clip"""
    start: str | None = None
    """workdir of another run: parameters and other variables with the same path, shape and type begin with its values;
    None begins with new values"""
    frozen: Annotated[tuple[str, ...], _PATHS] = ()
    """parts of the model that are not trained, by their paths, such as encoder and decoder.layers.0"""


@dataclass(frozen=True)
class Devices(Section):
    """The devices of a run; the result does not depend on them."""

    parallel: Literal["jit", "pmap", "shard_map"] = "jit"
    """driver of several devices: the compiler (jit), or each device with its share of the batch"""
    count: Annotated[int, COUNT] | None = None
    """number of devices; None takes all devices"""
    shards: Annotated[int, COUNT] = 1
    """number of parts of the state, along the units of the code, each on devices of its own; the devices of a part
    share the batch. With parallel jit only"""

    def __post_init__(self) -> None:
        super().__post_init__()
        alone = self.shards == 1 or self.parallel == "jit"
        require(
            alone, "devices.shards", self.shards, f"1 while devices.parallel is {self.parallel}; jit splits a state"
        )


@dataclass(frozen=True)
class Hosts(Section):
    """The processes that compute one run together, usually one per host; the result does not depend on them."""

    coordinator: Annotated[str, Allowed(_is_coordinator, "HOST:PORT, auto")] | None = None
    """HOST:PORT at which all processes reach process 0; auto where JAX finds the others by itself (TPU pods, SLURM);
    None runs in this process alone"""
    count: Annotated[int, COUNT] | None = None
    """number of processes; not with auto"""
    index: Annotated[int, EPOCHS] | None = None
    """index of this process, from 0; not with auto"""
    heartbeat_seconds: Annotated[int, COUNT] = 10
    """seconds without a heartbeat after which a process counts as dead"""
    startup_seconds: Annotated[int, COUNT] = 60
    """seconds to wait for all processes at the start"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coordinator in (None, "auto"):
            for name in ("count", "index"):
                value = getattr(self, name)
                require(value is None, f"hosts.{name}", value, "left out unless hosts.coordinator is HOST:PORT")
            return
        require(self.count is not None, "hosts.count", None, "the number of processes, with hosts.coordinator")
        holds = self.index is not None and self.index < self.count
        require(holds, "hosts.index", self.index, f"from 0 to {self.count - 1}, below hosts.count")
