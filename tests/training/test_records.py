"""The progress bar, and the files of TensorBoard."""

import io
import struct
import sys
import time
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

import aejax
from aejax.training.records import Progress
from runs import same

VARIATIONAL = {"model.kind": "variational", "loss.pixels": "sum", "training.epochs": 4}


def test_a_bar_of_80_columns_has_every_loss(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(100, 100_000, 0, shown=True, kind="images") as bar:
        bar.update(60_000)
        parts = {part: {"total": 0.12345} for part in ("train", "validation", "test")}
        bar.add([{"epoch": 60, "images_per_second": 1e5, **parts}])
        bar.ncols = 80
        shown = str(bar)
    assert len(shown) <= 80 and shown.startswith(" 60%|")
    assert shown.endswith("epoch 60/100  train 0.1235  validation 0.1235  test 0.1235")


def events(folder):
    """Tag → its (step, value) in the order in which they were written, without those that a later file replaces."""
    found = defaultdict(list)
    for path in sorted(folder.glob("events.out.tfevents*"), key=lambda path: path.stat().st_mtime_ns):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + size])
            at += size + 16
            if event.HasField("session_log"):
                found = {tag: [each for each in all_ if each[0] < event.step] for tag, all_ in found.items()}
                found = defaultdict(list, found)
            for value in event.summary.value:
                found[value.tag].append((event.step, value))
    return found


def test_pictures_and_histograms_in_tensorboard(small, tmp_path, stop_after):
    config, dataset = small
    config = config.replace(VARIATIONAL)
    with stop_after(8), pytest.raises(aejax.Interrupted):
        aejax.fit(config, tmp_path / "run", dataset=dataset, progress=False, images_every=2)
    time.sleep(1.1)  # the name of a file of events has the second of its start
    run = aejax.fit(config, tmp_path / "run", dataset=dataset, progress=False, images_every=2)
    found = events(tmp_path / "run")
    for tag in ("reconstructions", "samples", "code/values"):
        assert [step for step, _ in found[tag]] == [10, 20], tag
    assert [step for step, _ in found["train/total"]] == [5, 10, 15, 20]
    for tag in ("reconstructions", "samples"):
        pixels = np.asarray(Image.open(io.BytesIO(found[tag][-1][1].image.encoded_image_string)))
        assert pixels.shape[1] > pixels.shape[0] > 50 and pixels.std() > 10
    histogram = found["code/values"][-1][1].histo
    codes = run.encode(dataset.test)
    assert histogram.num == codes.size and np.isclose(histogram.sum, codes.sum(), rtol=1e-3)
    assert same(run, aejax.fit(config, dataset=dataset, progress=False))
    plain = aejax.fit(config.replace({"training.epochs": 1}), tmp_path / "plain", dataset=dataset, progress=False)
    assert plain.summary and not {"reconstructions", "code/values"} & events(tmp_path / "plain").keys()


@pytest.mark.parametrize(
    ("every", "workdir", "message"),
    [
        (0, "run", "images_every is 0; it must be a number of epochs"),
        (1, None, "images_every is 1; it must be None without a workdir"),
    ],
)
def test_pictures_that_cannot_be_drawn_are_refused(small, tmp_path, every, workdir, message):
    config, dataset = small
    with pytest.raises(aejax.InputError, match=message):
        aejax.fit(config, workdir and tmp_path / workdir, dataset=dataset, images_every=every)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_tensorboard_has_the_hyperparameters_of_each_member(small, tmp_path):
    config, dataset = small
    axes = {"coefficients.l1": [0.0, 1e-3], "model.hidden": [(12,)]}
    made = aejax.sweep(config, axes, tmp_path, dataset=dataset, progress=False)
    for name, run in made.runs.items():
        found = events(tmp_path / "members" / name)
        [(_, started)] = found["_hparams_/session_start_info"]
        values = HParamsPluginData.FromString(started.metadata.plugin_data.content).session_start_info.hparams
        assert values["coefficients.l1"].number_value == run.config.coefficients["l1"]
        assert set(values) == set(axes)
        [(_, described)] = found["_hparams_/experiment"]
        metrics = HParamsPluginData.FromString(described.metadata.plugin_data.content).experiment.metric_infos
        assert {each.name.tag for each in metrics} == {"validation/total", "test/total"} <= found.keys()
