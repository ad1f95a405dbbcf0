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
