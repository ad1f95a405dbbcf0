"""Runs that start from another run, and parts of a model that stay frozen."""

import hashlib
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import Dataset, InputError, Interrupted, fit, load, sweep
from aejax.training import Batch, build_steps
from aejax.training.source import Source
from aejax.training.step import TrainState
from runs import compiled_steps, rewrite, same, spoiled, traced

OWN = Path(__file__).parents[1] / "own"
STILL = {"coefficients.learning_rate": 0.0, "training.epochs": 1}


@pytest.fixture(scope="module")
def source(small, tmp_path_factory):
    """A trained run and its workdir."""
    config, dataset = small
    folder = tmp_path_factory.mktemp("source") / "run"
    return fit(config, folder, dataset=dataset, progress=False), folder


def arrays(tree):
    """Path → array."""
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_what_agrees_is_taken_and_the_rest_is_printed_and_recorded(small, source, tmp_path, capsys):
    (config, dataset), (trained, folder) = small, source
    wider = config.replace(STILL | {"model.code_size": 6})
    started = fit(wider.replace({"training.start": str(folder)}), tmp_path / "run", dataset=dataset)
    told = capsys.readouterr().out
    fresh, there, here = (arrays(run.state.params) for run in (fit(wider, dataset=dataset), trained, started))
    agreeing = {path for path in here if here[path].shape == there[path].shape}
    assert len(agreeing) == 5 and len(here) == 8
    for path in here:
        assert np.array_equal(here[path], there[path] if path in agreeing else fresh[path]), path
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["start"]
    assert len(recorded["taken"]) == 5 and "encoder.layers.1.kernel" in recorded["taken"] and recorded["step"] == 15
    reason = recorded["left"]["encoder.layers.3.kernel"]
    assert reason == "float32[12, 4] in the source, float32[12, 6] in the new model" and reason in told
    assert recorded["digest"][:12] in told and "takes 5 of 8 arrays" in told


def test_a_run_and_its_workdir_are_the_same_source(small, source):
    (config, dataset), (trained, folder) = small, source
    one, other = (
        fit(config.replace(STILL), dataset=dataset, progress=False, start=start) for start in (trained, folder)
    )
    assert same(one, other) and one.identity.start == other.identity.start
    assert np.array_equal(one.encode(dataset.test), trained.encode(dataset.test))


@pytest.mark.long
def test_the_moving_average_is_what_a_new_run_takes(small, source):
    config, dataset = small
    averaged = config.replace({"training.average": 0.5})
    trained = fit(averaged, dataset=dataset, progress=False)
    started = fit(averaged.replace(STILL), dataset=dataset, progress=False, start=trained)
    assert np.array_equal(started.encode(dataset.test), trained.encode(dataset.test))
    assert not np.array_equal(flat(trained.state.params), flat(started.state.params))


@pytest.mark.parametrize(
    "changes",
    [
        {"training.optimizer": "adamw", "coefficients.weight_decay": 0.5, "training.average": 0.9},
        pytest.param(
            {"training.optimizer": f"{OWN}/lion.py:lion", "coefficients.weight_decay": 0.5, "training.clip_norm": 0.1},
            marks=pytest.mark.long,
        ),
    ],
    ids=["adamw", "own"],
)
def test_a_frozen_part_stays_bit_for_bit_and_has_no_optimizer_state(small, changes):
    config, dataset = small
    config = config.replace({"training.frozen": ["encoder.layers", "decoder.layers.2.bias"], **changes})
    before = build_steps(config, dataset.image_shape).init()
    run = fit(config, dataset=dataset, progress=False)
    for tree in (run.state.params, run.state.average):
        for path, after in arrays(tree).items():
            held = path.startswith("['encoder']") or "[2]['bias']" in path
            assert np.array_equal(after, arrays(before.params)[path]) == held, path
    assert "decoder" in str(run.state.opt_state) and "encoder" not in str(run.state.opt_state)


def test_the_norm_that_is_clipped_is_that_of_the_trained_parameters(small):
    config, dataset = small
    config = config.replace({"training.clip_norm": 1e-3, "training.frozen": ["decoder"]})
    steps = compiled_steps(config, dataset.image_shape)
    batch = Batch(jnp.asarray(dataset.train[:16]), jnp.arange(16))
    after, _ = steps.alone(steps.init(), batch, traced(config))
    assert np.isclose(np.linalg.norm(flat(after.opt_state[1].mu)) / (1 - 0.9), 1e-3, rtol=1e-4)


@pytest.mark.long
def test_tied_kernels_are_frozen_with_the_encoder(small):
    """The state has the encoder's layers within the decoder, which comes first."""
    config, dataset = small
    config = config.replace({"model.tied": True, "training.frozen": ["encoder"], "training.epochs": 1})
    before = arrays(build_steps(config, dataset.image_shape).init().params)
    run = fit(config, dataset=dataset, progress=False)
    kept = {path for path, after in arrays(run.state.params).items() if np.array_equal(before[path], after)}
    assert kept == {path for path in before if "['layer']" in path} and len(before) - len(kept) == 2
    with pytest.raises(InputError, match="which leaves no parameter to train"):
        fit(config.replace({"training.frozen": ["decoder"]}), dataset=dataset)


@pytest.mark.long
def test_a_frozen_part_works_as_in_evaluation(small):
    """Its running means stay, and its dropout is off."""
    config, dataset = small
    config = config.replace({"model.kind": f"{OWN}/batch_norm.py:Normalised", "training.epochs": 1})
    trained = fit(config, dataset=dataset, progress=False)
    still = config.replace({"training.frozen": ["encoder", "norm", "dropout"]})
    run = fit(still, dataset=dataset, progress=False, start=trained)
    assert np.array_equal(run.encode(dataset.test), trained.encode(dataset.test))
    assert not np.array_equal(run.reconstruct(dataset.test), trained.reconstruct(dataset.test))
    # No dropout and no means of a batch in training either: with a step size of 0, both losses are of the same model.
    twice = Dataset("twice", dataset.train, dataset.train)
    line = fit(still.replace(STILL), dataset=twice, progress=False, start=trained).history[0]
    assert np.isclose(line["train"]["total"], line["test"]["total"], rtol=1e-5)
    moved = fit(config.replace({"training.frozen": ["encoder"]}), dataset=dataset, progress=False, start=trained)
    assert not np.array_equal(moved.encode(dataset.test), trained.encode(dataset.test))


@pytest.mark.long
def test_other_variables_are_frozen_too(small, tmp_path):
    config, dataset = small
    (tmp_path / "own.py").write_text(
        "import aejax\nimport jax.numpy as jnp\nfrom flax import nnx\n\n\nclass Counting(aejax.Autoencoder):\n"
        "    def __init__(self, config, image_shape, rngs):\n        super().__init__(config, image_shape, rngs)\n"
        "        self.calls = nnx.Variable(jnp.zeros(2))\n\n"
        "    def __call__(self, images, context=aejax.Context()):\n        self.calls[...] += 1\n"
        "        return super().__call__(images, context)\n"
    )
    config = config.replace({"model.kind": f"{tmp_path}/own.py:Counting", "training.epochs": 1})
    for frozen, calls in (([], 5), (["calls"], 0)):
        run = fit(config.replace({"training.frozen": frozen}), dataset=dataset, progress=False)
        assert np.array_equal(run.state.extra["calls"], [calls, calls])


@pytest.mark.long
def test_generators_follow_the_seed_of_the_new_run(small):
    config, dataset = small
    config = config.replace({"model.kind": f"{OWN}/batch_norm.py:Normalised", "training.epochs": 1})
    first = fit(config, dataset=dataset, progress=False)
    other = fit(config.replace({"training.seed": 1}), dataset=dataset, progress=False, start=first)
    assert "follows training.seed" in other.identity.start["left"].values()
    assert "norm.mean" in other.identity.start["taken"]


@pytest.mark.long
def test_the_members_of_a_sweep_start_from_one_source(small, source, tmp_path):
    (config, dataset), (trained, folder) = small, source
    config = config.replace({"training.start": str(folder), "training.frozen": ["encoder"], "training.epochs": 1})
    axes = {"training.seed": [0, 1], "model.decoder_hidden": [[12], [7]], "coefficients.learning_rate": [0.0, 0.01]}
    runs = sweep(config, axes, tmp_path, dataset=dataset, progress=False, figures=()).runs
    for name, run in runs.items():
        assert np.array_equal(run.encode(dataset.test), trained.encode(dataset.test)), name
        taken = len(load(tmp_path / "members" / name).identity.start["taken"])
        assert taken == (8 if "decoder_hidden-12" in name else 5)
        still = "learning_rate-0_" in f"{name}_" and taken == 8
        assert np.array_equal(run.reconstruct(dataset.test), trained.reconstruct(dataset.test)) == still


def test_a_frozen_part_that_the_source_does_not_have_is_refused_before_anything_is_written(small, source, tmp_path):
    (config, dataset), (_, folder) = small, source
    wider = config.replace({"model.code_size": 6, "training.start": str(folder)})
    message = r"training\.frozen names encoder, .* of encoder\.layers\.3\.\w+ \(float32\[.* random; freeze only parts"
    for call in (fit, lambda *given, **options: sweep(given[0], {"training.seed": [0, 1]}, *given[1:], **options)):
        with pytest.raises(InputError, match=message):
            call(wider.replace({"training.frozen": ["encoder"]}), tmp_path / "run", dataset=dataset, progress=False)
    assert not list(tmp_path.glob("run/*/*"))
    fit(wider.replace(STILL | {"training.frozen": ["encoder.layers.1"]}), dataset=dataset, progress=False)
    alone = wider.replace(STILL | {"training.frozen": ["encoder"], "training.start": None})
    fit(alone, dataset=dataset, progress=False)  # a random encoder, by intention


@pytest.mark.long
def test_a_stopped_run_goes_on_without_its_source(small, source, tmp_path, stop_after):
    (config, dataset), (_, folder) = small, source
    shutil.copytree(folder, tmp_path / "source")
    config = config.replace({"training.start": str(tmp_path / "source"), "training.frozen": ["decoder"]})
    whole = fit(config, dataset=dataset, progress=False)
    with stop_after(2), pytest.raises(Interrupted):
        fit(config, tmp_path / "run", dataset=dataset, progress=False)
    shutil.rmtree(tmp_path / "source")
    resumed = fit(config, tmp_path / "run", dataset=dataset, progress=False)
    assert same(whole, resumed) and same(whole, load(tmp_path / "run"))
    assert whole.identity.start == resumed.identity.start == load(tmp_path / "run").identity.start
    with pytest.raises(InputError, match=r"training\.start: None here"):
        fit(config.replace({"training.start": None}), tmp_path / "run", dataset=dataset, progress=False)


@pytest.mark.long
def test_a_run_that_saved_nothing_does_not_begin_again_from_another_state(small, source, tmp_path):
    (config, dataset), (_, folder) = small, source
    shutil.copytree(folder, tmp_path / "source")
    config = config.replace({"training.start": str(tmp_path / "source")})
    fit(config, tmp_path / "run", dataset=dataset, progress=False)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    for name in ("summary.json", "metrics.jsonl"):
        (tmp_path / "run" / name).unlink()
    shutil.rmtree(tmp_path / "source")
    fit(config.replace({"training.start": None, "training.seed": 3}), tmp_path / "source", dataset=dataset)
    with pytest.raises(InputError, match=r"holds another run, by its config\.json \(state of training\.start: "):
        fit(config, tmp_path / "run", dataset=dataset, progress=False)


def damaged(folder):
    for checkpoint in (folder / "checkpoints").iterdir():
        file = max((checkpoint / "arrays").rglob("d/*"), key=lambda file: file.stat().st_size)
        file.write_bytes(spoiled(file.read_bytes()))


def unreadable(folder):
    """As an author could make it: the digests match."""
    for file in (folder / "checkpoints").glob("*/arrays/state/_METADATA"):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        file.write_text("{}")
        manifest = file.parents[2] / "manifest.json"
        manifest.write_text(manifest.read_text().replace(digest, hashlib.sha256(b"{}").hexdigest()))
    rewrite(folder, lambda content: content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, r"training\.start is .*source, which holds no run"),
        (damaged, r"training\.start cannot be read: no checkpoint in .* is whole"),
        (unreadable, r"training\.start cannot be read: the checkpoint .* cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{}"), r"training\.start cannot be read: .*config\.json"),
        (lambda folder: (folder / "sweep.json").write_text("{}"), r"holds a sweep; load one of its members"),
    ],
    ids=["missing", "damaged", "unreadable", "no config", "sweep"],
)
def test_a_source_that_cannot_be_read_is_refused_before_anything_is_written(small, source, tmp_path, change, message):
    (config, dataset), (_, folder) = small, source
    shutil.copytree(folder, tmp_path / "source")
    change(tmp_path / "source")
    config = config.replace({"training.start": str(tmp_path / "source")})
    for make in (fit, lambda *given, **named: sweep(given[0], {"training.seed": [0, 1]}, *given[1:], **named)):
        with pytest.raises(InputError, match=message) as refused:
            make(config, tmp_path / "run", dataset=dataset, progress=False)
        assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()


def test_a_source_of_another_kind_and_the_run_itself_are_refused(small, source, tmp_path):
    (config, dataset), (_, folder) = small, source
    config = config.replace({"training.start": str(folder)})
    other = config.replace({"model.hidden": [7, 3], "model.channels": [4]})
    with pytest.raises(InputError, match=r"no array of it has path, shape and type .*decoder\.layers") as refused:
        fit(other, tmp_path / "run", dataset=dataset, progress=False)
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=r"the workdir of this run; give this run another workdir"):
        fit(config, folder, dataset=dataset, progress=False)
    with pytest.raises(InputError, match=r"start is of the type int; it must be an aejax\.Run"):
        fit(config, dataset=dataset, start=3)
    with pytest.raises(InputError, match=r"training\.start cannot be swept"):
        sweep(config, {"training.start": ["a", "b"]}, dataset=dataset)


def test_the_code_of_a_source_is_not_executed(small, tmp_path):
    config, dataset = small
    (tmp_path / "own.py").write_text("import aejax\n\n\nclass Own(aejax.Autoencoder):\n    pass\n")
    own = config.replace({"model.kind": f"{tmp_path}/own.py:Own", "training.epochs": 1})
    fit(own, tmp_path / "source", dataset=dataset, progress=False)
    for file in (tmp_path / "own.py", tmp_path / "source" / "files" / "own.py"):
        file.write_text("raise AssertionError('it was executed')\n")
    started = fit(config.replace(STILL), dataset=dataset, progress=False, start=tmp_path / "source")
    assert len(started.identity.start["taken"]) == 8 and started.identity.start["left"] == {}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["encoder", "coder"],
            r"names 'coder', and the model has no such part; .* such as encoder, decoder, .{0,40}$",
        ),
        (["decoder.layers.1"], r"names 'decoder\.layers\.1'"),  # an activation
        (["config"], r"names 'config'"),
        (["decoder.layers.9"], r"names 'decoder\.layers\.9'"),
        (["encoder", "decoder"], r"is encoder, decoder, which leaves no parameter to train"),
    ],
)
def test_parts_that_cannot_be_frozen_are_refused(small, tmp_path, names, message):
    config, dataset = small
    with pytest.raises(InputError, match=message) as refused:
        fit(config.replace({"training.frozen": names}), tmp_path / "run", dataset=dataset, progress=False)
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=r"training\.frozen is 'encoder'; it must be a list of paths"):
        config.replace({"training.frozen": "encoder"})


def test_a_sparse_autoencoder_goes_on_with_new_vectors(tmp_path, monkeypatch, capsys):
    import train

    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in ("first", "second"):
        np.save(tmp_path / f"{name}.npy", random.normal(size=(300, 8)).astype(np.float32))
    (tmp_path / "sparse.py").write_text(
        "import aejax\n\n\ndef get_config():\n"
        "    model = aejax.Model(kind='aejax.models.sparse:SparseAutoencoder', hidden=(), code_size=16)\n"
        "    return aejax.Config(model=model, loss=aejax.Loss('mse'), training=aejax.Training(epochs=1))\n"
    )
    train.main(["sparse.py", "--dataset", "first.npy", "--workdir", "first"])
    capsys.readouterr()
    more = ["--training.start", "first", "--training.frozen", "decoder", "bias"]
    train.main(["sparse.py", "--dataset", "second.npy", "--workdir", "second", *more])
    printed = capsys.readouterr().out
    assert "starts from first after step 7" in printed and "takes 6 of 6 arrays" in printed
    one, two = (load(tmp_path / name, models="aejax.models.sparse") for name in ("first", "second"))
    moved = {path for path in arrays(one.state.params) if not same_at(path, one, two)}
    assert moved == {"['encoder']", "['encoder_bias']"}
    assert set(two.identity.start["taken"]) >= {"idle", "norms"}


def same_at(path, one, two):
    return np.array_equal(arrays(one.state.params)[path], arrays(two.state.params)[path])


def test_without_frozen_parts_nothing_is_split(small):
    """The state has the structure that it always had; `tests/compare_programs.py` compares the programs."""
    config, dataset = small
    plain = build_steps(config, dataset.image_shape)
    started = build_steps(config.replace({"training.start": "elsewhere"}), dataset.image_shape)
    assert plain == started and hash(plain) == hash(started)
    assert plain != build_steps(config.replace({"training.frozen": ["encoder"]}), dataset.image_shape)
    assert jax.tree.structure(plain.init()) == jax.tree.structure(started.init())


def test_arrays_in_a_tuple_have_names_of_their_own():
    state = TrainState(jnp.int32(0), {"bias": jnp.zeros(2)}, (), {"statistics": (jnp.zeros(2), jnp.ones(3))})
    assert set(Source.of(state).arrays) == {"bias", "statistics.0", "statistics.1"}
