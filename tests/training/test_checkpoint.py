import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import InputError
from aejax.training.checkpoint import Checkpoints, best, restore, whole
from aejax.training.step import TrainState

SHARDING = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def state_at(step):
    weights = np.random.default_rng(step).normal(size=500)
    return TrainState(jnp.int32(step), {"weights": jnp.asarray(weights, jnp.float32), "bias": jnp.ones(3) * step}, ())


@pytest.fixture
def folder(tmp_path):
    """Steps 1 to 5, the last one within an epoch; the test loss is lowest at step 2."""
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        for step, loss in zip(range(1, 5), (5.0, 1.0, 3.0, 4.0), strict=True):
            checkpoints.save(state_at(step), test_total=loss)
        checkpoints.save(state_at(5), terms={"total": np.float32([0.5, 0.25])}, seconds=1.5)
    return folder


def steps(folder):
    return [manifest.step for manifest in whole(folder)]


def test_the_newest_two_and_the_best_are_kept(folder):
    assert steps(folder) == [2, 4, 5] and best(whole(folder)) == 2
    with Checkpoints(folder) as checkpoints:  # the best survives a restart
        assert checkpoints.recover() == 5
        checkpoints.save(state_at(6), test_total=2.5)
    assert steps(folder) == [2, 5, 6]


def test_restored_is_what_was_saved(folder):
    for step in (2, 5):
        restored = restore(folder, step, state_at(0), SHARDING)
        for ours, theirs in zip(jax.tree.leaves(restored.state), jax.tree.leaves(state_at(step)), strict=True):
            assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
    assert restored.seconds == 1.5
    assert restored.terms["total"].dtype == np.float32 and restored.terms["total"].tolist() == [0.5, 0.25]


def test_an_empty_folder_holds_nothing(tmp_path):
    assert Checkpoints(tmp_path).recover() is None and best(whole(tmp_path)) is None


def test_only_who_saves_clears_away_what_is_half_saved_or_half_deleted(folder):
    for left in (".6.partial", ".1.gone"):
        (folder / left).mkdir()
    assert steps(folder) == [2, 4, 5] and (folder / ".6.partial").exists()
    assert Checkpoints(folder).recover() == 5
    assert sorted(path.name for path in folder.iterdir()) == ["2", "4", "5"]


def test_a_flipped_byte_anywhere_is_noticed_and_the_one_before_is_used(folder, caplog):
    files = sorted(path for path in (folder / "5").rglob("*") if path.is_file() and path.stat().st_size)
    anywhere = random.Random(0)
    for number in range(100):
        file = files[number % len(files)]  # every file, and of each random bytes
        content = file.read_bytes()
        flipped = bytearray(content)
        flipped[anywhere.randrange(len(content))] ^= 1 << anywhere.randrange(8)
        file.write_bytes(flipped)
        caplog.clear()
        assert steps(folder) == [2, 4], file
        assert str(folder / "5") in caplog.text and file.name in caplog.text
        file.write_bytes(content)
    assert steps(folder) == [2, 4, 5]


def delete(file):
    file.unlink()


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file):
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [delete, truncate, empty])
def test_a_file_that_is_missing_or_cut_is_noticed(folder, damage, caplog):
    for file in sorted(path for path in (folder / "5").rglob("*") if path.is_file()):
        if damage is not delete and not file.stat().st_size:
            continue
        content = file.read_bytes()
        caplog.clear()
        damage(file)
        assert steps(folder) == [2, 4] and file.name in caplog.text
        file.write_bytes(content)
    assert steps(folder) == [2, 4, 5]


def test_a_checkpoint_that_is_half_deleted_is_moved_away(folder):
    shutil.rmtree(folder / "5" / "arrays" / "state")
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.recover() == 4
        checkpoints.save(state_at(5), test_total=4.5)  # its step is free again
    assert steps(folder) == [2, 4, 5] and (folder.parent / "damaged" / "5").is_dir()


def test_where_no_checkpoint_is_whole_the_run_is_refused(folder):
    for step in (2, 4, 5):
        (folder / str(step) / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"no checkpoint .* is whole"):
        Checkpoints(folder).recover()
    assert sorted(path.name for path in folder.iterdir()) == ["2", "4", "5"]


@pytest.mark.parametrize(
    ("params", "named"),
    [
        (
            {"weights": jnp.zeros(500, jnp.bfloat16), "bias": jnp.zeros(3)},
            r"bfloat16\[500\] here, float32\[500\] there",
        ),
        ({"weights": jnp.zeros(20), "bias": jnp.zeros(3)}, r"float32\[20\] here"),
        ({"weights": jnp.zeros(500), "bias": jnp.zeros(3), "more": jnp.zeros(1)}, "more.* not there there"),
        ({"weights": jnp.zeros(500)}, "bias.* not there here"),
    ],
)
def test_another_type_shape_or_tree_is_never_cast(folder, params, named):
    with pytest.raises(InputError, match=named):
        restore(folder, 5, TrainState(jnp.int32(0), params, ()), SHARDING)
