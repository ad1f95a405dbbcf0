import os
import subprocess
import sys
from pathlib import Path

import pytest

from aejax import InputError
from aejax.config import Devices


@pytest.mark.parametrize(
    "chosen",
    [("-m", "not long"), pytest.param(("-m", "long", "--long"), marks=pytest.mark.long)],
    ids=["short", "long"],
)
def test_on_eight_devices(chosen):
    finished = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            *chosen,
            *(str(Path(__file__).with_name(name)) for name in ("on_eight_devices.py", "shards_on_eight_devices.py")),
        ],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout[-5000:]


def test_an_unknown_driver_and_no_device_are_refused():
    with pytest.raises(InputError, match="one of jit, pmap, shard_map"):
        Devices(parallel="threads")
    with pytest.raises(InputError, match=r"devices\.count"):
        Devices(count=0)
