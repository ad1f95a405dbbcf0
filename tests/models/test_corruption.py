import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.models import corruption
from aejax.models.corruption import CORRUPTIONS
from aejax.models.randomness import stream

corrupt = jax.jit(corruption.corrupt, static_argnums=0)
KEY = stream(0, "corruption")
GREY = jnp.full((64, 9, 7, 1), 0.5)
EXAMPLES = jnp.arange(64)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_noise_of_an_example_does_not_depend_on_its_batch(kind):
    whole = corrupt(kind, KEY, EXAMPLES, GREY, jnp.float32(0.4))
    order = np.random.default_rng(0).permutation(64)[:17]
    part = corrupt(kind, KEY, EXAMPLES[order], GREY[order], jnp.float32(0.4))
    assert np.array_equal(part, whole[order])
    assert not np.array_equal(whole, corrupt(kind, jax.random.fold_in(KEY, 1), EXAMPLES, GREY, jnp.float32(0.4)))


@pytest.mark.parametrize("kind", ["none", *CORRUPTIONS])
def test_strength_zero_changes_nothing(kind):
    assert np.array_equal(corrupt(kind, KEY, EXAMPLES, GREY, jnp.float32(0)), GREY)


def test_gaussian_adds_noise_of_its_strength_and_clips():
    noise = corrupt("gaussian", KEY, EXAMPLES, GREY, jnp.float32(0.1)) - GREY
    assert abs(float(noise.std()) - 0.1) < 0.004 and abs(float(noise.mean())) < 0.004
    strong = corrupt("gaussian", KEY, EXAMPLES, GREY, jnp.float32(10.0))
    assert strong.min() == 0 and strong.max() == 1


def test_masking_removes_its_share():
    masked = corrupt("masking", KEY, EXAMPLES, GREY, jnp.float32(0.3))
    assert set(np.unique(masked)) == {0.0, 0.5}
    assert abs(float((masked == 0).mean()) - 0.3) < 0.03


def test_salt_and_pepper_are_even():
    spoiled = corrupt("salt_and_pepper", KEY, EXAMPLES, GREY, jnp.float32(0.4))
    assert abs(float((spoiled == 0).mean()) - 0.2) < 0.03 and abs(float((spoiled == 1).mean()) - 0.2) < 0.03
