import json
import os
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import AejaxError, InputError, PeerLost
from aejax.training import checkpoint
from aejax.training.checkpoint import Checkpoints, Manifest, best, restore, verified, whole
from aejax.training.identity import Identity
from aejax.training.step import TrainState

UNFINISHED = ".aejax-unfinished"
SHARDING = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def state_at(step):
    weights = np.random.default_rng(step).normal(size=500)
    return TrainState(jnp.int32(step), {"weights": jnp.asarray(weights, jnp.float32), "bias": jnp.ones(3) * step}, ())


@pytest.fixture
def folder(tmp_path):
    """Steps 1 to 5, the last one within an epoch; the value that selects is lowest at step 2."""
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        for step, loss in zip(range(1, 5), (5.0, 1.0, 3.0, 4.0), strict=True):
            checkpoints.save(state_at(step), selected=loss)
        checkpoints.save(state_at(5), terms={"total": np.float32([0.5, 0.25])}, seconds=1.5, chunk=13)
    return folder


def read(folder, step):
    return restore(folder, verified(folder, step), state_at(0), SHARDING)


def steps(folder):
    return [manifest.step for manifest in whole(folder)[0]]


def test_the_newest_two_and_the_best_are_kept(folder):
    assert steps(folder) == [2, 4, 5] and best(whole(folder)[0]).step == 2
    with Checkpoints(folder) as checkpoints:  # the best survives a restart
        assert checkpoints.recover().step == 5
        checkpoints.save(state_at(6), selected=2.5)
    assert steps(folder) == [2, 5, 6]


def test_restored_is_what_was_saved(folder):
    for step in (2, 5):
        restored, terms = read(folder, step)
        for ours, theirs in zip(jax.tree.leaves(restored), jax.tree.leaves(state_at(step)), strict=True):
            assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
    described = [verified(folder, step) for step in (5, 2)]
    assert [manifest.seconds for manifest in described] == [1.5, 0.0]
    assert [manifest.chunk for manifest in described] == [13, None]
    assert terms["total"].dtype == np.float32 and terms["total"].tolist() == [0.5, 0.25]


def test_an_empty_folder_holds_nothing(tmp_path):
    assert Checkpoints(tmp_path).recover().step == 0 and best(whole(tmp_path)[0]) is None


def test_only_who_saves_clears_away_what_is_half_saved_or_half_deleted(folder):
    for left in ("6", "1"):
        (folder / UNFINISHED / left).mkdir(parents=True)
    assert steps(folder) == [2, 4, 5] and (folder / UNFINISHED / "6").exists()
    assert Checkpoints(folder).recover().step == 5
    assert sorted(path.name for path in folder.iterdir()) == ["2", "4", "5"]


def test_what_is_not_ours_stays(folder, tmp_path):
    """Nor is it in the way: of a desktop, of a network disk, a link, a folder of somebody else's with such a name."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "arrays").write_text("precious")
    theirs = [folder / name for name in (".DS_Store", ".nfs000001", "notes", ".9.partial", ".3.gone.bak", ".٣.gone")]
    for path in theirs:
        path.write_text("theirs")
    (folder / ".config").mkdir()
    (folder / ".7.gone").symlink_to(elsewhere)
    (folder / ".8.partial").mkdir()
    (folder / ".8.partial" / "thesis.tex").write_text("theirs")
    before = sorted(path.name for path in folder.iterdir())
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.recover().step == 5
        checkpoints.save(state_at(6), selected=2.5)
    assert {path.name for path in folder.iterdir()} == {*before, "6"} - {"4"}
    for step in (8, 9):  # their names are not in the way
        with Checkpoints(folder) as checkpoints:
            checkpoints.save(state_at(step))
    (folder / UNFINISHED).write_text("theirs")
    theirs.append(folder / UNFINISHED)
    with (
        pytest.raises(AejaxError, match=r"could not be saved .* (exists|directory)"),
        Checkpoints(folder) as checkpoints,
    ):
        checkpoints.save(state_at(10))
    assert (folder / ".8.partial" / "thesis.tex").read_text() == "theirs"
    assert all(path.read_text() == "theirs" for path in theirs)
    assert (elsewhere / "arrays").read_text() == "precious"


def test_the_folder_may_be_a_link_and_what_else_is_behind_it_stays(folder, tmp_path):
    behind = tmp_path / "scratch"
    folder.rename(behind)
    (behind / ".ssh").mkdir()
    (behind / ".ssh" / "id").write_text("theirs")
    (behind / UNFINISHED / "6").mkdir(parents=True)
    folder.symlink_to(behind)
    assert Checkpoints(folder).recover().step == 5
    assert (behind / ".ssh" / "id").exists() and not (behind / UNFINISHED).exists()


def test_what_a_desktop_leaves_in_a_checkpoint_is_no_damage(folder):
    for place in (folder / "5", folder / "5" / "arrays"):
        (place / ".DS_Store").write_text("theirs")
    assert Checkpoints(folder).recover().step == 5
    read(folder, 5)


@pytest.mark.parametrize("name", ["05", "٥", "99999"])
def test_a_checkpoint_under_another_name_is_none(folder, name, caplog):
    (folder / "5").rename(folder / name)
    assert steps(folder) == [2, 4] and "it is the checkpoint of step 5" in caplog.text
    assert Checkpoints(folder).recover().step == 4
    assert (folder.parent / "damaged" / name / "manifest.json").exists()


def test_two_checkpoints_whose_names_are_exchanged_are_none(folder):
    (folder / "5").rename(folder / "x")
    (folder / "4").rename(folder / "5")
    (folder / "x").rename(folder / "4")
    assert Checkpoints(folder).recover().step == 2
    with pytest.raises(InputError, match=r"the checkpoint .*/5 cannot be read: No such file"):
        verified(folder, 5)


def test_a_checkpoint_of_another_run_is_moved_away_and_not_trained_on(small, tmp_path, caplog):
    ours, theirs = (Identity.of(small[0].replace({"training.seed": seed}), small[1]) for seed in (0, 1))
    for name, run in (("ours", ours), ("theirs", theirs)):
        with Checkpoints(tmp_path / name) as checkpoints:
            for step in (1, 2) if name == "ours" else (3, 4):
                checkpoints.save(state_at(step), selected=1.0, records=[json.dumps(run.to_dict())])
    shutil.copytree(tmp_path / "theirs" / "4", tmp_path / "ours" / "4")
    assert Checkpoints(tmp_path / "ours").recover(ours).step == 2
    assert "is of another run" in caplog.text and (tmp_path / "damaged" / "4").is_dir()
    with pytest.raises(InputError, match=r"no checkpoint .* whole and of the run .* \(4: it is of another run\)"):
        Checkpoints(tmp_path / "theirs").recover(ours)
    assert sorted(path.name for path in (tmp_path / "theirs").iterdir()) == ["3", "4"]


def test_a_state_of_another_step_than_its_manifest_says_is_refused(folder):
    path = folder / "5"
    manifest = Manifest(**json.loads((path / "manifest.json").read_text().splitlines()[0]))
    path = path.rename(folder / "7")
    Manifest(**{**vars(manifest), "step": 7}).write(path)
    with pytest.raises(InputError, match="holds the state of step 5"):
        read(folder, 7)


def test_a_manifest_names_nothing_outside_of_its_checkpoint(folder, tmp_path, caplog):
    (tmp_path / "secret").write_text("theirs")
    manifest = Manifest(**json.loads((folder / "5" / "manifest.json").read_text().splitlines()[0]))
    for name in (str(tmp_path / "secret"), "../../secret"):
        Manifest(**{**vars(manifest), "files": {name: "0"}}).write(folder / "5")
        assert steps(folder) == [2, 4] and "which is not in it" in caplog.text
        caplog.clear()


def test_a_pipe_in_place_of_a_file_does_not_hang(folder):
    (folder / "5" / "manifest.json").unlink()
    os.mkfifo(folder / "5" / "manifest.json")
    assert steps(folder) == [2, 4]


def test_damage_is_never_put_over_what_is_there(folder):
    there = folder.parent / "damaged" / "5"
    there.mkdir(parents=True)
    (there / "kept").touch()
    (folder / "5" / "manifest.json").write_text("")
    Checkpoints(folder).recover()
    assert [path.name for path in there.iterdir()] == ["kept"] and (there.parent / "5-2" / "manifest.json").exists()


@pytest.fixture
def as_nobody():
    """Without the rights of root, whom no mode of a file keeps from reading it."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


@pytest.mark.parametrize("place", ["", "5", "5/manifest.json", "5/arrays"])
def test_what_cannot_be_read_is_an_error_and_changes_nothing(folder, place, request):
    path = folder / place
    before = sorted(folder.rglob("*"))
    for each in [folder, *folder.rglob("*")]:
        each.chmod(0o777)
    path.chmod(0)
    parents = [each for each in folder.parents if not each.stat().st_mode & 0o001]
    modes = [each.stat().st_mode for each in parents]
    for each in parents:
        each.chmod(each.stat().st_mode | 0o011)
    try:
        request.getfixturevalue("as_nobody")
        with pytest.raises(InputError, match="cannot be read: Permission denied; nothing was changed"):
            Checkpoints(folder).recover()
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        path.chmod(0o777)
        for each, mode in zip(parents, modes, strict=True):
            each.chmod(mode)
    assert sorted(folder.rglob("*")) == before and Checkpoints(folder).recover().step == 5


def test_a_link_to_nothing_is_not_an_empty_folder(tmp_path):
    (tmp_path / "checkpoints").symlink_to(tmp_path / "unmounted")
    with pytest.raises(InputError, match="cannot be read"):
        Checkpoints(tmp_path / "checkpoints").recover()


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
        assert checkpoints.recover().step == 4
        checkpoints.save(state_at(5), selected=4.5)  # its step is free again
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
        restore(folder, verified(folder, 5), TrainState(jnp.int32(0), params, ()), SHARDING)


def test_a_save_that_fails_since_another_process_is_gone_says_so(tmp_path, monkeypatch):
    def failing():
        raise ValueError("Timeout waiting at barrier: UNAVAILABLE: Failed to send RPC to coordination service")

    monkeypatch.setattr(checkpoint, "_begin", lambda *_: failing)
    for processes, kind in ((2, PeerLost), (1, AejaxError)):
        monkeypatch.setattr(jax, "process_count", lambda processes=processes: processes)
        checkpoints = Checkpoints(tmp_path / str(processes))
        checkpoints.save(state_at(1), selected=0.5)
        with pytest.raises(AejaxError) as failure:
            checkpoints.wait()
        assert type(failure.value) is kind
