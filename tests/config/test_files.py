import json
import os
import stat
import subprocess
import sys

import pytest

from aejax.config import InputError, files


def test_what_cannot_be_written_whole_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "report.md"
    files.write(path, "mean ± std\n")
    with pytest.raises(UnicodeEncodeError):
        files.write(path, "half of it \ud800")
    assert path.read_bytes() == "mean ± std\n".encode()


def test_json_is_indented_and_ends_its_last_line(tmp_path):
    path, content = tmp_path / "results.json", {"mean": 0.1, "runs": [1, None]}
    files.write_json(path, content)
    assert json.loads(path.read_text()) == content and path.read_text().startswith('{\n  "mean": 0.1,\n')
    assert path.read_text().endswith("}\n") and list(tmp_path.iterdir()) == [path]


def link(path, elsewhere):
    path.symlink_to(elsewhere)


def pipe(path, _):
    os.mkfifo(path)


def folder(path, _):
    path.mkdir()


@pytest.mark.parametrize("make", [link, pipe, folder])
@pytest.mark.parametrize("name", ["evaluation.json", ".evaluation.json.partial"])
def test_nothing_is_written_through_a_link_and_nothing_but_a_file_is_replaced(tmp_path, make, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    make(tmp_path / name, elsewhere)
    before = (tmp_path / name).lstat()
    for write in (files.write, files.append) if name[0] != "." else (files.write,):
        with pytest.raises(InputError, match=r"evaluation\.json.* is (a link|a folder|a device or a pipe)"):
            write(tmp_path / "evaluation.json", "ours")
    assert elsewhere.read_text() == "theirs" and (tmp_path / name).lstat().st_ino == before.st_ino
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", name}


def test_a_device_stays_a_device(tmp_path):
    path = tmp_path / "null"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root may make a device")
    with pytest.raises(InputError, match="null is a device or a pipe"):
        files.write_json(path, {})
    assert stat.S_ISCHR(path.lstat().st_mode)


def test_what_a_kill_left_is_written_over(tmp_path):
    (tmp_path / ".report.md.partial").write_text("half of")
    files.write(tmp_path / "report.md", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


def test_a_lock_is_for_one_process_at_a_time_and_ends_with_it(tmp_path):
    take = "import pathlib; from aejax.config import files\nwith files.locked(pathlib.Path('.'), 'sweep'): print(1)"

    def other():
        return subprocess.run([sys.executable, "-c", take], cwd=tmp_path, capture_output=True, text=True)

    with files.locked(tmp_path, "run"):
        assert "another sweep is under way" in other().stderr
    assert other().stdout == "1\n"
    (tmp_path / ".lock").unlink()
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / ".lock").symlink_to(tmp_path / "theirs")
    with pytest.raises(InputError, match="is a link"), files.locked(tmp_path, "run"):
        pass
    assert (tmp_path / "theirs").read_text() == "theirs"
