import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32
from scipy import stats

from aejax.models import randomness


def test_the_generator_is_the_one_of_jax():
    counter = jnp.arange(1000, dtype=jnp.uint32)
    for seed in (0, 1, 12345):
        key = jax.random.key_data(jax.random.key(seed))
        ours = randomness.threefry_2x32(key[0], key[1], counter[:500], counter[500:])
        assert np.array_equal(jnp.concatenate(ours), threefry_2x32(key, counter))


def test_uniform_and_normal_have_their_moments():
    keys = randomness.per_example(randomness.stream(3, "test"), jnp.arange(2000))
    uniform, normal = randomness.uniform(keys, 501), randomness.normal(keys, 501)
    assert uniform.shape == normal.shape == (2000, 501)
    assert uniform.min() >= 0 and uniform.max() < 1
    assert abs(float(uniform.mean()) - 1 / 2) < 2e-3 and abs(float(uniform.var()) - 1 / 12) < 1e-3
    assert bool(jnp.isfinite(normal).all())
    moments = [float((normal**power).mean()) for power in (1, 2, 3, 4)]
    assert np.allclose(moments, [0, 1, 0, 3], atol=0.03)
    assert stats.kstest(np.ravel(normal[:200]), "norm").pvalue > 1e-3
    assert 4.5 < float(jnp.abs(normal).max()) < 5.7  # of a million; the radius has 23 bits, which end there
    assert abs(np.corrcoef(np.asarray(normal[:, :-1]).ravel(), np.asarray(normal[:, 1:]).ravel())[0, 1]) < 5e-3
    rows = np.corrcoef(np.asarray(normal[:20]))
    assert np.abs(rows - np.eye(20)).max() < 0.25


def test_the_cosine_is_one():
    bits = np.random.default_rng(0).integers(0, 2**32, 10_000, dtype=np.uint32)
    bits[:3] = 0, 2**31, 2**32 - 1
    angle = bits.astype(np.int32) * (np.pi / 2**31)
    assert np.allclose(randomness._cosine(jnp.asarray(bits)), np.cos(angle), atol=2e-7)


def test_the_logarithm_is_one():
    numbers = 1 - np.arange(2**23, dtype=np.float32) / np.float32(2**23)  # all that the radius is made from
    expected = np.log(np.float64(numbers))
    assert np.allclose(jax.jit(randomness._logarithm)(numbers), expected, rtol=2e-7, atol=0)


def test_streams_differ_by_seed_name_and_example():
    drawn = {
        float(randomness.uniform(randomness.per_example(randomness.stream(seed, name), jnp.array([example])), 1)[0, 0])
        for seed in (0, 1)
        for name in ("order", "corruption")
        for example in range(5)
    }
    assert len(drawn) == 20
