"""A model with its compiled programs and its state, prepared as `fit` and `sweep` prepare them."""

import time
from collections.abc import Sequence

import jax
import numpy as np

from aejax.config import Config, complete
from aejax.data import Dataset
from aejax.sweeps import Members
from aejax.training import Single, build_programs, build_steps, initializer, steps_per_epoch
from aejax.training.programs import like
from aejax.training.sharding import abstract_state

_MANY = 8
"""with more models than these, a stretch is shorter than an epoch, so that it takes as long as an epoch of these"""


class Prepared:
    """A model, or a sweep of models with different seeds, ready to train.

    `in_epoch` is the number of steps per epoch, `stretch` the number of steps that are timed together.

    Args:
        devices: devices to compile for ahead of time; the programs then cannot be called.
    """

    def __init__(
        self, config: Config, dataset: Dataset, members: int = 1, devices: Sequence[jax.Device] | None = None
    ) -> None:
        self.config = config = complete(config)
        first, same = config.training.seed, config.replace({"data.order_seed": config.training.seed})
        seeds = {f"seed {seed}": same.replace({"training.seed": seed}) for seed in range(first, first + members)}
        models = Single() if members == 1 else Members(seeds)
        self.driver, values = models.driver(config, devices), models.values(config)
        self.in_epoch = steps_per_epoch(config.training, len(dataset.train))
        self.stretch = max(1, self.in_epoch * _MANY // max(_MANY, members))
        steps = build_steps(config, dataset.image_shape, self.in_epoch, self.driver.batch_axis, len(dataset.train))
        self.state = abstract_state(self.driver, steps, config, dataset.image_shape, values)
        if devices is None:
            self.state = initializer(self.driver, steps, steps.own, like(self.state))(values[1])
        self.programs = build_programs(steps, config, self.driver, self.state, dataset, values)
        begin = time.perf_counter()
        if devices is None:
            self.programs.evaluate(self.programs.snapshot(self.state))
        self._compiling, self._step, self._members = time.perf_counter() - begin, 0, members

    def compile(self) -> float:
        """Compile training, and return the seconds that training and evaluation took to compile."""
        begin = time.perf_counter()
        self.programs.flops(self.stretch)
        return self._compiling + time.perf_counter() - begin

    def seconds(self, steps: int | None = None) -> float:
        """Train some steps of one epoch, by default a stretch, and return the seconds.

        If fewer steps remain in the current epoch, training continues at the start of the next epoch.
        """
        steps = steps or self.stretch
        rest = self.in_epoch - self._step % self.in_epoch
        if rest < steps:
            self._step += rest
            step = jax.device_put(np.int32(self._step), self.state.step.sharding)
            self.state = self.state._replace(step=step)
        self._step += steps
        begin = time.perf_counter()
        self.state, terms = self.programs.train(self.state, steps, self._step - steps)
        jax.block_until_ready((self.state, terms))
        return time.perf_counter() - begin

    def rate(self) -> float:
        """Train a stretch, and return the images per second of all models together."""
        return self.stretch * self.config.training.batch_size * self._members / self.seconds()
