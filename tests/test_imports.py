"""The import graph of aejax and experiments: no cycles, and one direction between the packages."""

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = (
    {"signals"},
    {"config"},
    {"storage"},
    {"data", "models"},
    {"training"},
    {"evaluation"},
    {"sweeps", "sklearn"},
    {"aejax", "__main__"},
    {"experiments"},
)
"""packages may import from packages of earlier rows, and from themselves"""


def modules():
    """Name → file of each module. The folder experiments/ is on the path of its scripts."""
    files = {}
    for top in (ROOT, ROOT / "experiments"):
        for file in (ROOT / ("aejax" if top == ROOT else "experiments")).rglob("*.py"):
            parts = file.relative_to(top).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            is_script = file.with_suffix("").is_dir()  # the package of that name is imported instead
            files[file.name if is_script else name] = file
    return files


FILES = modules()


def imported(text):
    """The modules that the import statements of a text name, also within functions and `if TYPE_CHECKING`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield from (found for found in (name if name in FILES else node.module,) if found in FILES)


@functools.cache
def graph():
    return {name: set(imported(file.read_text(encoding="utf-8"))) for name, file in FILES.items()}


def cycle(edges):
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


def package(module):
    top, *rest = module.split(".")
    return "experiments" if top != "aejax" else rest[0] if rest else top


def against_the_order(edges):
    rows = {name: index for index, names in enumerate(ORDER) for name in names}
    for module, others in edges.items():
        for other in others:
            here, there = package(module), package(other)
            if here != there and rows[there] >= rows[here]:
                yield f"{module} imports {other}"


def test_no_module_imports_itself_through_others():
    assert cycle(graph()) is None


def test_the_packages_import_in_one_direction():
    assert sorted(against_the_order(graph())) == []


@pytest.mark.parametrize(
    ("module", "line", "refused"),
    [
        ("aejax.evaluation.export", "if TYPE_CHECKING:\n    from aejax.evaluation.run import Run", "cycle"),
        ("aejax.evaluation.export", "def late():\n    import aejax.evaluation.run", "cycle"),
        ("aejax.models.networks", "from aejax import data", "order"),
        ("aejax.signals", "from aejax.config import Config", "order"),
        ("aejax.evaluation.run", "from aejax import Config", "order"),
        ("aejax.sweeps.members", "import train", "order"),
    ],
)
def test_a_statement_against_the_rules_is_found(module, line, refused):
    edges = graph() | {module: graph()[module] | set(imported(line))}
    assert cycle(edges) if refused == "cycle" else any(module in found for found in against_the_order(edges))


def test_the_scripts_start_without_jax():
    """So that `--help` and a wrong option are answered at once."""
    program = (
        "import runpy, sys; sys.path.insert(0, 'experiments'); import aejax.__main__\n"
        "for name in aejax.__main__.commands(): runpy.run_path(f'experiments/{name}.py')\n"
        "print([name for name in ('jax', 'sklearn', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
