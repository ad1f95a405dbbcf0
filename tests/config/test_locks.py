"""The lock of a workdir, with and without fcntl."""

import subprocess
import sys
import types

import pytest

from aejax.config import InputError, files


@pytest.mark.long
def test_without_fcntl_the_package_is_imported_and_locks_by_msvcrt():
    """As on Windows: a process hides fcntl, and a fake msvcrt replaces it."""
    program = """
import sys, types
sys.modules["fcntl"] = None
import aejax, aejax.evaluation, aejax.sweeps
from aejax.config import files
held = set()
def locking(number, mode, count):
    if held: raise OSError(13, "Permission denied")
    held.add(number)
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
import pathlib, tempfile
folder = pathlib.Path(tempfile.mkdtemp())
with files.locked(folder, "run"):
    assert held
    try:
        with files.locked(folder, "run"): pass
    except aejax.InputError as error:
        print(error)
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert "another run is under way" in finished.stdout, finished.stderr


def test_a_failure_of_msvcrt_is_a_lock_that_another_has(monkeypatch, tmp_path):
    def locking(*_):
        raise OSError(36, "Resource deadlock avoided")

    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    with pytest.raises(InputError, match="another run is under way"), files.locked(tmp_path, "run"):
        pass
