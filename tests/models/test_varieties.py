"""Every variety of autoencoder learns, can be saved and loaded, and resumes bit for bit."""

import shutil

import numpy as np
import pytest

from aejax import Config, InputError, Model, Training, fit, load, load_config
from aejax.evaluation.measures import code_measures
from runs import leaves

VARIATIONAL = {"model.kind": "variational", "loss.pixels": "sum"}
VARIETIES = {
    "convolutional": {"model.channels": [4]},
    "spatial": {"model.channels": [4], "model.hidden": [], "model.spatial_code": True, "model.code_size": 8},
    "variational": VARIATIONAL | {"data.binarize": True, "schedules.beta.warmup_epochs": 2},
    "importance-weighted": VARIATIONAL | {"loss.bound": "importance", "model.samples": 3},
    "tied": {"model.tied": True},
    "top-k": {"model.code_size": 40, "model.top_k": 3},
    "rate": {"loss.sparsity": "rate", "model.code_activation": "sigmoid", "coefficients.rate_penalty": 0.01},
}
BITS = ("convolutional", "variational")  # with the programs that users get; the other varieties compile fast


@pytest.mark.long  # by default a model of the gallery, which draws from a posterior, and the test after this one
@pytest.mark.parametrize(
    "variety",
    [pytest.param(variety, id=name, marks=[pytest.mark.bits] * (name in BITS)) for name, variety in VARIETIES.items()],
)
def test_each_learns_is_loaded_and_goes_on_bit_for_bit(small, tmp_path, variety):
    config, dataset = small
    config = config.replace(variety)
    whole = fit(config, tmp_path, dataset=dataset, progress=False)
    reconstruction = [line["test"]["reconstruction"] for line in whole.history]
    assert reconstruction[-1] < reconstruction[0] and np.isfinite(reconstruction).all()
    code_size = config.model.code_size
    assert whole.encode(dataset.test).shape == (23, code_size)
    assert whole.reconstruct(dataset.test).shape == dataset.test.shape
    shutil.rmtree(tmp_path / "checkpoints" / str(whole.summary["step"]))  # as after a kill
    (tmp_path / "summary.json").unlink()
    assert len(load(tmp_path).history) == 2
    resumed = fit(config, tmp_path, dataset=dataset, progress=False)
    loaded = load(tmp_path)
    for run in (resumed, loaded):
        assert all(np.array_equal(a, b) for a, b in zip(leaves(whole), leaves(run), strict=True))
        assert run.summary["test"] == whole.summary["test"]
    assert np.array_equal(loaded.reconstruct(dataset.test), whole.reconstruct(dataset.test))


@pytest.mark.long
def test_sparse_codes_are_sparse(small):
    config, dataset = small
    run = fit(config.replace(VARIETIES["top-k"]), dataset=dataset, progress=False)
    assert ((run.encode(dataset.test) != 0).sum(axis=1) <= 3).all()
    means = []
    for weight in (0.0, 1.0):
        rate = VARIETIES["rate"] | {"coefficients.rate_penalty": weight, "training.epochs": 20}
        means.append(fit(config.replace(rate), dataset=dataset, progress=False).summary["code"]["mean"])
    assert abs(means[1] - 0.05) < 0.03 < abs(means[0] - 0.05)


@pytest.mark.long
def test_what_the_readme_says_against_dead_units_helps(digits):
    config = load_config("configs/digits.py").replace(
        {"coefficients.learning_rate": 1e-2, "training.epochs": 4, "training.passes": 5}
    )
    dead = {}
    for name, remedy in (
        ("none", {}),
        ("warm-up", {"schedules.learning_rate.warmup_epochs": 2}),
        ("slope", {"model.code_activation": "elu"}),
    ):
        runs = (fit(config.replace(remedy | {"training.seed": s}), dataset=digits, progress=False) for s in (0, 1))
        dead[name] = sum(code_measures(run.encode(digits.test))["dead_units"] for run in runs)
    assert dead["slope"] == 0 < dead["warm-up"] < dead["none"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.kind": "gan"}, "model.kind is 'gan'; it must be plain, variational, FILE.py:CLASS"),
        ({"model.kind": "variational"}, "loss.pixels is 'mean'; it must be sum"),
        (VARIATIONAL | {"model.top_k": 3}, "model.top_k is 3"),
        (VARIATIONAL | {"model.tied": True}, "model.tied"),
        (VARIATIONAL | {"model.code_activation": "relu"}, "model.code_activation is 'relu'"),
        (
            VARIATIONAL | {"loss.bound": "importance", "coefficients.free_bits": 0.1},
            "free_bits is 0.1, and .* declares no free_bits",
        ),
        ({"coefficients.beta": 2.0}, "beta is 2.0, and model.kind plain.* declares no beta"),
        ({"coefficients.penalty": 2.0}, "declares no penalty; declared are: learning_rate, l1"),
        ({"coefficients.contraction": 2.0}, "declares no contraction; declared are: learning_rate, l1"),
        ({"model.options.k": 2}, "model.options.k is 2, and model.kind plain declares no k"),
        (
            {"model.kind": "a.py:A", "model.options.k": {}},
            "model.options.k is {}; it must be a finite number",
        ),
        (
            {"model.kind": "a.py:A", "coefficients.l1": -1},
            "coefficients.l1 is -1; it must be a finite number of at least 0",
        ),
        (
            {"coefficients.weight_decay": 0.1},
            r"weight_decay is 0.1, and .*training.optimizer adam.* declares no weight_decay",
        ),
        (
            {"training.optimizer": "adamax"},
            "training.optimizer is 'adamax'; it must be one of adam, adamw, sgd, or FILE",
        ),
        ({"training.average": 1.0}, "training.average is 1.0; it must be between 0 and 1"),
        ({"training.patience": 0}, "training.patience is 0"),
        ({"model.samples": 4}, "samples is 4; it must be 1 while"),
        ({"schedules.l1.warmup_epochs": -1}, "schedules.l1.warmup_epochs is -1"),
        ({"model.top_k": 33}, "top_k is 33; it must be from 1 to 32"),
        ({"model.tied": True, "model.channels": [3]}, "tied is True; it must be False except for mirrored dense"),
        ({"model.spatial_code": True}, r"hidden is \(128,\); it must be empty"),
        ({"loss.sparsity": "rate"}, "code_activation is 'relu'; it must be sigmoid"),
        ({"coefficients.rate_penalty": 0.1}, "rate_penalty is 0.1, and .*loss.sparsity l1 declares no rate_penalty"),
        ({"model.channels": [0]}, "channels is"),
    ],
)
def test_what_cannot_go_together_is_refused_in_one_line(changes, message):
    with pytest.raises(InputError, match=message) as refused:
        Config().replace(changes)
    assert "\n" not in str(refused.value)


def test_a_class_of_ones_own_is_found_by_file_or_module(small, tmp_path):
    config, dataset = small
    own = tmp_path / "own.py"
    own.write_text(
        "import aejax\n\n\nclass Halved(aejax.Autoencoder):\n    def decode(self, codes):\n"
        "        return super().decode(codes) / 2\n\n\nclass Other: ...\n"
    )
    run = fit(config.replace({"model.kind": f"{own}:Halved"}), tmp_path / "run", dataset=dataset, progress=False)
    codes = run.encode(dataset.test)
    autoencoder = load(tmp_path / "run", models=own).autoencoder
    assert np.allclose(autoencoder.decode(codes), autoencoder.decoder(codes) / 2)
    fit(config.replace({"model.kind": "aejax.models.autoencoder:Autoencoder"}), dataset=dataset, progress=False)
    for kind, message in (
        (f"{own}:Other", "must define a class Other that extends"),
        (f"{own}:Missing", "must define a class Missing"),
        (f"{tmp_path}/none.py:A", "there is no file"),
        ("no_such_module:A", "cannot be loaded: ModuleNotFoundError"),
    ):
        with pytest.raises(InputError, match=message):
            fit(config.replace({"model.kind": kind}), tmp_path / "refused", dataset=dataset, progress=False)
    assert not (tmp_path / "refused").exists()


def test_old_configurations_keep_their_meaning():
    """A missing field of an older config.json has its default, which changes nothing."""
    assert Config.from_dict({"model": {"hidden": [7]}, "training": {"epochs": 3}}) == Config(
        model=Model((7,)), training=Training(epochs=3)
    )
