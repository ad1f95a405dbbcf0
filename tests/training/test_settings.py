"""JAX's own settings that change the numbers: recorded, and never changed unnoticed when a run goes on."""

import json

import jax
import numpy as np
import pytest

from aejax import InputError, fit


@pytest.mark.parametrize(
    ("name", "other"),
    [
        pytest.param("jax_threefry_partitionable", False, marks=pytest.mark.long),
        ("jax_enable_x64", True),
        pytest.param("jax_default_matmul_precision", "highest", marks=pytest.mark.long),
    ],
)
def test_a_run_does_not_go_on_under_another_setting(small, tmp_path, name, other):
    config, dataset = small
    fit(config.replace({"training.epochs": 1}), tmp_path, dataset=dataset, progress=False)
    before = getattr(jax.config, name)
    assert json.loads((tmp_path / "config.json").read_text())["settings"][name] == before
    try:
        jax.config.update(name, other)
        with pytest.raises(InputError, match=rf"another run, .* \({name}: {other} here, {before} there\)"):
            fit(config.replace({"training.epochs": 2}), tmp_path, dataset=dataset, progress=False)
    finally:
        jax.config.update(name, before)
    run = fit(config.replace({"training.epochs": 2}), tmp_path, dataset=dataset, progress=False)
    assert len(run.history) == 2


@pytest.mark.long
def test_the_generator_of_others_does_not_matter(small):
    config, dataset = small
    config = config.replace({"training.epochs": 1, "model.kind": "variational", "loss.pixels": "sum"})
    one = fit(config, dataset=dataset, progress=False)
    try:
        jax.config.update("jax_default_prng_impl", "rbg")
        other = fit(config, dataset=dataset, progress=False)
    finally:
        jax.config.update("jax_default_prng_impl", "threefry2x32")
    assert np.array_equal(one.encode(dataset.test), other.encode(dataset.test))


@pytest.mark.long
def test_double_precision_elsewhere_does_not_change_a_model(small):
    config, dataset = small
    config = config.replace({"training.epochs": 1, "corruption.kind": "masking", "coefficients.noise": 0.3})
    one = fit(config, dataset=dataset, progress=False)
    try:
        jax.config.update("jax_enable_x64", True)
        other = fit(config, dataset=dataset, progress=False)
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(other.state)} <= {"float32", "int32", "uint32"}
        assert other.encode(dataset.test).dtype == np.float32
    finally:
        jax.config.update("jax_enable_x64", False)
    assert {leaf.shape for leaf in jax.tree.leaves(one.state)} == {leaf.shape for leaf in jax.tree.leaves(other.state)}
