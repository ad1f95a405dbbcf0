"""The recipe for SLURM on a real SLURM of two nodes on this machine: stopped, killed, requeued, completed."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from aejax import load
from runs import same, without_clock

ROOT = Path(__file__).parents[3]
RECIPE = ROOT / "experiments" / "cluster" / "train.sbatch"
PROGRAMS = "munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol"
MISSING = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(MISSING) or os.geteuid() != 0, reason=f"needs SLURM ({', '.join(MISSING)}) and root"),
]
HOSTS = Path("/etc/hosts")
# Credentials that expire late and schedulers that wait make a requeue take two minutes; with these settings, 8 s.
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/linear
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=1
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SwitchType=switch/none
KillWait=30
MinJobAge=3600
NodeName=aejax-node[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{second}] CPUs=8 RealMemory=1000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Start a SLURM of two nodes, without systemd; return the environment of its commands."""
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "state").mkdir()
    port = free_ports(3)
    host = socket.gethostname().partition(".")[0]
    text = CONFIGURATION.format(folder=folder, host=host, port=port, first=port + 1, second=port + 2)
    (folder / "slurm.conf").write_text(text)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    names = before = HOSTS.read_text()
    for node in ("aejax-node1", "aejax-node2"):
        (folder / f"spool-{node}").mkdir()
        names += f"127.0.0.1 {node}\n"
    HOSTS.write_text(names)  # JAX takes the name of the first node as the address of the coordinator
    try:
        key, place = f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket"
        others = [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
        started = [["munged", "--force", key, place, *others], ["slurmctld"]]
        for command in [*started, ["slurmd", "-N", "aejax-node1"], ["slurmd", "-N", "aejax-node2"]]:
            subprocess.run(command, env=environment, check=True)
        until(lambda: asked(environment, "sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * 2, 30)
        yield environment
    finally:
        HOSTS.write_text(before)
        subprocess.run(["scancel", "--user=root"], env=environment)
        for path in folder.glob("*.pid"):
            os.kill(int(path.read_text()), signal.SIGTERM)


def free_ports(count):
    """Find the first of some consecutive free ports."""
    for port in range(17000, 30000, count):
        with socket.socket() as one:
            if all(one.connect_ex(("127.0.0.1", port + more)) for more in range(count)):
                return port
    raise RuntimeError("no free ports")


def asked(environment, *command):
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def until(holds, seconds, log=None):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, log.read_text() if log is not None and log.exists() else "nothing was printed"
        time.sleep(0.1)


def submitted(environment, workdir, log):
    """Submit a run that prints to `log`; return the number of its job."""
    options = ["--nodes=2", "--ntasks-per-node=1", "--parsable", f"--output={log}", f"--chdir={ROOT}"]
    changes = ["--training.epochs", "12", "--training.passes", "4"]
    command = ["sbatch", *options, RECIPE, "configs/digits.py", "--workdir", workdir, *changes]
    return asked(environment, *command).strip()


def state(environment, job):
    """The state of a job, its exit code and how often it was restarted."""
    shown = asked(environment, "scontrol", "show", "job", job)
    return [re.search(rf"\b{name}=(\S+)", shown)[1] for name in ("JobState", "ExitCode", "Restarts")]


def process_of(job, index):
    """The id of the Python process of one task of a job."""
    wanted = {f"SLURM_JOB_ID={job}".encode(), f"SLURM_PROCID={index}".encode()}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            ours = wanted <= set((path / "environ").read_bytes().split(b"\0"))
            if ours and b"python" in (path / "cmdline").read_bytes().split(b"\0")[0]:
                return int(path.name)
        except OSError:
            continue
    return None


def test_a_job_is_stopped_and_killed_requeued_and_completed_with_the_metrics_of_an_uninterrupted_one(slurm, tmp_path):
    """Both jobs have two processes."""

    def epochs(workdir):
        lines = workdir / "metrics.jsonl"
        return lines.read_text().count("\n") if lines.exists() else 0

    def running():
        return state(slurm, job)[0] == "RUNNING" and process_of(job, 1) is not None

    workdir, whole, log = tmp_path / "stopped", tmp_path / "whole", tmp_path / "log"
    job = submitted(slurm, workdir, log)
    until(lambda: epochs(workdir) >= 2, 240, log)
    subprocess.run(["scancel", "--signal=TERM", job], env=slurm, check=True)  # as SLURM does before the time limit
    until(lambda: state(slurm, job)[2] == "1" and running(), 120, log)
    seen = epochs(workdir)
    assert 2 <= seen < 12, log.read_text()
    until(lambda: epochs(workdir) > seen, 240, log)
    os.kill(process_of(job, 1), signal.SIGKILL)
    until(lambda: state(slurm, job)[0] == "COMPLETED", 240, log)
    assert state(slurm, job) == ["COMPLETED", "0:0", "2"], log.read_text()
    job = submitted(slurm, whole, log)
    until(lambda: state(slurm, job)[0] == "COMPLETED", 240, log)
    assert state(slurm, job) == ["COMPLETED", "0:0", "0"]
    assert same(load(workdir), load(whole))
    assert without_clock(load(workdir).history) == without_clock(load(whole).history)


def test_a_refused_run_fails_and_is_not_requeued(slurm, tmp_path):
    (tmp_path / "file").touch()
    log = tmp_path / "log"
    job = submitted(slurm, tmp_path / "file" / "run", log)
    until(lambda: state(slurm, job)[0] == "FAILED", 60, log)
    assert state(slurm, job)[1:] == ["1:0", "0"], log.read_text()
