"""Fixtures: prepared data in a folder of its own, real MNIST where its files are at hand."""

import contextlib
import functools
import gc
import importlib.util
import mmap
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from aejax import Coefficients, Config, Dataset, Model, Training, load_dataset
from aejax.config.files import keep_compiled_programs
from buckets import Emulator
from forks import Forks

ROOT = Path(__file__).parents[1]

# What one test compiles all others reuse, in the other workers, in processes of their own, and in the next run of the
# tests. Here, before any test module imports JAX, which reads the variables once; the workers inherit them.
COMPILED = ROOT / ".pytest_cache" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(COMPILED))
keep_compiled_programs()
MOST_BYTES = 2**30
"""of programs from earlier runs; JAX removes none by itself"""
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores; threads of scikit-learn wait in a loop
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    # Each worker and each process of a test would compile the sources of all libraries again, 8 s each.
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(COMPILED.with_name("bytecode")))

FAST = {"xla_cpu_use_fusion_emitters": "false", "xla_cpu_parallel_codegen_split_count": "1"}
"""options of XLA; without fusion emitters the programs of a small run are compiled in half the time"""

HEAVIEST = [
    "training/test_devices.py",
    "experiments/test_gallery.py",
    "experiments/test_command_lines.py",
    "faults/test_hosts.py",
    "faults/test_buckets.py",
    "faults/test_kill.py",
    "sweeps/test_sweep.py",
    "sklearn/test_transformer.py",
    "training/test_loop.py",
    "config/test_command_line.py",
    "training/test_own_models.py",
    "training/test_programs.py",
    "evaluation/test_figures.py",
    "models/test_varieties.py",
]
"""The files that take longest, the longest first: begun last, one would keep a core busy and leave the others idle."""


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also the tests marked long, as CI does")
    parser.addoption("--longest", action="store_true", help="these, with 200 kills instead of 30 and all nine claims")


def pytest_xdist_auto_num_workers(config):
    """Start a worker for each logical core: a worker more would pay for imports and first compilations again."""
    return os.cpu_count() or 1


def pytest_configure(config):
    # Before JAX is imported, which reads the variable once; subprocesses inherit it.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(_is_default(config))))
    given = os.environ.get("XLA_FLAGS", "")
    if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1":
        os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # a tenth of the time of tracing and lowering
        added = [f"--{name}={value}" for name, value in FAST.items() if name not in given and _known(name)]
        os.environ["XLA_FLAGS"] = " ".join([given, *added])
    ours = not hasattr(config, "workerinput") and COMPILED.is_dir()
    if ours and sum(path.stat().st_size for path in COMPILED.iterdir()) > MOST_BYTES:
        shutil.rmtree(COMPILED)


def pytest_sessionstart(session):
    """Without bytecode of the libraries, let each of two workers compile one half of it, and read the other half."""
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw1":
        for name in ("sklearn.datasets", "pandas", "matplotlib.figure", "skimage.metrics", "tensorflow_datasets"):
            importlib.import_module(name)


def pytest_collection_modifyitems(config, items):
    if _is_default(config):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="only with --long"))
    order = {name: place for place, name in enumerate(HEAVIEST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(ROOT / "tests").as_posix(), len(order)))


def _known(option):
    """Whether this version of XLA has an option: it aborts the process at an unknown one.

    An old option stays in XLA's list of reserved names; only the name of an option in use is a string of C.
    """
    libraries = Path(importlib.util.find_spec("jaxlib").origin).parent.glob("*.so")
    with open(max(libraries, key=lambda path: path.stat().st_size), "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).find(b"\0%b\0" % option.encode()) >= 0


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Let `fit` and `sweep` draw only in tests marked `figures`: drawing takes a fifth of the time of a small run."""
    from aejax.evaluation import figures  # only now: JAX is imported by it

    own = vars(figures).setdefault("_draw_run", figures.draw_run)
    draws = not _is_default(item.config) or item.get_closest_marker("figures")
    figures.draw_run = own if draws else lambda *_, **__: None


def _is_default(config):
    """In the default run XLA compiles fast rather than well, which takes half the time; with --long as for users."""
    return not config.getoption("--long") and not config.getoption("--longest")


@pytest.fixture(scope="session", autouse=True)
def quick_tracing():
    """Spare a fifth of the time of the tests, which mostly trace functions: garbage collection, and an unused message.

    Flax asks each traced counter of random numbers for its sharding. JAX answers with an exception, whose message
    prints the operations before.
    """
    from jax._src.interpreters import partial_eval

    partial_eval.DynamicJaxprTracer._origin_msg = lambda self: ""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@pytest.fixture(scope="session")
def longest(request):
    return request.config.getoption("--longest")


@pytest.fixture(scope="session", autouse=True)
def data_dir(tmp_path_factory):
    """Nothing of the user's own prepared data is read or written."""
    folder = tmp_path_factory.mktemp("data")
    os.environ["AEJAX_DATA_DIR"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def _emulator():
    emulator = Emulator()
    os.environ |= {"TENSORSTORE_GCS_HTTP_URL": emulator.url, "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none"}
    yield emulator
    emulator.close()


@pytest.fixture
def gcs(_emulator):
    """The emulator behind gs://, without objects."""
    _emulator.objects.clear()
    _emulator.log.clear()
    yield _emulator
    _emulator.faults, _emulator.refuses = 0.0, None


@pytest.fixture(autouse=True)
def same_random_numbers(request):
    """From the `RANDOM` of a test's module, whichever tests the process ran before."""
    if hasattr(request.module, "RANDOM"):
        request.module.RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="session")
def digits(data_dir):
    return load_dataset("digits")


@pytest.fixture(scope="session")
def mnist_files():
    """The folder with the original files of MNIST."""
    folders = [Path(os.environ.get("AEJAX_SOURCE_DIR", "/nowhere")), ROOT.parent / "shared" / "data"]
    for folder in folders:
        for candidate in (folder / "mnist", folder):
            if (candidate / "train-images-idx3-ubyte.gz").is_file():
                return candidate
    pytest.skip("the original files of MNIST are not here: AEJAX_SOURCE_DIR names their folder")


@pytest.fixture(scope="session")
def small():
    """80 training and 23 test images of 6x5 with two grey levels, and a configuration for them."""
    random = np.random.default_rng(0)
    images = (random.random((103, 6, 5, 1)) < 0.3).astype(np.uint8) * np.uint8(255)
    config = Config(
        model=Model(hidden=(12,), code_size=4),
        coefficients=Coefficients(learning_rate=1e-2),
        training=Training(epochs=3, batch_size=16, evaluate_test=True),
    )
    return config, Dataset("small", images[:80], images[80:])


@pytest.fixture
def no_programs(monkeypatch):
    """Memoise no program of earlier tests, and none of this test for later tests."""
    from aejax.training import programs

    monkeypatch.setattr(programs, "kept", functools.lru_cache(programs.KEPT)(programs.kept.__wrapped__))


@pytest.fixture
def stop_after(monkeypatch):
    """A context in which every run stops after so many steps, or at the end of its epoch, and is saved."""
    from aejax.training import loop

    @contextlib.contextmanager
    def stopping(count):
        class Pace(loop.Pace):
            steps = count

            def __init__(self, *_): ...

            def measured(self, *_): ...

        @contextlib.contextmanager
        def after_the_first_chunk():
            yield types.SimpleNamespace(is_set=iter([False, True]).__next__)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "Pace", Pace)
            patch.setattr(loop, "stop_requests", after_the_first_chunk)
            yield

    return stopping


@pytest.fixture(scope="session")
def forks(tmp_path_factory, data_dir):
    """Run scripts in forks of one process."""
    started = Forks(tmp_path_factory.mktemp("printed"))
    yield started
    started.close()


@pytest.fixture
def script(tmp_path, forks):
    """Run an experiment script as a user does, and return the finished process.

    The script runs in a fork of a process that has imported its modules. With `own`, or if a variable of
    its environment is read at the start of Python or JAX, it runs in a new process.
    """

    def run(name, *arguments, cwd=tmp_path, timeout=120, own=False, **environment):
        environment = {**os.environ, **environment}
        if not own and (done := forks(name, arguments, cwd, environment, timeout)) is not None:
            return done
        return subprocess.run(
            [sys.executable, str(ROOT / "experiments" / name), *map(str, arguments)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
