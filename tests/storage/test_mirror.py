"""The local folder that stands for a folder in a bucket: order of uploads, ownership, damage, strangers, failures."""

import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from aejax.config.checks import AejaxError, InputError, Stopped
from aejax.config.files import data_dir
from aejax.storage import Store, StoreError, lease, mirror, opened, store

PLACE, FOLDER = "gs://bucket/runs/a", "runs/a"
FILES = "arrays/d/1", "arrays/d/2", "terms.npz", "manifest.json"


def checkpoint(folder, step, text=""):
    """Write what a run writes after an epoch: a line of metrics.jsonl, then a checkpoint."""
    folder.mkdir(exist_ok=True)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(f"{step}\n")
    for name in FILES:
        path = folder / "checkpoints" / str(step) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{step}{text}")


def remove(folder, step):
    (folder / "checkpoints" / str(step)).rename(folder / ".gone")
    for path in sorted((folder / ".gone").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (folder / ".gone").rmdir()


def local_folders():
    folder = data_dir() / "buckets"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture(autouse=True)
def one_file_at_a_time(gcs, monkeypatch):
    monkeypatch.setattr(mirror, "_AT_ONCE", 1)
    assert local_folders() == []
    yield
    assert local_folders() == []


def killed(gcs, work):
    """Own the folder, call `work(folder, owner)`, and leave everything as a kill does."""
    owner = mirror._Owner(Store(PLACE))
    owner.open()
    work(owner.folder, owner)
    owner._closing.set()
    owner._lease = None
    owner.remove()


def test_a_kill_after_any_request_leaves_whole_checkpoints(gcs, monkeypatch):
    states = []  # of the bucket, after each request that changed it

    class Log(list):
        def append(self, entry):
            super().append(entry)
            states.append((entry, dict(gcs.objects)))

    monkeypatch.setattr(gcs, "log", Log())
    with opened(PLACE) as folder:
        upload = mirror._Owner._save
        owner = next(each for each in __import__("gc").get_objects() if isinstance(each, mirror._Owner))
        for step in range(1, 6):
            checkpoint(folder, step)
            if step > 2:
                remove(folder, step - 2)
            upload(owner)
        (folder / "summary.json").write_text("done")
    with opened(PLACE) as folder:  # a finished run that goes on
        assert (folder / "summary.json").read_text() == "done"
        (folder / "summary.json").unlink()
        checkpoint(folder, 6)
        remove(folder, 4)
    seen = set()
    for entry, objects in [*states, (None, gcs.objects)]:
        gcs.objects = dict(objects)
        for name in [name for name in gcs.objects if name[1].endswith(lease.NAME)]:
            del gcs.objects[name]
        with opened(PLACE, reads=True) as folder:
            steps = sorted(int(path.name) for path in folder.glob("checkpoints/*"))
            seen.add(tuple(steps))
            for step in steps:
                assert all((folder / "checkpoints" / str(step) / name).read_text() == str(step) for name in FILES), (
                    entry
                )
            lines = (folder / "metrics.jsonl").read_text().split() if (folder / "metrics.jsonl").exists() else []
            assert len(lines) >= max(steps, default=0) and (steps or len(lines) <= 2), entry
            assert not (folder / "summary.json").exists() or steps == [4, 5], entry
    assert {(), (1,), (1, 2), (1, 2, 3), (2, 3), (4, 5), (4, 5, 6), (5, 6)} <= seen
    assert gcs.names("bucket", FOLDER) == {
        "metrics.jsonl", *(f"checkpoints/{step}/{name}" for step in (5, 6) for name in FILES)
    }  # fmt: skip


def test_a_run_that_was_killed_finds_its_folder_unless_another_run_wrote(gcs, monkeypatch):
    killed(gcs, lambda folder, _: checkpoint(folder, 1))
    assert gcs.names("bucket", FOLDER) == {lease.NAME} and len(local_folders()) == 1
    with opened(PLACE) as folder:
        assert (folder / "checkpoints/1/manifest.json").exists()
        with opened(PLACE, reads=True) as other:  # another process of the run, on a disk of its own
            assert (other / "checkpoints/1/manifest.json").exists()
    assert local_folders() == [] and "metrics.jsonl" in gcs.names("bucket", FOLDER)

    killed(gcs, lambda folder, _: checkpoint(folder, 2))
    here = os.environ["AEJAX_DATA_DIR"]
    monkeypatch.setenv("AEJAX_DATA_DIR", f"{here}/other")
    with (
        pytest.raises(Stopped, match=rf"{PLACE} is in use by a run on .*run the same command again in \d+ s"),
        opened(PLACE),
    ):
        pass
    assert lease.NAME in gcs.names("bucket", FOLDER)  # a loser leaves the lease of the owner
    now = time.time()
    monkeypatch.setattr(lease.time, "time", lambda: now + lease.SECONDS + 1)
    with opened(PLACE) as folder:
        assert not (folder / "checkpoints/2").exists()
        checkpoint(folder, 3)
    monkeypatch.setenv("AEJAX_DATA_DIR", here)
    with opened(PLACE) as folder:
        assert sorted(path.name for path in folder.glob("checkpoints/*")) == ["1", "3"]
    os.rmdir(f"{here}/other/buckets")
    os.rmdir(f"{here}/other")


def test_a_failed_upload_at_the_start_keeps_what_a_kill_left(gcs, monkeypatch):
    with opened(PLACE) as folder:
        checkpoint(folder, 1)
    killed(gcs, lambda folder, _: checkpoint(folder, 2))

    def fail(*_):
        raise StoreError("its quota is used up")

    with monkeypatch.context() as patch:
        patch.setattr(mirror._Mirror, "_upload", fail)
        with pytest.raises(StoreError, match="quota"), opened(PLACE):
            pass
    with opened(PLACE) as folder:
        assert (folder / "checkpoints/2/manifest.json").exists()


def test_a_kill_during_the_download_leaves_no_folder_that_looks_whole(gcs, monkeypatch):
    with opened(PLACE) as folder:
        checkpoint(folder, 1)
    fetch = mirror._Mirror._fetch

    def cut(self, name):
        if name.endswith("terms.npz"):
            raise KeyboardInterrupt
        fetch(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(mirror._Mirror, "_fetch", cut)
        patch.setattr(mirror._Owner, "remove", lambda self: (self._closing.set(), self._locked.close()))
        with pytest.raises(KeyboardInterrupt), opened(PLACE):
            pass
    with opened(PLACE) as folder:
        assert all((folder / "checkpoints/1" / name).exists() for name in FILES)
    assert {f"checkpoints/1/{name}" for name in FILES} < gcs.names("bucket", FOLDER)


def test_another_run_on_this_machine_leaves_the_folder_even_during_the_download(gcs):
    with opened(PLACE) as folder:
        checkpoint(folder, 1)
        (folder.parent / "known.json").rename(folder.parent / "not yet")
        with pytest.raises(Stopped, match="in use by another run on this machine"), opened(PLACE):
            pass
        assert (folder / "checkpoints/1/manifest.json").exists()
        (folder.parent / "not yet").rename(folder.parent / "known.json")


def test_a_run_whose_lease_was_taken_stops_and_uploads_nothing_more(gcs):
    with pytest.raises(Stopped, match="is in use by a run on elsewhere"), opened(PLACE) as folder:
        checkpoint(folder, 1)
        gcs.put("bucket", f"{FOLDER}/{lease.NAME}", b'{"owner": "x", "host": "elsewhere", "expires": 1e12}')
        owner = next(each for each in __import__("gc").get_objects() if isinstance(each, mirror._Owner) and each._lease)
        owner._lease._renewed -= 10.0
    assert gcs.names("bucket", FOLDER) == {lease.NAME, *(f"checkpoints/1/{name}" for name in FILES[:3])}


def test_an_incomplete_upload_is_removed_and_other_files_are_kept(gcs):
    for name in (
        "checkpoints/4/arrays/d/1",
        "checkpoints/4/notes.txt",
        "checkpoints/mine/x",
        "metrics.jsonl",
        "figures/a.png",
    ):
        gcs.put("bucket", f"{FOLDER}/{name}", b"x")
    with opened(PLACE, reads=True) as folder:
        assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["a.png", "x"]
    assert "checkpoints/4/arrays/d/1" in gcs.names("bucket", FOLDER)  # a reader removes nothing
    with opened(PLACE) as folder:
        checkpoint(folder, 5)
    names = gcs.names("bucket", FOLDER)
    assert "checkpoints/4/arrays/d/1" not in names
    assert {"checkpoints/4/notes.txt", "checkpoints/mine/x", "figures/a.png"} < names


ODD = ["a//b", "dir/", "/x", ".hidden", "a\\b", "C:x", "new\nline", "nul\0", "x" * 300, "checkpoints/1/manifest.json/x"]


def test_odd_names_do_no_harm(gcs, tmp_path):
    with opened(PLACE) as folder:
        checkpoint(folder, 1)
    for name in ODD:
        gcs.put("bucket", f"{FOLDER}/{name}", b"odd")
    with opened(PLACE) as folder:
        assert {path.read_text().strip() for path in folder.rglob("*") if path.is_file()} == {"1"}
        (folder / "link").symlink_to(tmp_path)
        (folder / ".partial").write_text("x")
    assert {f"{FOLDER}/{name}" for name in ODD} < {name for _, name in gcs.objects}
    assert not {"link", ".partial"} & gcs.names("bucket", FOLDER)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "..\\x", "a\\..\\x"])
def test_a_name_that_leads_out_of_the_folder_is_refused(gcs, name):
    gcs.put("bucket", f"{FOLDER}/{name}", b"x")
    for reads in (True, False):
        with pytest.raises(InputError, match="leads out of it"), opened(PLACE, reads=reads):
            pass


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"owner": "x"}', b'{"owner": 1, "host": 2, "expires": "soon"}', b"\xff"]
)
def test_a_lease_of_a_stranger_is_refused_or_ignored(gcs, content):
    gcs.put("bucket", f"{FOLDER}/{lease.NAME}", content)
    if content:
        with pytest.raises(StoreError, match="is no lease"), opened(PLACE):
            pass
        gcs.objects.clear()


REFUSALS = {
    "the bucket does not exist": ("", 404, "The specified bucket does not exist."),
    "access is refused; set GOOGLE_APPLICATION_CREDENTIALS": ("", 403, "no permission"),
    "access is refused; set GOOGLE": ("", 401, "Anonymous caller"),
    "its quota is used up": ("POST", 403, "The quota is exceeded"),
    r"the store does not answer \(no answer in 0.5 s\)": ("", 503, "down"),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_a_store_that_refuses_is_named_in_one_line(gcs, message, monkeypatch):
    monkeypatch.setattr(store, "SECONDS", 0.5)
    gcs.refuses = REFUSALS[message]
    with pytest.raises(StoreError, match=f"^{PLACE}: {message}") as refused, opened(PLACE):
        pass
    assert "\n" not in str(refused.value)
    assert gcs.objects == {}


def test_a_write_that_timed_out_does_not_happen_later(gcs, monkeypatch):
    monkeypatch.setattr(store, "SECONDS", 0.2)
    gcs.refuses = "", 503, "down"
    with pytest.raises(StoreError) as kept:
        Store(PLACE).write("late", b"x")
    time.sleep(0.1)  # a request that is on its way is answered
    gcs.refuses = None
    time.sleep(1.0)  # TensorStore repeats a request within this time
    assert gcs.objects == {} and kept.value.brief


@pytest.mark.parametrize(
    "how",
    [
        "its quota is used up",
        pytest.param(r"the store does not answer \(no answer in 0.5 s\)", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("fails", [False, True])
def test_a_state_that_cannot_be_uploaded_is_kept_and_named(gcs, how, fails, monkeypatch):
    monkeypatch.setattr(store, "SECONDS", 0.5)
    kind = Stopped if "answer" in how else AejaxError
    message = f"^{PLACE}: {how}.*; the state of the run is in (.*): run the same command"
    with pytest.raises(kind, match=message) as kept, opened(PLACE) as folder:
        checkpoint(folder, 1)
        gcs.refuses = REFUSALS[how]
        if fails:
            raise ValueError("training failed")
    assert isinstance(kept.value.__cause__, ValueError) == fails
    [name] = local_folders()
    assert f"{data_dir()}/buckets/{name}: " in str(kept.value)
    assert not [each for each in gcs.names("bucket", FOLDER) if "manifest" in each]
    gcs.refuses = None
    with opened(PLACE) as folder:
        assert (folder / "checkpoints/1/manifest.json").exists()
    assert "checkpoints/1/manifest.json" in gcs.names("bucket", FOLDER)


def test_a_state_outlives_a_bucket_that_was_deleted(gcs):
    with pytest.raises(AejaxError, match="the state of the run is in"), opened(PLACE) as folder:
        checkpoint(folder, 1)
        gcs.refuses = REFUSALS["the bucket does not exist"]
    gcs.refuses = None
    gcs.objects.clear()
    with opened(PLACE) as folder:
        assert (folder / "checkpoints/1/manifest.json").exists()


def test_a_failure_in_the_middle_stops_the_run(gcs, monkeypatch):
    from aejax.signals import stop_requests

    monkeypatch.setattr(mirror, "UPLOAD_EVERY", 0.01)
    with pytest.raises(AejaxError, match="its quota is used up"), opened(PLACE) as folder, stop_requests() as stop:
        gcs.refuses = REFUSALS["its quota is used up"]
        checkpoint(folder, 1)
        assert stop.wait(10)
    gcs.refuses = None
    with opened(PLACE):
        pass


def test_messages_show_the_address(gcs, caplog):
    with pytest.raises(InputError, match=f"^{PLACE}/x is wrong$"), opened(PLACE) as folder:
        logging.getLogger("aejax").warning("%s is damaged", folder / "y")
        raise InputError(f"{folder / 'x'} is wrong")
    assert caplog.messages == [f"{PLACE}/y is damaged"]


@pytest.mark.parametrize(
    "place", ["gs://b/x", "gs://bucket", "gs://bucket/", "gs://BUCKET/x", "s3://bucket/a/../b", "s3:///x"]
)
def test_an_address_without_a_folder_in_a_bucket_is_refused(place):
    with pytest.raises(InputError, match="names no folder in a bucket; give"), opened(place):
        pass


_SCRIPT = """
import pathlib, sys, time
from aejax import signals
signals.install()
made = pathlib.Path(sys.argv[1])
def work():
    (made / "began").touch()
    time.sleep(float(sys.argv[2]))
    (made / "ended").touch()
with signals.before_end(work):
    (made / "ready").touch()
    time.sleep(60)
"""


@pytest.mark.parametrize(("seconds", "twice"), [(0.1, False), (60, True)])
def test_a_signal_waits_for_the_last_upload_and_a_second_signal_does_not(tmp_path, seconds, twice):
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT, tmp_path, str(seconds)], stderr=subprocess.PIPE)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    while not (tmp_path / "began").exists():
        time.sleep(0.01)
    if twice:
        time.sleep(1.1)
        process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143 and b"stopped by SIGTERM" in process.stderr.read()
    assert (tmp_path / "ended").exists() != twice
