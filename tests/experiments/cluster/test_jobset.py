"""The manifests for Kubernetes: their schema, and their command in the environment that Kubernetes sets."""

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from aejax import load

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "experiments" / "cluster"


def job(name):
    yaml = pytest.importorskip("yaml", reason="needs the packages of the group cluster")
    manifest = yaml.safe_load((FOLDER / name).read_text())
    [replicated] = manifest["spec"]["replicatedJobs"]
    return manifest, replicated


def container(replicated):
    [found] = replicated["template"]["spec"]["template"]["spec"]["containers"]
    return found


@pytest.mark.parametrize("name", ["jobset.yaml", "jobset_tpu.yaml"])
def test_the_jobs_have_the_published_schema_and_restart_what_can_resume(name):
    """The schema of a JobSet is in no package; we validated both files once with the schema of August 2026."""
    schemas = pytest.importorskip("kubernetes_validate", reason="needs the packages of the group cluster")
    manifest, replicated = job(name)
    described = {"apiVersion": "batch/v1", "kind": "Job", "metadata": manifest["metadata"], **replicated["template"]}
    schemas.validate(described, schemas.latest_version(), strict=True)
    spec = replicated["template"]["spec"]
    assert spec["parallelism"] == spec["completions"] and spec["completionMode"] == "Indexed"
    [rule] = spec["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"] == {"containerName": "train", "operator": "In", "values": [1, 2]}
    assert manifest["spec"]["failurePolicy"]["maxRestarts"] == 20


def test_the_coordinator_is_the_first_pod():
    manifest, replicated = job("jobset.yaml")
    given = {each["name"]: each["value"] for each in container(replicated)["env"]}
    pod = f"{manifest['metadata']['name']}-{replicated['name']}-0-0.{manifest['spec']['network']['subdomain']}"
    assert given["COORDINATOR"].partition(":")[0] == pod
    assert int(given["COUNT"]) == replicated["template"]["spec"]["completions"]


@pytest.mark.long
def test_its_command_trains_in_two_processes(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    [text] = container(job("jobset.yaml")[1])["args"]
    text = text.replace("uv run --no-sync", shlex.quote(sys.executable)).replace("mnist/deep.py", "digits.py")
    text += " --training.epochs 1 --training.passes 1"
    workdir = tmp_path / "run"
    given = {"WORKDIR": str(workdir), "COUNT": "2", "COORDINATOR": coordinator}
    processes = [
        subprocess.Popen(["bash", "-c", text], cwd=ROOT, env=os.environ | given | {"JOB_COMPLETION_INDEX": str(index)})
        for index in range(2)
    ]
    assert [process.wait(240) for process in processes] == [0, 0]
    assert load(workdir).summary["epochs"] == 1
