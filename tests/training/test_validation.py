"""What is chosen is chosen by validation examples: which ones they are, and that test examples have no influence."""

import json

import numpy as np
import pytest

import aejax
from aejax import Config, Data, Dataset, InputError, fit, load, sweep
from aejax.data import split
from aejax.data.validation import describe, resolved, stratified
from aejax.sweeps import comparison
from aejax.training.loop import _is_finished
from aejax.training.selection import Selection
from runs import leaves, same, without_clock

CHOOSING = {"training.epochs": 40, "training.patience": 2, "coefficients.learning_rate": 0.05}


@pytest.fixture(scope="module")
def others(small):
    """The dataset of `small` with its test images in another order, and with their negatives in their place."""
    dataset = small[1]
    return [Dataset("other", dataset.train, test) for test in (dataset.test[::-1], 255 - dataset.test)]


def test_no_test_image_has_an_influence_on_the_best_epoch_or_the_last(small, others, tmp_path, capsys):
    config, dataset = small[0].replace(CHOOSING), small[1]
    first = fit(config, tmp_path / "0", dataset=dataset)
    read = load(tmp_path / "0", "best")
    best = read.state.step
    assert read.summary["step"] == best and read.summary["validation"] == read.history[-1]["validation"]
    last, chosen = len(first.history), len(first.history) - 2
    assert f"finished after epoch {last}; epoch {chosen} has the lowest validation total" in capsys.readouterr().out
    assert 2 < len(first.history) < 40 and best == first.history[-3]["step"]
    for number, other in enumerate(others, 1):
        run = fit(config, tmp_path / str(number), dataset=other, progress=False)
        assert len(run.history) == len(first.history) and same(run, first)
        assert load(tmp_path / str(number), "best").state.step == best
    by_test = [{**line, "validation": line["test"]} for line in run.history]
    assert _is_finished(config, by_test[:-1])  # a choice by the test images would have ended the run before


def test_a_script_can_check_a_dataset_before_validation_examples_are_set_aside(small):
    aejax.require_fit(small[0].replace({"data.validation": 0.2}), small[1])


def test_nor_on_the_best_member_of_a_sweep(small, others):
    config, axes = small[0].replace({"training.epochs": 2}), {"coefficients.learning_rate": [1e-3, 1e-2, 0.3]}
    found = [sweep(config, axes, dataset=each, progress=False).results for each in (small[1], *others)]
    assert len({json.dumps(each["best"]) for each in found}) == 1
    by_test = [min(each["members"], key=lambda row: row["test"]["total"])["member"] for each in found]
    assert by_test[2] not in by_test[:2]  # a choice by the test images would have been another
    assert found[0]["best"]["by"] == "lowest validation total"
    assert found[0]["best"]["value"] == min(row["validation"]["total"] for row in found[0]["members"])


def test_every_class_has_its_share_and_the_seed_of_the_order_alone_decides(digits):
    parts = split(Data(validation=0.1), digits)
    assert (len(parts.train), len(parts.validation)) == (1293, 144) and parts.test is digits.test
    counts = [np.bincount(labels, minlength=10) for labels in (digits.train_labels, parts.validation_labels)]
    assert np.abs(counts[1] - 0.1 * counts[0]).max() < 1
    whole = np.concatenate([parts.train, parts.validation]).reshape(1437, -1)
    assert np.array_equal(np.sort(whole, axis=0), np.sort(np.asarray(digits.train).reshape(1437, -1), axis=0))
    again, other = split(Data(validation=0.1, order_seed=0), digits), split(Data(validation=0.1, order_seed=1), digits)
    assert np.array_equal(again.validation, parts.validation)
    assert not np.array_equal(other.validation, parts.validation)
    few = stratified(20, 3, np.arange(20) % 7, 5)
    assert len(set(few.tolist())) == 3 and np.array_equal(few, np.sort(few))


def test_labels_and_targets_stay_with_their_examples(small):
    config, images = small[0], small[1].train
    numbers = np.arange(80)
    given = Dataset.from_arrays(
        images, images, train_labels=numbers % 3, test_labels=numbers % 3, train_targets=images, test_targets=images
    )
    parts = split(Data(validation=0.2), given)
    assert np.array_equal(parts.validation, parts.validation_targets) and len(parts.validation) == 16
    kept = [np.flatnonzero((images == each).all(axis=(1, 2, 3))) for each in parts.validation]
    assert all(label in numbers[rows] % 3 for label, rows in zip(parts.validation_labels, kept, strict=True))
    run = fit(config.replace({"training.epochs": 1, "data.validation": 0.2}), dataset=given, progress=False)
    assert np.isfinite(run.summary["validation"]["total"])
    with pytest.raises(InputError, match="give a target for each validation example"):
        Dataset("few", images, images, train_targets=images, test_targets=images, validation=images)


def test_the_part_of_the_dataset_is_taken(small, tmp_path, capsys):
    config, dataset = small
    own = Dataset.from_arrays(dataset.train, dataset.test, validation=dataset.test[:7], name="own")
    run = fit(config.replace({"training.epochs": 1}), tmp_path, dataset=own, figures=())
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == "80 training examples; the best is chosen by 7 validation examples, of the dataset"
    assert run.history[0]["validation"] != run.history[0]["test"] and run.config.data.validation is None
    assert len(aejax.Dataset.from_arrays(dataset.train, validation=dataset.test[:7]).validation) == 7
    assert "7" in repr(own) and own.fingerprint.startswith(dataset.fingerprint)
    with pytest.raises(InputError, match=r"data\.validation is 0\.2, and own has a validation part of its own"):
        fit(config.replace({"data.validation": 0.2}), dataset=own, progress=False)
    without = fit(config.replace({"training.epochs": 1, "data.validation": 0}), dataset=own, progress=False)
    assert "validation" not in without.history[0] and same(run, without)
    with pytest.raises(InputError, match="validation labels or targets, but no validation examples"):
        Dataset.from_arrays(dataset.train, dataset.test, validation_labels=np.zeros(7))
    with pytest.raises(InputError, match="training examples: 6x5x1, validation examples: 6x4x1"):
        Dataset.from_arrays(dataset.train, dataset.test, validation=dataset.test[:, :, :4])


def test_a_tenth_is_set_aside_where_something_chooses_and_nothing_else(small, tmp_path, capsys):
    config, dataset = small
    config = config.replace({"training.epochs": 1})
    patient = fit(config.replace({"training.patience": 1}), tmp_path / "patient", dataset=dataset, figures=())
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == "72 training examples; the best is chosen by 8 validation examples, set aside (data.validation 0.1)"
    assert patient.config.data.validation == 0.1 == load(tmp_path / "patient").config.data.validation
    plain = fit(config, tmp_path / "plain", dataset=dataset, figures=())
    assert "validation" not in capsys.readouterr().out and plain.config.data.validation is None
    with pytest.raises(InputError, match=r"plain/checkpoints has no best checkpoint; .* data\.validation"):
        load(tmp_path / "plain", "best")
    seeds = sweep(config, {"training.seed": [0, 1]}, dataset=dataset, progress=False)
    assert seeds.results["best"] is None and seeds.results["no_best"] == "only the seed varies"
    assert seeds.runs["seed-0"].config.data.validation is None
    for change, message in (
        ({"data.validation": 0, "training.patience": 2}, r"data\.validation is 0; .* training\.patience"),
        ({"data.validation": 1}, r"data\.validation is 1; it must be at least 0 and below 1"),
        ({"training.select": "best l1"}, r"training\.select is 'best l1'; it must be the name"),
    ):
        with pytest.raises(InputError, match=message):
            config.replace(change)


@pytest.mark.long
def test_test_images_are_evaluated_at_the_end_or_where_asked(small, tmp_path, monkeypatch):
    config, dataset = small
    tags = []
    monkeypatch.setattr("tensorboardX.SummaryWriter.add_scalar", lambda _, tag, *__: tags.append(tag))
    config = config.replace({"data.validation": 0.1, "training.evaluate_test": False})
    run = fit(config, tmp_path, dataset=dataset, progress=False)
    assert ["test" in line for line in run.history] == [False, False, True]
    assert all(line["validation"]["total"] > 0 and "mean" in line["code"] for line in run.history)
    assert tags.count("validation/total") == 3 and tags.count("test/total") == 1
    assert run.summary["validation"] == run.history[-1]["validation"] and run.summary["test"]["total"] > 0
    always = fit(config.replace({"training.evaluate_test": True}), dataset=dataset, progress=False)
    assert same(run, always) and all("test" in line for line in always.history)
    bare = fit(config.replace({"data.validation": 0}), dataset=dataset, progress=False)
    assert [{"test", "code"} & line.keys() for line in bare.history] == [set(), set(), {"test", "code"}]
    streamed = fit(config.replace({"data.placement": "stream"}), dataset=dataset, progress=False)
    assert same(run, streamed) and without_clock(run.history) == without_clock(streamed.history)
    ended = fit(config, dataset=dataset, progress=False, on_epoch=lambda run: aejax.Finish())
    assert len(ended.history) == 1 and ended.summary["test"]["total"] > 0
    assert ended.history[0]["test"] == always.history[0]["test"]


def test_the_metric_that_selects_is_named_and_known(small, tmp_path):
    config, dataset = small
    config = config.replace({"training.epochs": 3, "data.validation": 0.1, "coefficients.l1": 0.01})
    steps = {}
    for select in ("total", "max total", "l1"):
        fit(config.replace({"training.select": select}), tmp_path / select, dataset=dataset, progress=False)
        steps[select] = int(load(tmp_path / select, "best").state.step)
    assert steps["total"] == 12 and steps["max total"] == 4
    history = load(tmp_path / "l1").history
    assert steps["l1"] == min(history, key=lambda line: line["validation"]["l1"])["step"]
    with pytest.raises(InputError, match=r"by accuracy \(training\.select\), and plain has no .*l1, reconstruction"):
        fit(config.replace({"training.select": "accuracy"}), tmp_path / "no", dataset=dataset, progress=False)
    assert not (tmp_path / "no").exists()


@pytest.mark.long
def test_a_class_names_the_metric_that_selects(small, tmp_path):
    config, dataset = small
    file = tmp_path / "own.py"
    file.write_text(
        "import aejax\nclass Own(aejax.Autoencoder):\n    select = 'max size'\n"
        "    def __call__(self, images, context=aejax.Context()):\n"
        "        output = super().__call__(images, context)\n"
        "        return output._replace(metrics={'size': abs(output.codes).sum(axis=1)})\n"
    )
    config = config.replace({"model.kind": f"{file}:Own", "training.epochs": 2})
    found = sweep(config, {"coefficients.l1": [0.0, 1.0]}, dataset=dataset, progress=False)
    assert found.results["best"]["by"] == "highest validation size"
    assert found.best.summary["validation"]["size"] == max(
        row["validation"]["size"] for row in found.results["members"]
    )


@pytest.mark.parametrize(
    ("axes", "change", "best"),
    [
        ({"model.code_size": [4, 8]}, {}, "0"),
        ({"coefficients.learning_rate": [1e-3, 1e-2], "training.seed": [0]}, {}, "0"),
        ({"model.code_size": [4, 8]}, {"training.select": "max l1"}, "1"),
        ({"coefficients.l1": [0.0, 1.0]}, {}, "not comparable, since coefficients.l1 changes the loss; set"),
        ({"coefficients.l1": [0.0, 1.0]}, {"training.select": "l1"}, "not comparable"),
        ({"coefficients.l1": [0.0, 1.0]}, {"training.select": "reconstruction"}, "0"),
        ({"loss.pixels": ["mean", "sum"], "model.samples": [1]}, {}, "loss.pixels changes"),
        ({"loss.pixels": ["mean", "sum"]}, {"training.select": "reconstruction"}, "stays the same: rate"),
        ({"corruption.kind": ["none", "masking"]}, {}, "corruption.kind changes"),
        ({"coefficients.l1": [1.0], "training.seed": [0, 1]}, {}, "only the seed varies"),
        ({"loss.reconstruction": ["l1", "mse"]}, {"training.select": "rate"}, "rate is 0 for every member"),
    ],
)
def test_the_smallest_loss_is_not_the_best_where_the_loss_itself_changes(axes, change, best):
    values = [dict(zip(axes, each, strict=False)) for each in zip(*(v * 2 for v in axes.values()), strict=False)][:2]
    rows = [
        {path: axes[path][0] for path in axes} | setting | {"member": str(number), "code": {}}
        | {part: {"total": 1.0 + number, "reconstruction": 0.5 + number, "l1": 0.5 + number, "rate": 0.0}
           for part in ("validation", "test")}
        for number, setting in enumerate(values)
    ]  # fmt: skip
    found = comparison.results(axes, rows, Config().replace(change))
    assert (found["best"] or {}).get("member") == best if best in "01" else best in found["no_best"]
    assert "validation loss" in found["groups"][0]["figures"]


def test_a_penalty_is_not_advised_where_nothing_else_is_comparable():
    axes, terms = {"loss.reconstruction": ["l1", "mse"]}, {"total": 1, "reconstruction": 1, "l1": 0}
    found = comparison._no_best(axes, [{"validation": terms}] * 2, Config())
    assert found.endswith("no term or metric stays the same, so compare metrics of evaluate.py")
    rows = [{"validation": terms | more} for more in ({"l0": 1, "a": 2}, {"l0": 3})]
    assert comparison._no_best(axes, rows, Config()).endswith("stays the same: l0")  # every member has it


def test_a_metric_that_is_never_finite_names_no_best_epoch():
    selection = Selection("accuracy", largest=True)
    lines = [{"epoch": epoch, "validation": {"accuracy": None}} for epoch in (1, 2)]
    assert selection.report(lines) == "finished after epoch 2; validation accuracy was finite in no epoch"
    lines[0]["validation"]["accuracy"] = 0.5
    assert "epoch 1 has the highest validation accuracy, 0.5000" in selection.report(lines)


@pytest.mark.long
def test_computed_examples_are_chosen_by_further_ones():
    from gallery.sparse_features import SparseFeatures

    law = SparseFeatures(64, 8, 2, depth=1, orthogonalization_steps=1, train=640, test=45).dataset()
    parts = split(Data(validation=0.1), law)
    assert len(parts.train) == 640 and len(parts.validation) == 64
    assert np.array_equal(parts.validation[:], law.train.rows(np.arange(2**31 - 1 - 64, 2**31 - 1)))
    assert not np.isin(parts.validation[:], law.train[:]).all()


@pytest.mark.long
def test_a_search_of_scikit_learn_stops_early_within_its_folds():
    from aejax.sklearn import AutoencoderTransformer

    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    config = Config().replace({"loss.reconstruction": "mse", "training.epochs": 1, "training.patience": 1})
    fitted = AutoencoderTransformer(3, config=config, batch_size=64).fit(rows)
    assert fitted.run_.config.data.validation == 0.1 and fitted.run_.config.training.batch_size == 36
    assert "validation" in fitted.run_.history[0] and np.isfinite(leaves(fitted.run_)[1]).all()


def test_a_metric_that_selects_sets_validation_examples_aside(small):
    config, dataset = small
    with pytest.raises(InputError, match=r"data\.validation is 0; it must be left out .* \.select or a"):
        config.replace({"training.select": "l1", "data.validation": 0})
    chosen = resolved(config.replace({"training.select": "l1"}), dataset)
    assert chosen.data.validation == 0.1
    one = Dataset("one", dataset.train[:1], dataset.test, validation=dataset.test[:1])
    assert describe(chosen, one).startswith("1 training example; the best is chosen by 1 validation example, set")
    with pytest.raises(InputError, match=r"validation examples are empty, of shape \[0, 6, 5, 1\]"):
        Dataset.from_arrays(dataset.train, validation=dataset.test[:0])
