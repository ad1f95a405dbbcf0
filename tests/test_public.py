"""What `import aejax` offers, and what a room's front door says."""

import importlib
import types
from pathlib import Path

import aejax


def test_every_name_stays_what_it_is():
    """A module of the same name would take the place of a function as soon as it is imported."""
    for name in aejax.__all__:
        getattr(aejax, name)
    assert not [name for name in aejax.__all__ if isinstance(getattr(aejax, name), types.ModuleType)]


def test_each_room_s_door_names_its_files():
    for room in Path(aejax.__file__).parent.glob("*/__init__.py"):
        door = importlib.import_module(f"aejax.{room.parent.name}")
        for file in room.parent.glob("[!_]*.py"):
            assert file.name in door.__doc__, file


def test_nothing_asks_what_the_host_is():
    """A program may be compiled for a device that is not there: who needs its kind asks the driver, or at lowering."""
    for file in Path(aejax.__file__).parent.glob("*/*.py"):
        assert "default_backend" not in file.read_text(encoding="utf-8"), file
