"""PPO, GRPO, RLOO and REINFORCE++ on sums whose answer can be checked, from one SFT model a seed, side by side.

    python benchmarks/arithmetic/run.py [--cache DIRECTORY] [--seeds 17 18 19] [--page-only]

The rows, the base and the recipe are those of examples/arithmetic; a seed draws all that a run draws. Runs are kept in
the cache and gone on with. Writes docs/results/arithmetic.md.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from harness.environments import default_cache  # noqa: E402
from harness.machine import processor  # noqa: E402
from harness.tables import table, write  # noqa: E402

EXAMPLE = ROOT / "examples" / "arithmetic"
PAGE = ROOT / "docs" / "results" / "arithmetic.md"
STAGES = {"ppo": "PPO", "grpo": "GRPO", "rloo": "RLOO", "reinforce": "REINFORCE++"}
INTRODUCTION = """# Sums that can be checked

A Llama of 0.1M parameters has learnt from 5,400 demonstrations of a class in which few add right, sums such as
`347+2=`, and is right about as often as they are. Then it learns from a reward that is 1 where its answer is the
`answer` of the prompt's row and 0 elsewhere (`examples/arithmetic`). 200 prompts are held out; what stands here is the
share of them that is answered right, one answer drawn at temperature 1 each, with its 95% interval."""
SETTINGS = """All four have 150 updates of 192 responses (GRPO and RLOO: 8 to each of 24 prompts), 4 passes, one
learning rate (2e-3) and β = 0.02, chosen for GRPO: at rates and numbers of their own the others may do better. PPO,
GRPO and RLOO cannot be told apart here; REINFORCE++, whose baseline knows nothing of the prompt, comes less far. PPO
has a fourth model to train. SFT and GRPO, the whole run of the example, took 37 s of one core (2026-12-01)."""


def run_seed(cache: Path, seed: int) -> None:
    """All stages of one seed, or what is left of them."""
    command = [sys.executable, "-m", "truing", "run", cache / "rows" / "grpo.yaml", "--out", cache / f"seed-{seed}"]
    changes = [f"seed={seed}", f"stages=[sft, {', '.join(STAGES)}]", "name=arithmetic"]
    subprocess.run([*command, *(text for one in changes for text in ("--set", one))], check=True)


def result(cache: Path, seed: int, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cache / f"seed-{seed}" / stage / "result.json").read_text(encoding="utf-8"))
    return found


def rows(cache: Path, seeds: list[int]) -> list[list[object]]:
    """One a stage: right before, right after by seed with its interval, their mean and KL."""
    made: list[list[object]] = []
    for stage, name in STAGES.items():
        found = [result(cache, seed, stage) for seed in seeds]
        after = [f"{one['heldout_score_last']:.2f} {interval(one['heldout_score_last_ci95'])}" for one in found]
        before = "/".join(f"{one['heldout_score_first']:.2f}" for one in found)
        mean = fmean(one["heldout_score_last"] for one in found)
        kl = fmean(one["heldout_kl_last"] for one in found)
        made.append([name, before, *after, f"**{mean:.2f}**", f"{kl:.1f}"])
    return made


def interval(ci95: list[float]) -> str:
    return f"[{ci95[0]:.2f}, {ci95[1]:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=default_cache() / "arithmetic", help="runs (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[17, 18, 19])
    parser.add_argument("--page", type=Path, default=PAGE, help="where the results go (%(default)s)")
    parser.add_argument("--page-only", action="store_true", help="make no run")
    told = parser.parse_args()
    if not told.page_only:
        subprocess.run([sys.executable, EXAMPLE / "make.py", told.cache / "rows"], check=True)
        for seed in told.seeds:
            run_seed(told.cache, seed)
    head = ["", "before, by seed", *(f"after, seed {seed}" for seed in told.seeds), "mean", "KL, nats"]
    how = f"Written by `python benchmarks/arithmetic/run.py`, on {processor()}."
    write(told.page, INTRODUCTION, how, table(head, rows(told.cache, told.seeds)), SETTINGS)


if __name__ == "__main__":
    main()
