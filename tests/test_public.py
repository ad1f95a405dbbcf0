"""The public names of `import aejax`, and the docstring of each package."""

import importlib
import re
import rlcompleter
import subprocess
import sys
import types
from pathlib import Path

import aejax

ROOT = Path(__file__).parents[1]


def test_every_name_stays_what_it_is():
    """The import of a module with the name of a function would replace the function."""
    for name in aejax.__all__:
        getattr(aejax, name)
    assert not [name for name in aejax.__all__ if isinstance(getattr(aejax, name), types.ModuleType)]


def test_a_shell_completes_the_public_names_and_nothing_else():
    """Also after an import of the subpackages, which makes them attributes."""
    importlib.import_module("aejax.sweeps.comparison")
    assert dir(aejax) == sorted([*aejax.__all__, "__version__"])
    completer = rlcompleter.Completer({"aejax": aejax})
    completer.complete("aejax.", 0)
    assert {name.removeprefix("aejax.").rstrip("()") for name in completer.matches} == set(aejax.__all__)


def test_the_version_is_that_of_the_project():
    wanted = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert aejax.__version__ == wanted
    # As in a checkout that is not installed.
    program = (
        "from importlib import metadata\n"
        "def missing(name): raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = missing\nimport aejax\nprint(aejax.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == f"{wanted}\n", done.stderr


def test_the_import_alone_loads_nothing_large():
    program = "import sys, aejax; aejax.Model; print(sorted({'jax', 'numpy', 'tyro', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


def test_the_docstring_of_each_package_names_its_files():
    for room in Path(aejax.__file__).parent.glob("*/__init__.py"):
        door = importlib.import_module(f"aejax.{room.parent.name}")
        for file in room.parent.glob("[!_]*.py"):
            assert file.name in door.__doc__, file


def test_nothing_asks_what_the_host_is():
    """A program may be compiled for a device that is absent: the driver knows its kind, and so does the lowering."""
    for file in Path(aejax.__file__).parent.glob("*/*.py"):
        assert "default_backend" not in file.read_text(encoding="utf-8"), file
