import copy
import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aejax import Coefficients, Config, Corruption, InputError, Loss, Model, Schedule, Training, fit, load_config
from aejax.config import Data, Devices, Hosts, complete
from aejax.config.grid import grid
from aejax.config.user_files import require_scheduled

configs = st.builds(
    Config,
    model=st.builds(
        Model,
        hidden=st.lists(st.integers(1, 2000), max_size=4).map(tuple),
        code_size=st.integers(1, 5000),
        decoder_hidden=st.none() | st.lists(st.integers(1, 2000), max_size=3).map(tuple),
        activation=st.sampled_from(["relu", "tanh", "identity"]),
    ),
    loss=st.builds(Loss, reconstruction=st.sampled_from(["bce", "mse"])),
    corruption=st.builds(Corruption, kind=st.sampled_from(["gaussian", "masking", "salt_and_pepper"])),
    coefficients=st.builds(Coefficients, learning_rate=st.floats(0, 1), l1=st.floats(0, 10), noise=st.floats(0, 1)),
    training=st.builds(Training, epochs=st.integers(1, 99), seed=st.integers(0, 2**32 - 1)),
)


@settings(deadline=None)
@given(configs)
def test_json_and_back(config):
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        (Model, "code_size", 0),
        (Model, "code_size", 2.5),
        (Model, "code_size", 10**11),
        (Model, "hidden", (128, 0)),
        (Model, "hidden", 128),
        (Model, "decoder_hidden", (-1,)),
        (Model, "activation", "sine"),
        (Loss, "reconstruction", "mae"),
        (Corruption, "kind", "blur"),
        (Coefficients, "noise", -0.1),
        (Coefficients, "l1", float("nan")),
        (Coefficients, "learning_rate", float("inf")),
        (Training, "epochs", 0),
        (Training, "batch_size", 0),
        (Training, "passes", 0),
        (Training, "seed", -1),
        (Training, "clip_norm", 0.0),
        (Data, "name", ""),
        (Data, "binarize", "no"),
        (Data, "source_dir", 5),
        (Model, "spatial_code", 1),
        (Model, "hidden", (True,)),
        (Training, "epochs", 10**12),
        (Coefficients, "l1", True),
        (Coefficients, "l1", 10**400),
        (Coefficients, "l1", 1e300),
        (Devices, "count", True),
        (Hosts, "coordinator", 5),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(section, field, value):
    with pytest.raises(InputError, match=rf"{field} is .*must be") as refused:
        section(**{field: value})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"coordinator": "somewhere"}, "HOST:PORT, auto or None"),
        ({"coordinator": ":80", "count": 2, "index": 0}, "HOST:PORT"),
        ({"coordinator": "here:٨٠", "count": 2, "index": 0}, "HOST:PORT"),
        ({"coordinator": "here:99999", "count": 2, "index": 0}, "HOST:PORT"),
        ({"coordinator": "here:80", "count": 2, "index": True}, "hosts.index is True"),
        ({"coordinator": "here:80"}, "hosts.count is None"),
        ({"coordinator": "here:80", "count": 2}, "hosts.index is None; it must be from 0 to 1"),
        ({"coordinator": "here:80", "count": 2, "index": 2}, "hosts.index is 2; it must be from 0 to 1"),
        ({"count": 2}, "hosts.count is 2; it must be left out"),
        ({"coordinator": "auto", "index": 0}, "hosts.index is 0; it must be left out"),
        ({"heartbeat_seconds": 0}, "hosts.heartbeat_seconds"),
        ({"startup_seconds": -1}, "hosts.startup_seconds"),
    ],
)
def test_hosts_that_cannot_be_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Hosts(**fields)


def test_numbers_of_numpy_and_paths_become_plain_values():
    model = Model(hidden=np.array([4, 2]), code_size=np.int64(3))
    assert model == Model(hidden=(4, 2), code_size=3) and type(model.code_size) is int
    assert type(Coefficients(l1=np.float32(0.5))["l1"]) is float
    assert Data(name=Path("images.npy"), binarize=np.True_) == Data(name="images.npy", binarize=True)


def test_a_configuration_is_not_extended():
    @dataclasses.dataclass(frozen=True)
    class Larger(Config):
        more: int = 1

    @dataclasses.dataclass(frozen=True)
    class LargerModel(Model):
        more: int = 1

    with pytest.raises(InputError, match="coefficients and options"):
        Larger()
    with pytest.raises(InputError, match="must be a Model"):
        Config(model=LargerModel())


def test_what_is_no_configuration_is_refused_in_one_line():
    for make in (
        lambda: Config.from_dict([]),
        lambda: Config.from_dict({"model": 5}),
        lambda: Config().replace({5: 1}),
    ):
        with pytest.raises(InputError) as refused:
            make()
        assert "\n" not in str(refused.value)


def test_noise_needs_a_corruption_that_can_use_it():
    with pytest.raises(InputError, match=r"corruption\.kind none.* declares no noise"):
        Config(coefficients=Coefficients(noise=0.4))
    with pytest.raises(InputError, match="probability"):
        Config(corruption=Corruption("masking"), coefficients=Coefficients(noise=1.1))
    assert Config(corruption=Corruption("gaussian"), coefficients=Coefficients(noise=1.1)).coefficients["noise"] == 1.1


def test_replace_changes_one_field_and_checks_it():
    config = Config().replace({"model.hidden": [64, 32], "training.epochs": 7})
    assert config == dataclasses.replace(Config(), model=Model(hidden=(64, 32)), training=Training(epochs=7))
    for unknown, near in (
        ("model.siz", "code_size"), ("modle.hidden", "model"), ("epochs", ""), ("model.hidden.x", ""),
        ("coefficients.l2", "l1"), ("schedules.learningrate.shape", "learning_rate"),
    ):  # fmt: skip
        with pytest.raises(InputError) as refused:
            Config().replace({unknown: 1})
        assert (f"; did you mean {near}?" if near else unknown) in str(refused.value), refused.value
    with pytest.raises(InputError, match=r"no field 'model\.hiden' .*; did you mean hidden\?"):
        Model(hiden=(3,))
    with pytest.raises(InputError, match="code_size"):
        Config().replace({"model.code_size": 0})
    with pytest.raises(InputError, match=r"model\.size"):
        Config.from_dict({"model": {"size": 1}})


def test_what_changes_the_result_leaves_out_where_files_lie():
    config = Config()
    other = config.replace({"model.code_size": 8, "data.source_dir": "/somewhere"})
    assert config.computed | {"model.code_size": 8} == other.computed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no config file"),
        ("x = 1", "needs a function get_config"),
        ("get_config = lambda: {}", "needs a function get_config"),
        ("1 / 0", "fails: .*config.py, line 1 in <module>: ZeroDivisionError"),
        ("from aejax import Model\nget_config = lambda: Model(code_size=0)", "code_size is 0"),
    ],
)
def test_a_config_file_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "config.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_config(path)


def test_a_configuration_with_names_of_one_s_own_is_a_value_like_any_other():
    changes = {"model.kind": "own.py:Own", "model.options.widths": [3, 4], "model.options.k": 2, "coefficients.mine": 1}
    config = Config().replace(changes)
    assert config.model.options == {"widths": (3, 4), "k": 2} and config.coefficients == {"mine": 1.0}
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert pickle.loads(pickle.dumps(config)) == config == copy.deepcopy(config)
    assert hash(config) == hash(config.replace({"model.options.k": 2})) != hash(config.replace({"model.options.k": 3}))
    assert config.computed | {"coefficients.mine": 2} == config.replace({"coefficients.mine": 2}).computed
    with pytest.raises(TypeError, match=r"Config\.replace makes a changed copy"):
        config.coefficients["mine"] = 3.0


def test_schedules_are_a_value_like_any_other():
    config = Config().replace({"schedules.learning_rate.warmup_epochs": 2, "schedules.l1": {"shape": "cyclical"}})
    assert config.schedules == {"learning_rate": Schedule(warmup_epochs=2), "l1": Schedule("cyclical")}
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert (
        config.replace({"schedules": {}})
        == Config()
        == config.replace({"schedules.l1": None, "schedules.learning_rate": None})
    )
    assert hash(config) != hash(Config()) and not config.epochs_may_grow and Config().epochs_may_grow
    with pytest.raises(InputError, match=r"schedules.beta is .*, and .* declares no beta"):
        Config().replace({"schedules.beta.shape": "cosine"})


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Schedule("step"), r"shape is 'step'; it must be one of constant, cosine, cyclical"),
        (Schedule(warmup_epochs=True), r"warmup_epochs is True"),
        (Schedule("cyclical", cycles=0), r"cycles is 0"),
        (Schedule(warmup_epochs=11), r"warmup_epochs is 11; it must be from 0 to 10 while .*training\.epochs is 10"),
        (Schedule("cosine", warmup_epochs=10), r"warmup_epochs is 10; it must be from 0 to 9 while .*shape is cosine"),
        (Schedule("cyclical", warmup_epochs=1), r"warmup_epochs is 1; it must be from 0 to 0 while .*cyclical"),
        (Schedule("cosine", cycles=2), r"cycles is 2; it must be left out unless schedules\.l1\.shape is cyclical"),
        ({"cycles": 2}, r"cycles is 2; it must be left out unless schedules\.l1\.shape is cyclical"),
        ({"shap": "cosine"}, r"there is no field 'schedules\.l1\.shap'"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_by_the_name_of_its_coefficient(schedule, message):
    with pytest.raises(InputError, match=r"schedules\.l1\." + message if "no field" not in message else message):
        Config(schedules={"l1": schedule})


def test_a_schedule_of_a_coefficient_that_is_0_is_refused_except_in_a_sweep(tmp_path):
    config = Config().replace({"schedules.l1.shape": "cosine"})
    with pytest.raises(
        InputError, match=r"coefficients\.l1 is 0\.0; it must be other than 0 while schedules\.l1 is set"
    ):
        fit(config, tmp_path / "run")
    assert not list(tmp_path.iterdir())
    assert len(grid(config, {"l1": [0, 1e-4]}).members) == 2
    require_scheduled(config.replace({"coefficients.l1": 1e-4}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coefficients.noise": 0.4}, "noise is declared by corruption.kind gaussian or masking or salt_and_pepper"),
        ({"coefficients.beta": 1}, "beta is declared by model.kind variational: set model.kind"),
        ({"coefficients.weight_decay": 1}, "weight_decay is declared by training.optimizer adamw"),
        ({"coefficients.rate": 0.1}, "rate is declared by loss.sparsity rate: set loss.sparsity"),
        ({"schedules.noise.shape": "cosine"}, "noise is declared by corruption.kind"),
        ({"coefficients.none": 1}, "declares no none; declared are: learning_rate, l1"),
    ],
)
def test_an_undeclared_coefficient_names_the_setting_that_declares_it(changes, message):
    with pytest.raises(InputError, match=message):
        Config().replace(changes)


def test_a_complete_configuration_has_every_declared_number():
    config = complete(Config().replace({"model.kind": "variational", "loss.pixels": "sum", "coefficients.beta": 2}))
    assert config.coefficients == {"learning_rate": 1e-3, "l1": 0.0, "beta": 2.0, "free_bits": 0.0}
    assert complete(config) == config
    other = config.replace({"coefficients.beta": 3, "training.seed": 5, "training.epochs": 4, "data.name": "mnist"})
    assert config.compiled_in == other.compiled_in != config.replace({"training.batch_size": 8}).compiled_in
