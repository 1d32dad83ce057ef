"""The launch files for several machines, each of which is two agents on this one."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes.several import SOON, kill, sft_and_ppo, wait_for_lines, workers

from truing.processes.launch import free_port
from truing.runs.lineage import Lineage

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"}
CLUSTERS = Path(__file__).resolve().parents[2] / "examples" / "clusters"


def _slurm(place: Path, srun: str, *options: str) -> tuple[list[str], dict[str, str]]:
    """The command line of the script and its environment, in which `srun` is this shell script."""
    stubs = place / "stubs"
    stubs.mkdir()
    (stubs / "scontrol").write_text("#!/bin/bash\nprintf 'localhost\\nother\\n'\n")
    (stubs / "srun").write_text(f"#!/bin/bash\n{srun}\n")
    for stub in stubs.iterdir():
        stub.chmod(0o755)
    given = {"SLURM_JOB_NODELIST": "both", "SLURM_NNODES": "2", "SLURM_JOB_ID": "7", "PORT": str(free_port())}
    path = f"{stubs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return ["bash", str(CLUSTERS / "slurm.sh"), *options], os.environ | given | {"PATH": path, **LOOPBACK}


def _kubernetes() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Service, job and the container of its pods."""
    service, job = yaml.safe_load_all((CLUSTERS / "kubernetes.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return service, job, container


def test_slurm_starts_an_agent_a_machine(tmp_path: Path) -> None:
    command, environment = _slurm(tmp_path, 'printf "%s\\n" "$@"', "my recipe.yaml", "runs/my own", "--tp", "2")
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[:6] == ["--kill-on-bad-exit=1", "torchrun", "--nnodes", "2", "--nproc-per-node", "1"]
    assert said[said.index("--rdzv-endpoint") + 1] == f"localhost:{environment['PORT']}"
    assert said[-8:] == ["-m", "truing", "run", "my recipe.yaml", "--out", "runs/my own", "--tp", "2"]


def test_kubernetes_starts_an_agent_a_pod() -> None:
    service, job, container = _kubernetes()
    pod = job["spec"]["template"]["spec"]
    given = {one["name"]: one["value"] for one in container["env"]}
    assert given["FIRST"] == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert (pod["subdomain"], service["spec"]["selector"]) == (service["metadata"]["name"], {"job-name": "truing"})
    assert f"--nnodes={job['spec']['completions']}" in container["command"]


def test_a_pod_of_kubernetes_asks_for_a_gpu_for_each_of_its_processes() -> None:
    _, _, container = _kubernetes()
    (processes,) = (word for word in container["command"] if word.startswith("--nproc-per-node="))
    assert container["resources"] == {"limits": {"nvidia.com/gpu": int(processes.rpartition("=")[2])}}


@pytest.mark.slow
def test_by_slurm_a_worker_that_is_killed_is_started_again_and_the_run_goes_on(tmp_path: Path) -> None:
    recipe, out = sft_and_ppo(tmp_path, updates=12), tmp_path / "run"
    both = 'shift\n"$@" & one=$!\n"$@" & two=$!\nwait $one && wait $two'
    command, environment = _slurm(tmp_path, both, str(recipe), str(out))
    with (tmp_path / "log").open("wb") as log:
        going = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for_lines(out / "ppo" / "metrics.jsonl", 3, going)
        kill(workers(out)[-1])
        assert going.wait(3 * SOON) == 0, (tmp_path / "log").read_text()
    finally:
        if going.poll() is None:
            os.killpg(going.pid, signal.SIGKILL)
    lineage = Lineage.read(out / "run.json")
    assert lineage.facts["processes"] == 2
    assert [stage.state for stage in lineage.stages] == ["done", "done"]


@pytest.mark.slow
def test_two_pods_make_a_run(tmp_path: Path) -> None:
    recipe, out = sft_and_ppo(tmp_path, updates=2), tmp_path / "run"
    _, job, container = _kubernetes()
    first = f"localhost:{free_port()}"
    command = [re.sub(r"\$\(FIRST\):\d+", first, word) for word in container["command"]]
    command[0] = str(Path(sys.executable).parent / command[0])
    command[command.index("recipe.yaml")], command[command.index("--out=runs/mine")] = str(recipe), f"--out={out}"
    pods = [subprocess.Popen(command, env=os.environ | LOOPBACK) for _ in range(job["spec"]["parallelism"])]
    assert [pod.wait(3 * SOON) for pod in pods] == [0, 0]
    assert Lineage.read(out / "run.json").facts["processes"] == 2
