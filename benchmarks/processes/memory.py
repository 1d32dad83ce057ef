"""The peak of memory of a process, by layout: one process or several with parts of weights, four models or one.

    python benchmarks/processes/memory.py [--cache DIR] [--cases NAME ...]

On random weights in the shape of SmolLM2-135M. Prints a table for docs/memory.md. Nothing is timed.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.material import write_shape
from harness.smollm2 import CONFIG

REWARD = "def score(prompts, responses):\n    return [float(len(response)) for response in responses]\n"
RECIPE = """
name: memory
base: {path: base}
data: {demonstrations: {path: rows.jsonl}}
stages: [sft]
roles: separate
sft: {method: full, epochs: 1, batch_size: 16, log_every: 1000, optimiser: {learning_rate: 1.0e-5}}
ppo: {updates: 1, episodes: 16, minibatches: 1, epochs: 2, optimiser: {learning_rate: 1.0e-6}}
rollout: {max_new_tokens: 24}
rewards: {sources: [{kind: function, path: "reward.py:score"}]}
evaluation: {prompts: 2, every: 1000}
checkpoints: {every_steps: 2}
compute: {threads: 1, pack_weights: false}
"""
ROWS = 64
SHARDED, BFLOAT16 = "compute.shard=true", "compute.dtype=bfloat16"
SHARED = ["stages=[ppo]", "roles=shared"]
CUT = 3
"""Into as many the three heads of keys and values can be shared out"""


class Case(NamedTuple):
    """A run."""

    changes: list[str]
    """Of the recipe"""
    processes: int = 1
    tensor: int = 1
    """How many of them share each layer"""
    pipeline: int = 1
    """How many of them have the layers one after another"""


CASES = {
    "SFT of all weights": Case([]),
    "SFT of all weights, sharded over two": Case([SHARDED], 2),
    "SFT of all weights, layers in two stages": Case([], 2, pipeline=2),
    "SFT of all weights, layers cut into three": Case([], CUT, CUT),
    "PPO, four models": Case(["stages=[ppo]"]),
    "PPO, four models, bfloat16": Case(["stages=[ppo]", BFLOAT16]),
    "PPO, four models, sharded over two": Case(["stages=[ppo]", SHARDED], 2),
    "PPO, four models, layers in two stages": Case(["stages=[ppo]"], 2, pipeline=2),
    "PPO, four models, layers cut into three": Case(["stages=[ppo]"], CUT, CUT),
    "PPO, adapters on one base": Case(SHARED),
    "PPO, adapters on one base, checkpointing": Case([*SHARED, "compute.gradient_checkpointing=true"]),
    "PPO, adapters on one base, bfloat16": Case([*SHARED, BFLOAT16]),
    "PPO, adapters on one base, 4 bit": Case([*SHARED, "base.quantize=nf4"]),
    "PPO, adapters on one base, sharded over two": Case([*SHARED, SHARDED], 2),
    "PPO, adapters on one base, layers in two stages": Case(SHARED, 2, pipeline=2),
}
LOOK_SECONDS = 0.1


def prepare(cache: Path) -> None:
    """Base, rows, reward and recipe."""
    write_shape(cache / "base", CONFIG)
    chance, last = random.Random(0), CONFIG["vocab_size"] - 1
    with (cache / "rows.jsonl").open("w", encoding="utf-8") as rows:
        for _ in range(ROWS + 8):
            text = [f"w{chance.randint(2, last)}" for _ in range(64)]
            print(json.dumps({"prompt": " ".join(text[:24]), "completion": " " + " ".join(text[24:])}), file=rows)
    (cache / "reward.py").write_text(REWARD, encoding="utf-8")
    (cache / "recipe.yaml").write_text(RECIPE, encoding="utf-8")


def peaks(cache: Path, case: Case) -> list[float]:
    """Gigabytes that each process had resident at its worst moment."""
    out = cache / "run"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "truing", "run", str(cache / "recipe.yaml"), "--out", str(out)]
    for change in case.changes:
        command += ["--set", change]
    command += ["--processes", str(case.processes), "--tp", str(case.tensor), "--pp", str(case.pipeline)]
    with (cache / "log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    found: dict[int, float] = {}
    while running.poll() is None:
        for process in [running.pid] if case.processes == 1 else _children(running.pid):
            found[process] = max(found.get(process, 0.0), _peak(process))
        time.sleep(LOOK_SECONDS)
    assert running.returncode == 0, (cache / "log").read_text(encoding="utf-8")
    return sorted(found.values())


def _children(process: int) -> Iterator[int]:
    yield from map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())


def _peak(process: int) -> float:
    """VmHWM, in GB; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("VmHWM")), 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "truing" / "memory")
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES), metavar="NAME")
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    prepare(given.cache)
    print("| what | peak of each process, GB |\n|---|---|")
    for name in given.cases:
        each = ", ".join(f"{peak:.2f}" for peak in peaks(given.cache, CASES[name]))
        print(f"| {name} | {each} |", flush=True)


if __name__ == "__main__":
    main()
