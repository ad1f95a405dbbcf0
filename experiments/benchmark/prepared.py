"""The programs and the state of a model, prepared as `fit` and `sweep` prepare them."""

from __future__ import annotations

import time

import jax
import numpy as np

from aejax.config import Config
from aejax.data import Dataset
from aejax.sweeps import Members
from aejax.training import Absent, Single, abstract, build_programs, build_steps, steps_per_epoch


class Prepared:
    """A model, or a sweep of models with different seeds, ready to train.

    Args:
        absent: devices to compile for; the programs then cannot be called.

    Attributes:
        driver: the devices.
        state: the training state; with `absent`, shapes and types only.
        programs: compiled when they are first called.
        in_epoch: steps per epoch.
        seconds: spent on placing the images and on compiling the evaluation.
    """

    def __init__(self, config: Config, dataset: Dataset, members: int = 1, absent: Absent | None = None) -> None:
        models = Single() if members == 1 else _members(config, members)
        self.driver = models.driver(config, absent)
        self.in_epoch = steps_per_epoch(config.training, len(dataset.train))
        steps = build_steps(config, dataset.image_shape, self.in_epoch, self.driver.batch_axis, len(dataset.train))
        sharding = self.driver.state_sharding
        if absent is None:
            self.state = jax.jit(lambda: models.init(steps), out_shardings=sharding)()
        else:
            self.state = abstract(jax.eval_shape(lambda: models.init(steps)), sharding)
        begin = time.perf_counter()
        self.programs = build_programs(steps, config, self.driver, self.state, dataset, models.values)
        self.seconds = time.perf_counter() - begin
        self._step = 0

    def train(self, count: int) -> float:
        """Train `count` steps of one epoch, and return the seconds.

        If fewer steps remain in the current epoch, training continues at the start of the next epoch.
        """
        rest = self.in_epoch - self._step % self.in_epoch
        if rest < count:
            self._step += rest
            step = jax.device_put(np.int32(self._step), self.state.step.sharding)
            self.state = self.state._replace(step=step)
        self._step += count
        begin = time.perf_counter()
        self.state, terms = self.programs.train(self.state, count)
        jax.block_until_ready((self.state, terms))
        return time.perf_counter() - begin


def _members(config: Config, count: int) -> Members:
    same, first = {"data.order_seed": config.training.seed}, config.training.seed
    seeds = range(first, first + count)
    return Members({f"seed {seed}": config.replace(same | {"training.seed": seed}) for seed in seeds})
