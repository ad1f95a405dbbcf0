"""Command lines that a user might mistype or that are merely odd: as many as wanted, from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import aejax

ROOT = Path(__file__).parents[2]

ODD = [
    "", " ", "0", "-1", "1e999", "nan", "١٦", "9" * 400, "True", "None", "no", "a b", ",", "1,,2", "=", "{}", "é",
    "~nouser/x", "gs://B/run", "s3://b", "/dev/null", "/proc/none/x", "file", "empty", "\udcff", "0:3", "x\ny",
    "--help", "--", "0:1000000000000", "../../x", "1_0", "0x10", "1.5", "missing.npy", "text.npy", "pickled.npy",
]  # fmt: skip
"""values that at least some option does not take"""

FIELDS = {
    "model.code_size": ["4", "1"], "model.hidden": ["8", "8 4"], "model.kind": ["plain", "own.py:Own", "own.py:No"],
    "model.activation": ["relu", "tanh"], "model.spatial_code": ["True", ""], "model.top_k": ["2"],
    "loss.reconstruction": ["bce", "mse", "huber", "ssim"], "loss.pixels": ["mean", "sum"],
    "corruption.kind": ["none", "gaussian"],
    "coefficients.noise": ["0.1", "2"], "coefficients.l1": ["0", "1e-4"], "coefficients.learning_rate": ["1e-3"],
    "training.batch_size": ["16", "4000"], "training.seed": ["3"], "training.optimizer": ["sgd", "own.py:f", "none:f"],
    "schedules.learning_rate.warmup_epochs": ["0", "5"],
    "training.clip_norm": ["1", "0"], "training.patience": ["2", "0"], "data.validation": ["0", "0.2", "1"],
    "training.select": ["total", "max l1", "max"], "training.evaluate_test": ["True", ""],
    "devices.count": ["1", "64"], "devices.parallel": ["jit", "pmap"], "data.binarize": ["True", ""],
    "data.placement": ["device", "stream"], "data.order_seed": ["1"],
    "coefficients.mine": ["1"], "model.options.k": ["1"],
    "hosts.coordinator": ["localhost:1 --hosts.count 2 --hosts.index 1 --hosts.startup_seconds 1", "auto:x", "here"],
}  # fmt: skip
SWEPT = [
    "seed",
    "l1",
    "hidden",
    "code_size",
    "learning_rate",
    "binarize",
    "nothing",
    "kind",
    "coefficients.mine",
    "noise",
]
PATHS = ["out", "out/deep", "~/out", "file/out", "größe"]


def workspace(folder: Path) -> Path:
    """What the command lines name: images, models, configurations, a run, and things that are none."""
    random_numbers = np.random.default_rng(0)
    images = (random_numbers.random((60, 4, 4)) * 255).astype(np.uint8)
    np.save(folder / "images.npy", images)
    np.save(folder / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (folder / "text.npy").write_text("no array")
    (folder / "file").write_text("a file")
    (folder / "empty").mkdir()
    (folder / "home").mkdir()
    (folder / "good.py").write_text(
        "from aejax import *\ndef get_config():\n    return Config(model=Model((8,), 4), training=Training(epochs=1))\n"
    )
    (folder / "broken.py").write_text("def get_config():\n    return 1 / 0\n")
    (folder / "exits.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "own.py").write_text(
        "import aejax\nclass Own(aejax.Autoencoder):\n    def encode(self, images):\n        return helper(images)\n"
        "def helper(images):\n    raise RuntimeError('two\\nlines')\n"
    )
    config = aejax.Config(model=aejax.Model((8,), 4), training=aejax.Training(epochs=1, batch_size=16))
    aejax.fit(config, folder / "run", dataset=images, progress=False)
    return folder


def lines(seed: int, count: int) -> Iterator[list[str]]:
    """The script and its arguments; whatever is not refused takes seconds."""
    choose = random.Random(seed)
    makers = [_train, _train, _train, _sweep, _sweep, _evaluate, _study, _study, _launch, _readme]
    for _ in range(count):
        line = choose.choice(makers)(choose)
        if choose.random() < 0.1:
            line.insert(choose.randrange(1, len(line) + 1), choose.choice(ODD))
        if choose.random() < 0.1 and len(line) > 2:
            del line[choose.randrange(2, len(line))]
        yield line


def _train(choose: random.Random) -> list[str]:
    others = ["broken.py", "exits.py", "nowhere.py", "empty", "file", "own.py"]
    given = ["train.py", choose.choice(["good.py"] * 4 * len(others) + others)]
    given += ["--dataset", choose.choice(["images.npy"] * 8 + ["missing.npy", choose.choice(ODD)])]
    given += ["--workdir", choose.choice([*PATHS, *PATHS, choose.choice(ODD)])]
    for field in choose.sample(sorted(FIELDS), choose.randint(0, 2)):
        # Most values are ones that some run has, so that what remains to be refused is met too.
        value = choose.choice(FIELDS[field]) if choose.random() < 0.7 else choose.choice(ODD)
        given += [f"--{field}={value}"] if choose.random() < 0.2 else [f"--{field}", *value.split(" ")]
    return given


def _sweep(choose: random.Random) -> list[str]:
    given = ["sweep.py", *_train(choose)[1:]]
    for field in choose.sample(SWEPT, choose.randint(0, 2)):
        values = choose.choices([*ODD, "0", "1", "0.5", "8", "0:20000"], k=choose.randint(0, 2))
        given += [f"--sweep.{field}", *values]
    return given


def _evaluate(choose: random.Random) -> list[str]:
    given = ["evaluate.py", choose.choice(["run", "run", "empty", "file", "nowhere", choose.choice(ODD)])]
    for option in choose.sample(["--json", "--dataset", "--samples", "--models", "--source_dir"], choose.randint(1, 3)):
        given += [option, choose.choice([*ODD, "images.npy", "figures.json"])]
    return given


def _study(choose: random.Random) -> list[str]:
    """A script that would take minutes: the images that it is given are not there."""
    script, options = choose.choice(
        [
            ("article.py", ["--seeds"]),
            ("beyond.py", ["--models"]),
            ("transfer.py", ["--seeds", "--epochs", "--target"]),
            ("gallery.py", ["--seeds", "--epochs", "--labels", "--samples"]),
            ("claims.py", ["--seeds", "--epochs", "--only"]),
            ("benchmark.py", ["--models", "--batches", "--sweep", "--repeats", "--compile-for", "--peers_python"]),
        ]
    )
    given = [script]
    for option in choose.sample(options, choose.randint(0, len(options))):
        given += [option, choose.choice([*ODD, "deep,deep", "deep", "../../own", "8", "jit"])]
    return [*given, "--workdir", choose.choice(PATHS), "--dataset", "missing.npy"]


def _launch(choose: random.Random) -> list[str]:
    given = ["launch.py"]
    for option in choose.sample(["--count", "--restarts"], choose.randint(0, 2)):
        given += [option, choose.choice(["0", "-1", "x", "", "1e3", "True"])]
    return [*given, *choose.choice([[], ["--"], ["--", "no-such-command"], ["--", "nowhere.py"]])]


def _readme(choose: random.Random) -> list[str]:
    return ["readme.py", choose.choice(ODD)]
