"""What a reward model learns of a rule at each rate, number of passes and batch size, and what PPO makes of it.

    python benchmarks/defaults/run.py table     # a reward model for each of CELLS, or of --cells
    python benchmarks/defaults/run.py readme    # the README's recipe, all that it leaves out chosen by truing

Bases, pairs and runs are kept in `--cache`; what is there is not made again. Each run has one thread.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))

import stories

from truing.config import with_changes
from truing.config.recipe import Recipe
from truing.config.sections import Base, Source
from truing.pipeline.execute import run_pipeline
from truing.runs.metrics import read_jsonl
from truing.runs.progress import LineProgress, SilentProgress

HELDOUT = 300
"""Pairs that measure a reward model, so that a cell of the table is within 5 points"""

CELLS = (
    "0.3M:450:shared:1:32:2e-4",
    "0.3M:450:shared:1:8:3e-3",
    "0.3M:450:shared:3:8:1e-3",
    "0.3M:450:shared:3:8:3e-3",
    "0.3M:450:shared:3:8:1e-2",
    "0.3M:450:shared:3:32:3e-3",
    "0.3M:450:shared:6:16:3e-3",
    "0.3M:450:separate:3:8:1e-3",
    "0.3M:450:separate:3:8:3e-3",
    "0.3M:450:separate:3:32:3e-3",
    "0.3M:450:separate:6:16:1e-3",
)
"""base:pairs:roles:epochs:batch:rate; the first is what truing 0.1 did by default"""
JUDGE = f"{Path(__file__).parent / 'stories.py'}:mentions_animal"
README = {
    "stages": ["sft", "reward", "ppo"],
    "ppo.kl.beta": 0.05,
    "rollout.max_new_tokens": 64,
    "evaluation.prompts": 64,
    "evaluation.judges": {"animals": JUDGE},
    "compute.threads": 1,
}


@dataclass(frozen=True)
class Setting:
    """One cell."""

    base: str
    pairs: int
    roles: str
    epochs: int
    batch: int
    rate: float

    @property
    def name(self) -> str:
        return f"{self.base}-{self.pairs}-{self.roles}-e{self.epochs}-b{self.batch}-r{self.rate}"


def base_model(shape: str, cache: Path) -> Path:
    place = cache / f"base-{shape}"
    if not (place / "tokenizer.json").exists():
        stories.write_base(shape, place)
    return place


def rows(name: str, made: list[dict[str, str]], cache: Path) -> dict[str, Any]:
    path = cache / f"{name}.jsonl"
    stories.write_rows(made, path)
    return Source(path=str(path)).model_dump()


def reward_model(setting: Setting, cache: Path) -> dict[str, Any]:
    """Trains one reward model; returns its figures."""
    root = cache / "runs" / setting.name
    changes = {
        "base": Base(path=str(base_model(setting.base, cache))).model_dump(),
        "stages": ["reward"],
        "roles": setting.roles,
        "data.preferences": rows(f"pairs-{setting.pairs}", stories.preferences(setting.pairs, 1), cache),
        "data.heldout_preferences": rows("heldout", stories.preferences(HELDOUT, 3), cache),
        "rewards.normalisation_samples": 2,
        "reward.log_every": 1000,
        "evaluation.prompts": 2,
        "compute.threads": 1,
        "reward.epochs": setting.epochs,
        "reward.batch_size": setting.batch,
        "reward.optimiser.learning_rate": setting.rate,
    }
    run_pipeline(with_changes(Recipe(), changes), root, SilentProgress())
    metrics = read_jsonl(root / "reward" / "metrics.jsonl")
    return json.loads((root / "reward" / "result.json").read_text()) | {
        "training": fmean(row["accuracy"] for row in metrics[-10:])
    }


def table(settings: list[Setting], cache: Path) -> None:
    print("| base | pairs | method | epochs | batch | rate | steps | held-out accuracy | loss | training accuracy |")
    print("|---" * 10 + "|")
    for one in settings:
        found = reward_model(one, cache)
        method = {"shared": "adapters", "separate": "all weights"}[one.roles]
        print(
            f"| {one.base} | {one.pairs:,} | {method} | {one.epochs} | {one.batch} | {one.rate:g} | {found['steps']} "
            f"| {found['heldout_accuracy']:.0%} | {found['heldout_loss']:.2f} | {found['training']:.0%} |",
            flush=True,
        )


def readme(cache: Path, overrides: list[str]) -> None:
    """500 pairs, of which 450 are learnt from, and 300 demonstrations: reward model, then PPO and its judge."""
    changes = README | {
        "base": Base(path=str(base_model("0.3M", cache))).model_dump(),
        "data.demonstrations": rows("demonstrations", stories.demonstrations(300, 0), cache),
        "data.preferences": rows("pairs", stories.preferences(500, 0), cache),
        **{key: json.loads(value) for key, _, value in (one.partition("=") for one in overrides)},
    }
    progress = LineProgress(Console())
    run = run_pipeline(with_changes(Recipe(), changes), cache / "runs" / "-".join(["readme", *overrides]), progress)
    for stage in run.lineage.stages:
        print(f"{stage.name}: {'; '.join(stage.remarks or [])}")
    pairs, ppo = (json.loads(run.stage(name).result.read_text()) for name in ("reward", "ppo"))
    low, high = pairs["heldout_accuracy_ci95"]
    print(f"reward model: {pairs['heldout_accuracy']:.0%} of 50 held-out pairs right [{low:.0%}, {high:.0%}]")
    judge = ppo["judges"]["animals"]
    print(f"judge: {judge['first']:.2f} to {judge['last']:.2f}, change {judge['change_ci95']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["table", "readme"])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "truing" / "defaults")
    parser.add_argument("--cells", nargs="*", default=CELLS, help="base:pairs:roles:epochs:batch:rate")
    parser.add_argument("--set", nargs="*", default=[], help="readme: KEY=JSON, such as ppo.updates=40")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.cache.mkdir(parents=True, exist_ok=True)
    if given.what == "readme":
        readme(given.cache, given.set)
        return
    cells = [cell.split(":") for cell in given.cells]
    table([Setting(b, int(p), r, int(e), int(s), float(rate)) for b, p, r, e, s, rate in cells], given.cache)


if __name__ == "__main__":
    main()
