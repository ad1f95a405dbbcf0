"""What a run left behind is read as it was written, or refused; never taken for something else."""

import json
import random
import re
import shutil

import pytest

from aejax import InputError, fit, load
from runs import same, without_clock


@pytest.fixture(scope="module")
def one_run(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    config, dataset = small
    fit(config, folder, dataset=dataset, progress=False)
    return folder


@pytest.fixture
def finished(one_run, tmp_path):
    """The workdir of a finished run of `small`, a copy."""
    shutil.copytree(one_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("name", "pattern", "other"),
    [
        ("config.json", '"l1": 0.0', '"l1": 0.5'),
        ("config.json", '"code_size": 4', '"code_size": 5'),
        ("config.json", '"draws"', '"drawn"'),
        ("config.json", '"fingerprint": "train', '"fingerprint": "trail'),
        ("config.json", '"cores": ', '"cores": 1'),
        ("summary.json", r'"reconstruction": 0\.(\d)', '"reconstruction": 1.\\1'),
        ("metrics.jsonl", r'"total": 0\.(\d)', '"total": 1.\\1'),
    ],
)
def test_one_changed_byte_of_a_record_is_refused(small, finished, name, pattern, other):
    path = finished / name
    text, count = re.subn(pattern, other, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)
    files = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    config, dataset = small
    for door in (lambda: load(finished), lambda: fit(config, finished, dataset=dataset, progress=False)):
        with pytest.raises(InputError, match=re.escape(name)) as refused:
            door()
        assert "\n" not in str(refused.value)
    assert files == {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["config.json", "summary.json", "metrics.jsonl"])
def test_a_flipped_bit_anywhere_gives_the_same_run_or_is_refused(finished, name):
    path, anywhere, expected = finished / name, random.Random(0), load(finished)
    content = path.read_bytes()
    refused = 0
    for _ in range(25):
        flipped = bytearray(content)
        flipped[anywhere.randrange(len(content))] ^= 1 << anywhere.randrange(8)
        path.write_bytes(flipped)
        try:
            found = load(finished)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            same = found.history == expected.history and found.summary == expected.summary
            assert same and found.config == expected.config
    assert refused > 15


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_damaged_line_is_not_taken_for_the_end(finished, line):
    path = finished / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[line] = "{" + lines[line]
    path.write_text("".join(lines))
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        load(finished)


@pytest.mark.parametrize("missing", ["training", "model", "dataset", "versions", "code", "seconds"])
def test_what_lacks_a_part_is_named_in_one_line(small, finished, missing):
    name = "config.json" if missing in ("training", "model", "dataset", "versions") else "metrics.jsonl"
    text = (finished / name).read_text()
    lines = [json.loads(line) for line in (text.splitlines() if name == "metrics.jsonl" else [text])]
    (finished / name).write_text(
        "".join(json.dumps({key: value for key, value in line.items() if key != missing}) + "\n" for line in lines)
    )
    config, dataset = small
    for door in (lambda: load(finished), lambda: fit(config, finished, dataset=dataset, progress=False)):
        with pytest.raises(InputError, match=re.escape(name)):
            door()


def test_a_run_whose_checkpoints_are_gone_is_not_begun_again(small, finished):
    """It would cut what was written of its epochs."""
    config, dataset = small
    shutil.move(finished / "checkpoints", finished / "elsewhere")
    with pytest.raises(InputError, match="checkpoints are gone"):
        fit(config, finished, dataset=dataset, progress=False)
    (finished / "summary.json").unlink()
    before = (finished / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match="3 epochs whose checkpoints are gone"):
        fit(config, finished, dataset=dataset, progress=False)
    assert (finished / "metrics.jsonl").read_bytes() == before
    shutil.move(finished / "elsewhere", finished / "checkpoints")
    assert fit(config, finished, dataset=dataset, progress=False).summary["epochs"] == 3


def test_a_checkpoint_of_another_seed_is_not_trained_on(small, finished, tmp_path):
    config, dataset = small
    expected = load(finished)
    other = config.replace({"training.seed": 1, "training.epochs": 4})
    fit(other, tmp_path / "other", dataset=dataset, progress=False)
    shutil.copytree(tmp_path / "other" / "checkpoints", finished / "checkpoints", dirs_exist_ok=True)  # over 15, and 20
    assert load(finished).state.step == 10
    found = fit(config, finished, dataset=dataset, progress=False)
    assert same(found, expected) and without_clock(found.history) == without_clock(expected.history)
    assert sorted(path.name for path in (finished / "damaged").iterdir()) == ["15", "20"]
