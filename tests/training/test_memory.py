import pytest

from aejax import InputError, fit, sweep

TOO_LARGE = [
    ({"model.hidden": (2**20, 2**20)}, r"model\.hidden.* would take [\d.]+TB; .* of memory are free"),
    ({"model.code_size": 2**20, "model.hidden": (2**20,)}, r"model\.code_size.*\dTB"),
    ({"training.passes": 10**9}, r"training\.passes\) would take [\d.]+GB"),
    ({"model.kind": "variational", "loss.pixels": "sum", "model.samples": 10**9}, r"model\.samples.*\dTB"),
]


@pytest.mark.parametrize(("changes", "message"), TOO_LARGE)
def test_what_cannot_fit_is_refused_with_its_size_before_anything_is_written(small, tmp_path, changes, message):
    config, dataset = small
    config = config.replace(changes)
    with pytest.raises(InputError, match=message):
        fit(config, tmp_path / "run", dataset=dataset, progress=False)
    with pytest.raises(InputError, match=message):
        sweep(config, {"training.seed": range(2)}, tmp_path / "sweep", dataset=dataset, progress=False)
    assert {path.name for path in tmp_path.rglob("*")} <= {"run", "sweep", ".lock"}
