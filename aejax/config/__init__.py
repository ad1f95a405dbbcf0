"""The typed configuration of a run, its checks, grids of configurations, and the user's Python files.

    config.py        Config: the sections together, and the coefficients and schedules
    sections.py      the sections: Data, Model, Loss, Corruption, Training, Devices, Hosts
    numbers.py       traced and static numbers: declarations, defaults, schedules
    checks.py        checks of values, and errors in one line
    grid.py          the axes of a sweep, and the members of the sweep
    user_files.py    Python files of the user: a configuration, a model's class, an optimizer, a dataset
    files.py         paths as the user gives them, atomic writes, the lock of a workdir, the cache

Nothing here imports JAX, so that `--help` and a refused value answer at once.
"""

from aejax.config.checks import AejaxError, InputError, Stopped
from aejax.config.config import Config
from aejax.config.numbers import Coefficients, Schedule
from aejax.config.sections import Corruption, Data, Devices, Hosts, Loss, Model, Training
from aejax.config.user_files import complete, load_config
