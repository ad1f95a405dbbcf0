"""What is to be trained: the typed configuration, its checks, grids of it, and files of the user's own.

    config.py        Config; its larger sections are in model.py, training.py and devices.py
    checks.py        what a value may be, and the one line that refuses it
    grid.py          the axes of a sweep, and the members that they make
    user_files.py    Python files of the user's: a configuration, a model's class, an optimizer
    files.py         paths as the user gives them, atomic writes, the lock of a workdir, the cache
    command_line.py  arguments, streams and exit codes of the scripts

Nothing here imports JAX, so that `--help` and a refused value answer at once.
"""

from aejax.config.checks import AejaxError, InputError, Stopped
from aejax.config.config import Config, Corruption, Data, Loss
from aejax.config.devices import Devices, Hosts
from aejax.config.model import Model
from aejax.config.training import Coefficients, Training
from aejax.config.user_files import load_config
