"""Two processes of one core each beside one process of one core: an update of PPO, and a step of SFT.

    python benchmarks/processes/run.py [--cache DIR] [--rounds 3] [--processes 2] [--tp 2 | --pp 2]

On a random Llama of 30M parameters that the script makes; its rewards are the lengths of responses. The sides take
turns. Prints a table for docs/processes.md.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.material import write_llama
from harness.tables import Target, tell

STEPS, UPDATES = 12, 3
WORDS = 8192
SHAPE = {"hidden": 512, "layers": 8, "vocabulary": WORDS}
REWARD = "def score(prompts, responses):\n    return [float(len(response)) for response in responses]\n"
RECIPE = """
name: processes
base: {{path: base}}
data: {{demonstrations: {{path: rows.jsonl}}}}
stages: [sft, ppo]
sft: {{epochs: 1, batch_size: 32, log_every: 1000, optimiser: {{learning_rate: 1.0e-4}}}}
ppo: {{updates: {updates}, episodes: 32, minibatches: 2, epochs: 2, optimiser: {{learning_rate: 1.0e-5}}}}
rollout: {{max_new_tokens: 48}}
rewards: {{sources: [{{kind: function, path: "reward.py:score"}}]}}
evaluation: {{prompts: 2, every: 1000}}
compute: {{threads: 1}}
"""
FIGURES = ("sft step", "rollout", "score", "learn", "ppo update")
WANTED = 1.6
"""Times as fast as one, two processes on two cores"""


def prepare(cache: Path) -> None:
    """Base, rows, reward and recipe, where they are not there yet."""
    if (cache / "recipe.yaml").exists():
        return
    write_llama(cache / "base", **SHAPE)
    chance = random.Random(0)
    with (cache / "rows.jsonl").open("w", encoding="utf-8") as rows:
        for _ in range(32 * STEPS + 64):
            words = [f"w{chance.randint(2, WORDS - 1)}" for _ in range(64 + chance.randint(0, 32))]
            print(json.dumps({"prompt": " ".join(words[:24]), "completion": " " + " ".join(words[24:])}), file=rows)
    (cache / "reward.py").write_text(REWARD, encoding="utf-8")
    (cache / "recipe.yaml").write_text(RECIPE.format(updates=UPDATES), encoding="utf-8")


def measured(cache: Path, processes: int, *layout: str) -> dict[str, float]:
    """Seconds of one run by so many in a layout: of SFT whole by its steps, of updates of PPO without the first."""
    out = cache / f"run-{processes}"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "truing", "run", str(cache / "recipe.yaml"), "--out", str(out)]
    subprocess.run([*command, "--processes", str(processes), *layout], check=True, capture_output=True)
    updates = [json.loads(line) for line in (out / "ppo" / "metrics.jsonl").read_text().splitlines()][2:]
    stages = {stage["name"]: stage["seconds"] for stage in json.loads((out / "run.json").read_text())["stages"]}
    phases = {name: median(row[f"{name}_s"] for row in updates) for name in ("rollout", "score", "learn")}
    return {"sft step": stages["sft"] / STEPS, **phases, "ppo update": sum(phases.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "truing" / "processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    layout = parser.add_mutually_exclusive_group()
    layout.add_argument("--tp", type=int, default=1, help="how many of the processes share each layer (%(default)s)")
    layout.add_argument("--pp", type=int, default=1, help="in how many stages the layers are (%(default)s)")
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    prepare(given.cache)
    sides: dict[int, list[dict[str, float]]] = {1: [], given.processes: []}
    for _ in range(given.rounds):
        for processes, runs in sides.items():
            options = ("--tp", str(given.tp), "--pp", str(given.pp)) if processes > 1 else ()
            runs.append(measured(given.cache, processes, *options))
    print(f"| seconds | one process | {given.processes} processes | times as fast |\n|---|---|---|---|")
    faster = {}
    for figure in FIGURES:
        one, several = (median(run[figure] for run in runs) for runs in sides.values())
        print(f"| {figure} | {one:.2f} | {several:.2f} | {one / several:.2f} |")
        faster[figure] = one / several
    if given.tp == given.pp == 1:
        tell(
            Target(f"{given.processes} processes, {figure}", WANTED, faster[figure])
            for figure in ("sft step", "ppo update")
        )


if __name__ == "__main__":
    main()
