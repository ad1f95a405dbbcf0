import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import InputError
from aejax.checkpoint import Checkpoints


def state_at(step):
    weights = np.random.default_rng(step).normal(size=5000)  # they do not compress: a flipped byte can go unseen
    return {"step": jnp.int32(step), "weights": jnp.asarray(weights, jnp.float32), "bias": jnp.ones(3) * step}


@pytest.fixture
def saved(tmp_path):
    """Steps 1 to 5; the test loss is lowest at step 2."""
    with Checkpoints(tmp_path, saves=True) as checkpoints:
        for step, loss in zip(range(1, 6), (5.0, 1.0, 3.0, 4.0, 2.0), strict=True):
            checkpoints.save(step, state_at(step), loss)
    return tmp_path


def test_the_newest_two_and_the_best_are_kept(saved):
    with Checkpoints(saved, saves=True) as checkpoints:
        assert checkpoints.steps() == [2, 4, 5] and checkpoints.best() == 2
        checkpoints.save(6, state_at(6), 2.5)
    with Checkpoints(saved, saves=True) as checkpoints:  # the best survives a restart
        assert checkpoints.steps() == [2, 5, 6] and checkpoints.best() == 2


def test_restored_is_what_was_saved(saved):
    with Checkpoints(saved, saves=True) as checkpoints:
        for step, expected in ((None, 5), (2, 2)):
            restored = checkpoints.restore(state_at(0), step)
            for ours, theirs in zip(jax.tree.leaves(restored), jax.tree.leaves(state_at(expected)), strict=True):
                assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


def test_an_empty_folder_holds_nothing(tmp_path):
    with Checkpoints(tmp_path, saves=True) as checkpoints:
        assert checkpoints.restore(state_at(0)) is None


def test_only_who_saves_clears_away_what_is_half_saved(saved):
    half = saved / "6.orbax-checkpoint-tmp"
    half.mkdir()
    with Checkpoints(saved, saves=False) as checkpoints:
        assert checkpoints.restore(state_at(0))["step"] == 5 and half.exists()
    with Checkpoints(saved, saves=True) as checkpoints:
        assert checkpoints.restore(state_at(0))["step"] == 5 and not half.exists()


def data_files(folder):
    return sorted(path for path in folder.rglob("d/*") if path.is_file())


def test_a_flipped_byte_is_noticed_and_the_one_before_is_used(saved, caplog):
    largest = max(data_files(saved / "5"), key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with Checkpoints(saved, saves=True) as checkpoints:
        assert checkpoints.restore(state_at(0))["step"] == 4
    assert str(saved / "5") in caplog.text


def test_where_no_checkpoint_is_whole_the_run_is_refused(saved):
    for step in (2, 4, 5):
        for file in data_files(saved / str(step)):
            file.write_bytes(file.read_bytes()[:50])
    with (
        Checkpoints(saved, saves=True) as checkpoints,
        pytest.raises(InputError, match=r"no checkpoint .* can be restored"),
    ):
        checkpoints.restore(state_at(0))


@pytest.mark.parametrize(
    "other", [{"weights": jnp.zeros(5000, jnp.float16)}, {"weights": jnp.zeros(200)}, {"more": 1.0}]
)
def test_another_type_shape_or_tree_is_never_cast(saved, other):
    like = jax.tree.map(jnp.asarray, state_at(0) | other)
    with Checkpoints(saved, saves=True) as checkpoints, pytest.raises(InputError):
        checkpoints.restore(like)
