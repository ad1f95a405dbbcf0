"""Runs in processes that can be killed; forked from one that has imported JAX, so that each starts at once."""

import functools
import multiprocessing
import os
import signal
import socket
import time
from contextlib import contextmanager

import jax

import command_line
from aejax import Config, fit
from aejax.storage import lease, mirror
from aejax.training import loop
from aejax.training.chunks import Pace
from launch import ending_with_parent

CONTEXT = multiprocessing.get_context("forkserver")
_DIALECTS = ("mhlo", "stablehlo", "chlo", "sdy", "func", "hlo")  # JAX imports them at its first compilation
CONTEXT.set_forkserver_preload(
    [
        "aejax.evaluation",
        "command_line",
        "tensorboardX",
        *(f"jaxlib.mlir.dialects.{name}" for name in _DIALECTS),
    ]
)


class Short(Pace):
    """Chunks of 13 steps, whatever they take."""

    def __init__(self, steps_in_epoch, *_):
        self.steps = min(13, steps_in_epoch)

    def measured(self, *_):
        pass


@contextmanager
def stop_at_once():
    """As if a signal had come before the first chunk was done."""

    class Requested:
        calls = 0

        def is_set(self):
            self.calls += 1
            return self.calls > 1

    yield Requested()


def train(
    config,
    workdir,
    dataset,
    log,
    stopped=False,
    short=True,
    late=None,
    begins=None,
    disks=None,
    uploads=0.05,
    devices=1,
):
    """Train in this process as a script does; everything printed goes to `log`.

    The process of the index `late` exits 2 s later than the others, as on a busy machine. Those of the indices in
    `begins` begin as many seconds later. In a bucket, `disks` has the folder with a folder for the disk of each
    process, and the environment that names the store; a lease lasts 2 s. Each process has so many `devices`.

    It ends with the server that it was forked from, which ends with pytest, however that ends.
    """
    if (ending := ending_with_parent(signal.SIGKILL)) is not None:
        ending()
    output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    time.sleep((begins or {}).get(config["hosts"]["index"], 0))
    if disks is not None:
        os.environ.update(disks["environment"], AEJAX_DATA_DIR=f"{disks['folder']}/{config['hosts']['index'] or 0}")
        mirror.UPLOAD_EVERY, mirror.SECONDS, lease.SECONDS = uploads, 2.0, 2.0
    jax.config.update("jax_num_cpu_devices", devices)
    if short:
        loop.Pace, loop.SAVE_EVERY = Short, 0.0
    if stopped:
        loop.stop_requests = stop_at_once
    if late is not None and late == config["hosts"]["index"]:
        command_line.flush = functools.partial(time.sleep, 2.0)
    # Drawing takes as long as the training; the tests on bit identity draw.
    figures = () if os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1" else ("png",)
    command_line.run(lambda _: fit(Config.from_dict(config), workdir, dataset=dataset, figures=figures))
    if jax.distributed.is_initialized():
        # So a script waits at its end for the others, of which the first may still draw; a forked process does not.
        jax.distributed.shutdown()


def free_address():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def start(config, workdir, dataset, log, count=1, coordinator=None, **how):
    """Start the processes of a run; `config` and `workdir` may be lists with an entry for each process."""
    coordinator = coordinator or free_address()
    processes = []
    for index in range(count):
        hosts = {"hosts.coordinator": coordinator, "hosts.count": count, "hosts.index": index} if count > 1 else {}
        sections = (config[index] if isinstance(config, list) else config).to_dict()
        for path, value in hosts.items():
            sections["hosts"][path.partition(".")[2]] = value
        process = CONTEXT.Process(
            target=train,
            args=(sections, workdir[index] if isinstance(workdir, list) else workdir, dataset, f"{log}.{index}"),
            kwargs=how,
            daemon=True,
        )
        process.start()
        processes.append(process)
    return processes


def finish(processes, seconds=240):  # a loaded machine needs more than 120
    """Exit codes, once all have ended; those that do not are killed.

    Raises:
        TimeoutError: some did not end in time.
    """
    begin = time.monotonic()
    try:
        for process in processes:
            process.join(max(0.0, begin + seconds - time.monotonic()))
        late = [index for index, process in enumerate(processes) if process.exitcode is None]
        if late:
            raise TimeoutError(
                f"{len(late)} of {len(processes)} processes ({late}) were still under way after "
                f"{time.monotonic() - begin:.0f} s"
            )
        return [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
