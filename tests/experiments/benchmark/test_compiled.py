"""Programs compiled for a TPU v5e and an H100, which this machine does not need.

    uv run --group compile pytest tests/experiments/benchmark/test_compiled.py

Without that group only the first part runs.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from aejax import Dataset, InputError, load_config, load_dataset
from benchmark import bundles, compiled, hlo, launches, report, roofline
from benchmark.targets import TARGETS, require_compilable

ROOT = Path(__file__).parents[3]
CONFIGS = {path.stem: load_config(path) for path in sorted((ROOT / "configs" / "mnist").glob("*.py"))}
COMPILED_FOR = "v5e-1", "h100"
MNIST = Dataset("mnist", *(np.zeros((count, 28, 28, 1), np.uint8) for count in (60_000, 10_000)))


def test_the_length_of_a_loop_is_read_from_either_compiler():
    said = ' = (s32[]) while(%t), condition=%c, body=%b, backend_config={"known_trip_count":{"n":"7"}}'
    compares = (
        "%c (a: s32[]) -> pred[] {\n  %k = s32[]{:T(128)} constant(9)\n  ROOT %r = pred[] compare(%g, %k)\n}\n"
        " = (s32[]) while(%t), condition=%c, body=%b"
    )
    hidden = (
        "%c (a: s32[]) -> pred[] {\n  ROOT %r = pred[] compare(%g, %h)\n}\n = (s32[]) while(%t), condition=%c, body=%b"
    )
    for text, length in ((said, 7), (compares, 9), (hidden, None)):
        assert hlo.main_loop(text).trip_count == length


def test_bundles_of_inner_loops_count_as_often_as_they_turn(tmp_path):
    program = [
        "0 : { s } ",
        "0x1 LB: > { inlined_call %a /* %first.1 = fusion(%b) */ }",
        "0x2 : > { scmp.eq.s32.totalorder %s3, 50 /* loop exit test */ }",
        "0x3 : { inlined_call %a /* %last = copy(%b) */ }",
    ]
    first = ["0 : { x }", "0x1 LB: > { y }", "0x2 : > { scmp.ge.s32.totalorder %s1, 10 }", "0x3 : { z }"]
    for number, (name, lines) in enumerate({"TLP": program, "first.1": first, "last": first[:1]}.items()):
        (tmp_path / f"{number}-{name}-01-final_bundles.txt").write_text("\n".join(lines))
    found = bundles.read(tmp_path, "")
    assert (found.bundles, found.bundles_outside, found.unknown_loops) == (2 + 22, 1 + 1 + 1, 0)
    assert found.operations == [(22, "first.1")]
    around = [
        "0 : { a }",
        "0x1 LB: > { b }",
        *(line.replace(": >", ": > >").replace("0x3 :", "0x3 : >") for line in program[1:]),
    ]
    around.append("0x4 : > { scmp.eq.s32.totalorder %s3, 4 /* loop exit test */ }")
    (tmp_path / "0-TLP-01-final_bundles.txt").write_text("\n".join(around))
    found = bundles.read(tmp_path, "", repeats=4)
    assert (found.bundles, found.bundles_outside) == (2 + 22, 1 + 4 * (1 + 1 + 1 + 1))


def test_a_pipelined_loop_counts_as_often_as_it_computes(tmp_path):
    """Lines of libtpu's schedules for v5e and v6e, whose operations state 5, 15, 112, 98 and 2 windows."""
    index = "/* phi copy :: iteration index, stage = 0 :: iteration index, stage = 0 */"
    loops = {
        "elementwise": (["ge 5", "ge 1", "lt 6"], 7, 5),
        "cipher": (["ge 2", "lt 17", "lt 15"], 19, 15),
        "broadcast": (["lt 112", "ge 5", "lt 117"], 122, 112),
        "sum": (["lt 5"], 103, 98),
        "loss": (["lt 1"], 3, 2),
    }
    calls = [f"0x2 : > {{ inlined_call %a /* %{name} = f(%a) */ }}" for name in loops]
    (tmp_path / "0-TLP-01-final_bundles.txt").write_text("\n".join(["0x1 LB: > { x }", *calls]))
    for name, (guards, ends, _) in loops.items():
        lines = [f"0x5 LB: > {{ %s9_s8 = sphi %s3_s8, %s1_s8 {index} }}"]
        for guard, number in map(str.split, guards):
            lines.append(f"0x6 : > {{ %p1_p1 = scmp.{guard}.s32.totalorder %s9_s8, {number} ;; %s25_s11 = smov 0 }}")
        lines.append(f"0x7 : > {{ %p10_p4 = scmp.ge.s32.totalorder %s13_s8, {ends} /* loop exit test */ }}")
        (tmp_path / f"0-{name}-01-final_bundles.txt").write_text("\n".join(lines))
        loops[name] = loops[name][2] * len(lines)
    assert {name: count for count, name in bundles.read(tmp_path, "").operations} == loops


def test_launches_are_those_within_the_loop(tmp_path):
    (tmp_path / "a.thunk_sequence_after_thunk_passes.txt").write_text(
        "001: kCustomKernel before\n000: kWhile\ncondition:\n    002: kCustomKernel c\n  body:\n"
        "    003: kConvolution x\n    000: kCommandBuffer\n        004: kCustomKernel y\n        005: kGemm z\n"
        "006: kCopy after\n"
    )
    found = launches.read(tmp_path, 7)
    assert (found.launches, found.graphs, found.submissions, found.launches_outside) == (3, 1, 2, 2)
    assert found.condition == 0
    assert launches.read(tmp_path, None).condition == 1


def test_a_step_has_its_share_of_the_launches_of_a_block_of_steps(tmp_path):
    (tmp_path / "a.thunk_sequence_after_thunk_passes.txt").write_text(
        "000: kWhile\ncondition:\n    001: kCustomKernel c\n  body:\n    002: kCustomKernel a\n"
        "    004: kWhile\ncondition:\n        005: kCustomKernel c\n      body:\n"
        "        006: kCustomKernel x\n        007: kGemm y\n        008: kCopy z\n        009: kCopy w\n"
        "    010: kCopy d\n011: kCopy after\n"
    )
    found = launches.read(tmp_path, 2)
    assert found.kinds == {"kCustomKernel": 1, "kGemm": 1, "kCopy": 2, "shared": 1}
    assert (found.launches, found.launches_outside) == (5, 2)


def test_an_operation_without_a_schedule_costs_as_much_as_the_equal_operation(tmp_path):
    text = """
%body (x: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %b = f32[4]{0} constant(0)
  %add.1 = f32[8]{0} fusion(%a, %b), kind=kLoop, calls=%sum
  %add.2 = f32[8]{0} fusion(%b, %a), kind=kLoop, calls=%sum
  %add.3 = f32[8]{0} fusion(%b, %b), kind=kLoop, calls=%sum
  %add.4 = f32[8]{0} fusion(%b, %a), kind=kLoop, calls=%product
  %add.5 = f32[8]{0} fusion(%b, %a), kind=kLoop, calls=%sum
}
%sum (p: f32[8]) -> f32[8] {
  ROOT %c = f32[8]{0} add(%p, %q)
}
%product (p: f32[8]) -> f32[8] {
  ROOT %d = f32[8]{0} multiply(%p, %q)
}
"""
    program = [f"0x2 : > {{ inlined_call %a /* %add.{number} = f */ }}" for number in (1, 2, 3, 4, 5)]
    for number, lines in enumerate(
        [["0x1 LB: > { x }", *program], *(number * ["0 : { x }"] for number in (1, 2, 3, 4))]
    ):
        (tmp_path / f"{number}-{f'add.{number}' if number else 'TLP'}-01-final_bundles.txt").write_text(
            "\n".join(lines)
        )
    assert sorted(bundles.read(tmp_path, text).operations)[1:3] == [(2, "add.2"), (2, "add.5")]
    with pytest.raises(InputError, match=r"no schedule of add\.5"):
        bundles.read(tmp_path, text.replace("%add.5 = f32[8]{0}", "%add.5 = f32[8]{1}"))


def test_the_bound_counts_the_products_of_a_step_by_their_shapes():
    dense = (784 * 200, 200 * 200, 200 * 100, 50 * 200, 200 * 200, 200 * 784)
    convolutional = (14 * 14 * 9 * 32, 7 * 7 * 9 * 32 * 32, 7 * 7 * 9 * 32 * 128, 14 * 14 * 9 * 32 * 4)
    for model, layers in {"vae": dense, "convolutional": convolutional}.items():
        # Each layer has a gradient of its weights and, except the first, of its inputs.
        flops = CONFIGS[model].training.batch_size * 2 * (3 * sum(layers) - layers[0])
        assert np.isclose(roofline.floor(CONFIGS[model], MNIST, TARGETS["h100"]), 1e6 * flops / 494e12), model
    assert roofline.padded((256, 784, 32), 128) == 256 * 896 * 32


def test_parts_of_a_state_share_its_products():
    deep, target = CONFIGS["deep"].replace({"training.batch_size": 128}), TARGETS["v5e-4"]
    assert roofline.floor(deep, MNIST, target, shares=1, shards=4) == roofline.floor(deep, MNIST, target) / 4


def test_no_count_that_we_publish_is_below_its_bound():
    results = ROOT / "experiments/results"
    for file in (*results.glob("*compiled*/*.json"), *results.glob("*/compiled.json")):
        for row in json.loads(file.read_text(encoding="utf-8"))["rows"]:
            train = next(iter(row.get("programs", {"": {}}).values()))
            if "bundles" in train and row.get("floor") is not None:
                assert train["bundles"] >= row["floor"], (file, row["model"])


def test_a_target_that_is_not_known_is_one_line():
    with pytest.raises(InputError, match="choose from v5e-1, v5e-4, v5e-16, v5e-64, v5p-4, v5p-64, v6e-1, h100"):
        require_compilable("v9")


def compile_for(targets, configs, **arguments):
    """Rows by target and model; one process for each target at the same time."""
    try:
        for target in targets:
            require_compilable(target)
    except InputError as missing:
        if "AEJAX_REQUIRE_COMPILERS" in os.environ:
            raise
        pytest.skip(str(missing))
    arguments = {"dataset": MNIST, "batches": [256]} | arguments
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda target: list(compiled.rows([target], configs, **arguments)), targets)
    return {(row["target"], row["model"]): row for rows in found for row in rows}


@pytest.fixture(scope="module")
def rows():
    return compile_for(COMPILED_FOR, CONFIGS)


def test_every_configuration_compiles_and_its_steps_are_one_loop_without_the_host(rows):
    assert len(rows) == len(COMPILED_FOR) * len(CONFIGS)
    for (target, model), row in rows.items():
        assert "error" not in row, (target, model, row["error"])
        assert row["fits"]
        names = list(row["programs"])
        assert names[:2] == ["train 234 steps", "evaluate 10 batches"]
        for name in names[:2]:
            program = row["programs"][name]
            assert program["loop_length"] == (234 if "train" in name else 10), (target, model, name)
            assert program["host_transfers"] == 0 and program.get("host_waits", 0) == 0, (target, model, name)


def test_small_models_and_their_images_stay_in_the_chips_own_memory(rows):
    for model in ("deep", "shallow", "denoising"):
        train = rows["v5e-1", model]["programs"]["train 234 steps"]
        assert train["outside_vmem"] == [], model


def test_the_states_of_a_group_of_a_sweep_stay_in_the_chips_own_memory():
    (row,) = compile_for(COMPILED_FOR[:1], {"deep": CONFIGS["deep"]}, members=[64]).values()
    train = row["programs"]["train 234 steps"]
    assert not [each for each in train["outside_vmem"] if each["array"].startswith("f32[16,")]
    assert train["loop_length"] == 234 and train["bundles"] <= 5000


def test_a_step_takes_no_more_than_the_committed_results_say(rows):
    """Who makes a step dearer writes the results anew (experiments/results/README.md) and says why."""
    committed = {}
    for name in ("augmented", "gpu", "v5e-1", "v6e-1"):
        found = json.loads((ROOT / "experiments/results/compiled" / f"{name}.json").read_text())["rows"]
        committed |= {(row["target"], row["model"]): row for row in found}
    assert set(rows) <= set(committed)
    for key, row in rows.items():
        old, new = (each["programs"]["train 234 steps"] for each in (committed[key], row))
        unit = "bundles" if "bundles" in old else "launches"
        assert new[unit] <= 1.05 * old[unit], (*key, unit, new[unit], old[unit])


@pytest.mark.long
def test_a_full_size_sparse_autoencoder_takes_no_more_launches_than_committed():
    rows = json.loads((ROOT / "experiments/results/gallery_vectors/compiled.json").read_text())["rows"]
    (committed,) = [row for row in rows if row["target"] == "h100"]
    configs = {"batch_top_k_16k": load_config(ROOT / "experiments" / "gallery" / "batch_top_k_16k.py")}
    dataset = load_dataset("sparse_features_16k")
    (row,) = compile_for(["h100"], configs, dataset=dataset, batches=[1024]).values()
    old, new = (each["programs"]["train 8192 steps"] for each in (committed, row))
    assert new["launches"] <= 1.05 * old["launches"] and new["host_waits"] == 0


def test_a_program_of_one_step_runs_without_the_host():
    one_step = Dataset("one", MNIST.train[:256], MNIST.test)
    rows = compile_for(COMPILED_FOR, {"deep": CONFIGS["deep"]}, dataset=one_step)
    for target in COMPILED_FOR:
        train = rows[target, "deep"]["programs"]["train 1 steps"]
        assert train["host_transfers"] == 0 and train.get("host_waits", 0) == 0, target


def test_measured_rows_show_the_counts_of_programs_compiled_for_the_device():
    committed = json.loads((ROOT / "experiments/results/compiled/gpu.json").read_text())["rows"]
    h100 = next(row for row in committed if (row["target"], row["model"]) == ("h100", "deep"))
    count = h100["programs"]["train 234 steps"]["launches"]
    measured = {
        "model": "deep", "batch": 256, "dtype": "float32", "devices": 1, "ms_per_step": 0.068, "alternatives": {},
        "images_per_second": 3.7e6, "images_per_second_std": 0.0, "share_of_matmul": 0.01,
    }  # fmt: skip
    other = measured | {"batch": 7}
    compiled.add_counts([measured, other], committed, h100["device"])
    assert measured["compiled"] == {"launches": count} and "compiled" not in other
    shown = report.table([measured, other]).splitlines()
    assert shown[0].endswith("| as compiled for it |") and shown[2].endswith(
        f"| {count} launches, {68_000 / count:,.1f} ns each |"
    )
