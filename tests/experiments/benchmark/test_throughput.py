import json
import sys

import numpy as np
import pytest
from PIL import Image

from aejax import Dataset, InputError, Model, load_config
from benchmark import report, throughput
from benchmark import roofline as floors
from benchmark.peers import peer
from benchmark.roofline import figure as roofline
from readable import error_bars, require_readable, words
from runs import traced

PEER = """
import json, sys
task = json.load(open(sys.argv[-1]))
print(json.dumps({"name": "fast", "batch": task["batch"]}), flush=True)
for _ in sys.stdin:
    print(1e-9, flush=True)
"""


def test_the_operations_counted_by_hand_are_those_of_reference_and_compiler(small):
    config, dataset = small
    assert floors.flops_per_image(load_config("configs/mnist/deep.py"), (28, 28, 1)) == 1_052_672
    wide = config.replace({"model.hidden": [256, 64], "training.batch_size": 64})
    images = Dataset("images", *np.zeros((2, 64, 28, 28, 1), np.uint8))
    by_hand, step = 64 * floors.flops_per_image(wide, (28, 28, 1)), floors.one_step(wide, images)
    assert by_hand < step.flops < 1.1 * by_hand  # the compiler counts also what is not a matrix product
    assert sum(step.memory.values()) > 3 * 4 * (2 * 28 * 28 * 256)  # parameters and the two moments of Adam
    assert floors.flops_per_image(config.replace({"model.channels": [4]}), dataset.image_shape) is None


@pytest.fixture(scope="module")
def row(small, tmp_path_factory):
    script = tmp_path_factory.mktemp("peer") / "peer.py"
    script.write_text(PEER)
    config, dataset = small
    noisy = {"corruption.kind": "gaussian", "coefficients.noise": 0.1}
    rows = throughput.measure(
        {"clean": config, "noisy": config.replace(noisy)},
        dataset,
        batches=[16],
        drivers=["jit", "pmap"],
        members=[2],
        placements=["device", "stream"],
        repeats=1,
        peers={"plain": {"fast": [sys.executable, str(script)]}},
    )
    return {row["model"]: row for row in rows}


@pytest.mark.long
def test_a_row_has_what_was_timed_in_turn_with_it(row):
    assert set(row["clean"]["alternatives"]) == {"pmap", "2 models", "stream", "fast"}
    assert set(row["noisy"]["alternatives"]) == {"pmap", "2 models", "stream", "without noise"}  # no peer has noise
    peer = row["clean"]["alternatives"]["fast"]
    assert peer["peer"] == {"name": "fast", "batch": 16}
    assert peer["images_per_second"] == pytest.approx(80 / 1e-9) and peer["ratio"] < 1e-3  # the peer is the faster one
    assert 0 < row["clean"]["share_of_matmul"] < 1 and row["clean"]["steps"] == 5
    assert json.loads(json.dumps(row)) == row
    rows = list(row.values())
    assert report.table(rows).count("\n") == 3 and "fast 80,000,000,000" in report.table(rows)
    head, _, clean, noisy = report.alternatives_table(rows).splitlines()
    assert head == "| model | batch | images/s | pmap | 2 models | stream | without noise |"
    ratios = {name: f"{each['ratio']:.2f}" for name, each in row["noisy"]["alternatives"].items()}
    assert noisy.split(" | ")[3:] == [*list(ratios.values())[:-1], f"{ratios['without noise']} |"]
    assert clean.endswith(" | - |") and "fast" not in head
    assert report.alternatives_table([row["clean"] | {"alternatives": {}}]) == ""
    require_readable(roofline(rows, "cpu", 3))


def test_no_point_of_the_figure_is_above_the_roof():
    measured = {"images_per_second": 100.0, "images_per_second_std": 20.0}
    rows = [
        measured | {"model": model, "dtype": dtype, "batch": batch, "share_of_matmul": share, "flops_per_second": 1e12}
        for dtype in ("float32", "bfloat16")
        for model, batch, share in (("deep", 32, 0.35), ("deep", 256, 0.95), ("vae", 32, 0.2), ("vae", 4096, 0.5))
    ]
    figure = roofline(rows, "cpu", 3)
    (axes,) = figure.axes
    (roof,) = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert set(roof.get_ydata()) == {100}
    shown = [line for line in axes.get_lines() if line.get_marker() in "os^Dv"]
    assert np.allclose(np.concatenate([line.get_ydata() for line in shown]), 2 * [35, 95, 20, 50])
    assert len({line.get_color() for line in shown}) == 4 and figure.legends[0].get_title().get_text() == "model"
    ends = np.concatenate([ends for _, ends in error_bars(figure)])
    assert np.allclose(ends[:2], [[28, 42], [76, 114]]) and "standard deviation" in words(figure)
    require_readable(figure)


def test_only_what_a_peer_can_train_is_compared(small):
    config, _ = small
    assert peer.comparable(config) == "plain"
    for field, value in (
        ("coefficients.l1", 0.1),
        ("model.dtype", "bfloat16"),
        ("data.binarize", True),
        ("data.augmentation", ["shift"]),
    ):
        assert peer.comparable(config.replace({field: value})) is None
    vae = load_config("configs/mnist/vae_flax.py")
    assert peer.comparable(vae) == "variational" and peer.comparable(vae.replace({"coefficients.beta": 2.0})) is None


def test_a_peer_that_fails_is_named_in_one_line(small):
    config, dataset = small
    fails = {"broken": [sys.executable, "-c", "raise SystemExit('no keras here')"]}
    with (
        pytest.raises(InputError, match="fails: no keras here") as refused,
        peer.started(fails, config, dataset.train),
    ):
        pass
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="cannot be started"), peer.started({"x": ["/"]}, config, dataset.train):
        pass


@pytest.mark.long
def test_bfloat16_changes_the_layers_and_not_what_is_kept(small):
    import jax
    import jax.numpy as jnp

    from aejax.training.step import Batch, build_steps

    config, dataset = small
    low = config.replace({"model.dtype": "bfloat16"})
    weights = traced(config)
    batch, after = Batch(jnp.asarray(dataset.train[:16]), jnp.arange(16)), {}
    for name, given in (("float32", config), ("bfloat16", low)):
        steps = build_steps(given, dataset.image_shape)
        after[name] = jax.jit(lambda state, steps=steps: steps.alone(state, batch, weights))(jax.jit(steps.init)())
    assert {leaf.dtype for leaf in jax.tree.leaves(after["bfloat16"])} == {jnp.dtype("float32"), jnp.dtype("int32")}
    losses = [float(after[name][1]["total"]) for name in after]
    assert losses[0] != losses[1] and abs(losses[0] - losses[1]) < 1e-2
    assert Model().dtype == "float32"


@pytest.mark.long
def test_the_script_measures_what_should_be_linear_and_the_start_and_overwrites_nothing(script, tmp_path):
    command = ("benchmark.py", "--models", "shallow", "--batches", 256, "--repeats", 1, "--scaling", "--cold-start")
    done = script(*command, "--workdir", "out")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert {row["varied"] for row in content["scaling"]} == {"examples", "batch", "code", "epoch"}
    assert all(row["ms_per_step"] > 0 for row in content["scaling"]) and content["cold_start_seconds"][0] > 0
    with Image.open(tmp_path / "out" / "roofline.png") as image:
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    assert content["command"].endswith("out")
    again = script(*command, "--workdir", "out")
    assert again.returncode == 1 and again.stderr.count("\n") == 1 and "exists; give another --workdir" in again.stderr


@pytest.mark.long
def test_a_start_that_fails_says_why(small):
    with pytest.raises(InputError, match=r"the cold start fails: .*there is no .*nowhere"):
        throughput.cold_start(small[0].replace({"data.name": "./nowhere.npy"}), 1)
