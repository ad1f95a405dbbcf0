"""The sections `coefficients` and `training` of the configuration: how a model is trained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from aejax.config.checks import MOST, is_count, is_non_negative, is_own, is_seed, is_whole, require, require_types

OPTIMIZERS = ("adam", "adamw", "sgd")


@dataclass(frozen=True)
class Coefficients:
    """Numbers that enter the compiled program as values: another value compiles nothing."""

    learning_rate: float = 1e-3
    """step size of the optimizer, times the schedule"""
    l1: float = 0.0
    """weight of the code's L1 norm (sum over units, mean over examples)"""
    noise: float = 0.0
    """standard deviation of gaussian corruption, or probability that a pixel is masked or replaced"""
    beta: float = 1.0
    """weight of a variational model's KL divergence, times its warm-up"""
    free_bits: float = 0.0
    """nats of KL divergence that each unit of a variational code has without paying more"""
    rate_penalty: float = 0.0
    """weight of the KL divergence of the rate from each unit's mean activation (sum over units)"""
    rate: float = 0.05
    """the target of that mean activation"""
    weight_decay: float = 0.0
    """share of every weight that adamw, or an optimizer of your own that takes it, removes at each step, times the
    learning rate (Loshchilov and Hutter 2019)"""

    def __post_init__(self) -> None:
        require_types(self, "coefficients")
        for name, value in dataclasses.asdict(self).items():
            require(is_non_negative(value), f"coefficients.{name}", value, "a finite number of at least 0")


@dataclass(frozen=True)
class Training:
    """How long, in what batches, with which randomness."""

    epochs: int = 10
    """number of epochs; each is one compiled program"""
    passes: int = 1
    """passes over the training set in an epoch (more than one gives a small dataset epochs of a useful length)"""
    batch_size: int = 32
    """examples per step; the last, smaller batch of a pass is dropped"""
    seed: int = 0
    """of everything random: initial weights, order of examples, corruption"""
    schedule: Literal["constant", "cosine"] = "constant"
    """of the learning rate after the warm-up: constant, or a cosine down to 0"""
    warmup_epochs: int = 0
    """epochs over which the learning rate rises linearly from 0"""
    beta_warmup_epochs: int = 0
    """epochs over which coefficients.beta rises linearly from 0"""
    optimizer: str = "adam"
    """adam, adamw (with coefficients.weight_decay), sgd (plain gradient descent), or a function of your own that
    returns an optax transformation, FILE.py:NAME or MODULE:NAME (see `aejax.training.optimizer`)"""
    average: float | None = None
    """decay of an exponential moving average (EMA) of the weights, which evaluation and the trained model then use;
    None uses the weights themselves"""
    patience: int | None = None
    """epochs without a lower test loss after which the run is finished (early stopping); None trains all epochs"""
    clip_norm: float | None = None
    """largest global norm of the gradient; None does not clip"""

    def __post_init__(self) -> None:
        require_types(self, "training")
        for name in ("epochs", "passes", "batch_size"):
            value = getattr(self, name)
            require(is_count(value), f"training.{name}", value, f"a whole number from 1 to {MOST:,}")
        require(is_seed(self.seed), "training.seed", self.seed, "a whole number from 0 to 2**32 - 1")
        require(
            is_whole(self.warmup_epochs, 0, self.epochs - 1),
            "training.warmup_epochs",
            self.warmup_epochs,
            f"from 0 to {self.epochs - 1}, below training.epochs",
        )
        require(
            is_whole(self.beta_warmup_epochs, 0),
            "training.beta_warmup_epochs",
            self.beta_warmup_epochs,
            f"a whole number from 0 to {MOST:,}",
        )
        known = self.optimizer in OPTIMIZERS or is_own(self.optimizer)
        require(known, "training.optimizer", self.optimizer, f"one of {', '.join(OPTIMIZERS)}, or FILE.py:NAME")
        holds = self.average is None or (is_non_negative(self.average) and 0 < self.average < 1)
        require(holds, "training.average", self.average, "between 0 and 1, or None")
        holds = self.patience is None or is_count(self.patience)
        require(holds, "training.patience", self.patience, "a whole number of epochs of at least 1, or None")
        require(
            self.clip_norm is None or (is_non_negative(self.clip_norm) and self.clip_norm > 0),
            "training.clip_norm",
            self.clip_norm,
            "above 0, or None",
        )
