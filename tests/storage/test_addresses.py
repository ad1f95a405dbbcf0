"""Runs, exports, sweeps and scripts at an address in a bucket, as on a disk."""

import json
import shutil

import numpy as np
import pytest

import aejax
from aejax.config.files import data_dir
from runs import same, spoiled

PLACE, FOLDER = "gs://bucket/runs/a", "runs/a"


def content(gcs, name):
    return next(made for (_, found), (_, made) in gcs.objects.items() if found == f"{FOLDER}/{name}")


@pytest.fixture(scope="module")
def made(_emulator, small, tmp_path_factory):
    """A run in a bucket, the same run on a disk, the objects in the bucket, and the folder on the disk."""
    (config, dataset), disk = small, tmp_path_factory.mktemp("disk") / "disk"
    runs = [aejax.fit(config, place, dataset=dataset, figures=(), progress=False) for place in (PLACE, disk)]
    assert list((data_dir() / "buckets").iterdir()) == []
    return runs, dict(_emulator.objects), disk


@pytest.fixture
def trained(made, gcs, tmp_path):
    """A run in a bucket, and the same run on a disk, in the folder `disk`."""
    runs, objects, disk = made
    gcs.objects.update(objects)
    shutil.copytree(disk, tmp_path / "disk")
    return runs


def test_a_run_in_a_bucket_is_a_run_on_a_disk(gcs, small, trained, tmp_path, capsys):
    run, other = trained
    assert same(run, other)
    disk = {path.relative_to(tmp_path / "disk") for path in (tmp_path / "disk").rglob("*") if path.is_file()}
    plain = {
        path.as_posix() for path in disk if "arrays" not in path.parts and not path.name.startswith((".", "events"))
    }
    names = gcs.names("bucket", FOLDER)
    assert {name for name in names if "/arrays/" not in name and "events" not in name} == plain
    assert any(name.startswith("events.out.tfevents") for name in names)
    loaded = aejax.load(PLACE)
    assert same(loaded, run) and loaded.history == run.history and loaded.summary == run.summary
    config, dataset = small
    aejax.fit(config, PLACE, dataset=dataset, figures=())
    assert capsys.readouterr().out == f"{PLACE} holds this run, finished: nothing to train\n"
    longer = {"training.epochs": 4}
    runs = [
        aejax.fit(config.replace(longer), place, dataset=dataset, figures=()) for place in (PLACE, tmp_path / "disk")
    ]
    assert same(*runs) and f"{PLACE} goes on after step 15, 3 of 4 epochs" in capsys.readouterr().out
    for (_, name), (_, made) in gcs.objects.items():
        assert str(data_dir()) not in made.decode(errors="replace") or name.endswith("commit_success.txt")  # of Orbax
    assert aejax.evaluate(PLACE, dataset) == aejax.evaluate(runs[1], dataset)


def test_a_run_is_saved_and_exported_to_a_bucket(gcs, trained):
    run, _ = trained
    run.save("gs://bucket/copy")
    assert same(aejax.load("gs://bucket/copy"), run)
    with pytest.raises(aejax.InputError, match=r"^gs://bucket/copy holds a run already"):
        run.save("gs://bucket/copy")
    run.export("gs://bucket/made", "safetensors")
    assert gcs.names("bucket", "made") == {"config.json", "model.safetensors"}
    with pytest.raises(aejax.InputError, match=r"^gs://bucket/made exists already"):
        run.export("gs://bucket/made", "safetensors")


def test_damage_is_reported_at_the_address_and_the_previous_checkpoint_is_used(gcs, small, trained, caplog):
    run, other = trained
    [name] = [name for name in gcs.names("bucket", FOLDER) if "checkpoints/15/arrays/state/d/" in name][:1]
    gcs.put("bucket", f"{FOLDER}/{name}", spoiled(content(gcs, name)))
    gcs.objects.pop(("bucket", f"{FOLDER}/summary.json"))
    config, dataset = small
    assert same(aejax.fit(config, PLACE, dataset=dataset, figures=(), progress=False), other)
    [warning] = caplog.messages
    assert warning.startswith(f"the checkpoint {PLACE}/checkpoints/15 is damaged: ")
    assert "damaged/15/manifest.json" in gcs.names("bucket", FOLDER)
    assert same(aejax.load(PLACE), run)
    gcs.put("bucket", f"{FOLDER}/metrics.jsonl", b"")
    with pytest.raises(aejax.InputError, match=f"^{PLACE}/metrics.jsonl has 0 whole lines"):
        aejax.load(PLACE)


def test_a_folder_without_a_run_is_refused(gcs):
    with pytest.raises(aejax.InputError, match=r"^gs://bucket/none holds no run"):
        aejax.load("gs://bucket/none")


@pytest.mark.long
def test_a_sweep_in_a_bucket(gcs, small, tmp_path):
    config, dataset = small
    config = config.replace({"training.epochs": 1})
    axes = {"training.seed": [0, 1]}
    found = [
        aejax.sweep(config, axes, place, dataset=dataset, figures=(), progress=False)
        for place in (PLACE, tmp_path / "disk", PLACE)
    ]
    for name in ("seed-0", "seed-1"):
        assert same(found[0].runs[name], found[1].runs[name])
        assert same(aejax.load(f"{PLACE}/members/{name}"), found[2].runs[name])
    assert json.loads(content(gcs, "results.json"))["axes"] == {"training.seed": [0, 1]}
    assert str(data_dir()) not in content(gcs, "report.md").decode()


@pytest.mark.long
def test_scripts_take_addresses(gcs, script, longest):
    small = ("--model.hidden", "16", "--training.epochs", "1", "--figures", "png")
    config = aejax.__path__[0] + "/../configs/digits.py"
    done = script("train.py", config, "--workdir", PLACE, *small)
    assert done.returncode == 0 and done.stdout.endswith(f"\n{PLACE}\n"), done.stderr
    assert any(name.startswith("figures/") for name in gcs.names("bucket", FOLDER))
    for name, file in (("evaluate.py", "evaluation.json"), ("explore.py", "explore.html")):
        done = script(name, PLACE)
        assert done.returncode == 0 and f"{PLACE}/{file}" in done.stdout and content(gcs, file), done.stderr
    commands = {"sweep.py": (config, "--sweep.seed", "0:2", "--training.epochs", "1")}
    if longest:
        commands |= {"article.py": (), "gallery.py": ("l1", "--epochs", "1")}
    for name, command in commands.items():
        done = script(name, *command, "--workdir", f"gs://bucket/{name[:-3]}", timeout=600)
        assert done.returncode == 0 and f"gs://bucket/{name[:-3]}" in done.stdout.splitlines()[-1], done.stderr
        assert str(data_dir()) not in done.stdout + done.stderr
    assert {"report.md", "results.json"} < gcs.names("bucket", "sweep")
    assert list((data_dir() / "buckets").iterdir()) == []
    done = script("train.py", config, "--workdir", "gs://bucket", *small)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "names no folder in a bucket" in done.stderr


def test_arrays_in_a_bucket_are_downloaded_once_and_verified(gcs, tmp_path, caplog):
    images = np.random.default_rng(0).integers(0, 255, (60, 6, 5, 1), np.uint8)
    for name, rows in {"a.npy": images, "set/train-0.npy": images[:30], "set/train-1.npy": images[30:]}.items():
        np.save(tmp_path / "made.npy", rows)
        gcs.put("bucket", f"data/{name}", (tmp_path / "made.npy").read_bytes())
    gcs.put("bucket", "data/set/notes.txt", b"x")
    for name in ("a.npy", "set"):
        address = f"gs://bucket/data/{name}"
        first = aejax.load_dataset(address)
        assert first.name == address
        gcs.objects = {key: value for key, value in gcs.objects.items() if not key[1].startswith(f"data/{name}")}
        again = aejax.load_dataset(address)  # from the cache
        assert np.array_equal(first.train[:], again.train[:]) and first.fingerprint == again.fingerprint
    [copy] = (data_dir() / "arrays").glob("*/a.npy")
    copy.write_bytes(spoiled(copy.read_bytes()))
    with pytest.raises(aejax.InputError, match=r"^gs://bucket/data/a.npy has no arrays"):
        aejax.load_dataset("gs://bucket/data/a.npy")
    assert "gs://bucket/data/a.npy" in caplog.text and "preparing it again" in caplog.text
