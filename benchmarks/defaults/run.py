"""What a reward model learns of a rule at each rate, number of passes and batch size, and what PPO makes of it.

    python benchmarks/defaults/run.py table     # a reward model for each of CELLS, or of --cells
    python benchmarks/defaults/run.py dpo       # DPO for each of POLICY_CELLS, or of --cells; kto, simpo and orpo alike
    python benchmarks/defaults/run.py readme    # the README's recipe, all that it leaves out chosen by truing

A base is one of stories.SHAPES, made here, or what `--base NAME=PATH` names: a directory, or a GGUF file.

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
RATES = ("1e-4", "3e-4", "1e-3", "3e-3")
OWN_CELLS = (*(f"0.3M:450:shared:1:8:{rate}" for rate in RATES), "0.3M:450:separate:1:8:1e-4")
POLICY_CELLS = {
    "dpo": (
        "0.3M:450:shared:1:32:1.5e-4",
        "0.3M:450:shared:1:32:5e-4",
        "0.3M:450:shared:1:32:1.5e-3",
        "0.3M:450:shared:3:8:1.5e-4",
        "0.3M:450:shared:3:8:5e-4",
    ),
    "kto": tuple(cell.replace(":450:", ":900:") for cell in OWN_CELLS),
    "simpo": OWN_CELLS,
    "orpo": OWN_CELLS,
}
"""Of KTO the ratings are counted, two a pair"""
METHODS = {"shared": "adapters", "separate": "all weights"}
JUDGE = f"{Path(__file__).parent / 'stories.py'}:mentions_animal"
README = {
    "stages": ["sft", "reward", "ppo"],
    "ppo.kl.beta": 0.15,
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


def base_model(name: str, cache: Path, brought: dict[str, Path]) -> dict[str, Any]:
    """The recipe's section for a base that was brought, or is made if it is not there yet."""
    place = brought.get(name, cache / f"base-{name}")
    if place.suffix == ".gguf":
        return Base(path=str(place.parent), gguf_file=place.name).model_dump()
    if not (place / "config.json").exists():
        stories.write_base(name, place)
    return Base(path=str(place)).model_dump()


def rows(name: str, made: list[dict[str, Any]], cache: Path) -> dict[str, Any]:
    path = cache / f"{name}.jsonl"
    stories.write_rows(made, path)
    return Source(path=str(path)).model_dump()


def sides(pairs: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Each side of the pairs by itself, with its label."""
    return [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for pair in pairs
        for side in ("chosen", "rejected")
    ]


def trained(stage: str, setting: Setting, base: dict[str, Any], cache: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """Trains one reward model, or one policy; returns its figures."""
    root = cache / "runs" / f"{stage}-{setting.name}"
    heldout = stories.preferences(HELDOUT, 3)
    if stage == "kto":
        learnt = sides(stories.preferences(setting.pairs // 2, 1))
        changes = changes | {
            "data.ratings": rows(f"ratings-{setting.pairs}", learnt, cache),
            "data.heldout_ratings": rows("heldout-ratings", sides(heldout), cache),
        }
    else:
        changes = changes | {
            "data.preferences": rows(f"pairs-{setting.pairs}", stories.preferences(setting.pairs, 1), cache),
            "data.heldout_preferences": rows("heldout", heldout, cache),
        }
    changes = changes | {
        "base": base,
        "stages": [stage],
        "roles": setting.roles,
        "compute.threads": 1,
        f"{stage}.epochs": setting.epochs,
        f"{stage}.batch_size": setting.batch,
        f"{stage}.optimiser.learning_rate": setting.rate,
    }
    run_pipeline(with_changes(Recipe(), changes), root, SilentProgress())
    metrics = read_jsonl(root / stage / "metrics.jsonl")
    return json.loads((root / stage / "result.json").read_text()) | {
        "training": fmean(row["accuracy"] for row in metrics[-10:])
    }


def table(settings: list[Setting], bases: dict[str, dict[str, Any]], cache: Path) -> None:
    print("| base | pairs | method | epochs | batch | rate | steps | held-out accuracy | loss | training accuracy |")
    print("|---" * 10 + "|")
    for one in settings:
        changes = {"rewards.normalisation_samples": 2, "evaluation.prompts": 2}
        found = trained("reward", one, bases[one.base], cache, changes)
        print(
            f"| {one.base} | {one.pairs:,} | {METHODS[one.roles]} | {one.epochs} | {one.batch} | {one.rate:g} "
            f"| {found['steps']} | {found['heldout_accuracy']:.0%} | {found['heldout_loss']:.2f} "
            f"| {found['training']:.0%} |",
            flush=True,
        )


def policy_table(stage: str, settings: list[Setting], bases: dict[str, dict[str, Any]], cache: Path) -> None:
    head = "base | method | epochs | batch | rate | steps | held-out accuracy | judge's change | KL | log π of chosen"
    print(f"| {head} |")
    print("|---" * 10 + "|")
    changes = {
        "data.prompts": rows("prompts", stories.demonstrations(2_000, 4), cache),
        "rollout.max_new_tokens": 64,
        "evaluation.prompts": 128,
        "evaluation.judges": {"animals": JUDGE},
    }
    for one in settings:
        found = trained(stage, one, bases[one.base], cache, changes)
        kl = found["kl_last"]
        low, high = found["judges"]["animals"]["change_ci95"]
        print(
            f"| {one.base} | {METHODS[one.roles]} | {one.epochs} | {one.batch} | {one.rate:g} | {found['steps']} "
            f"| {found['heldout_accuracy']:.0%} | {found['judges']['animals']['change']:+.2f} [{low:.2f}, {high:.2f}] "
            f"| {'' if kl is None else f'{kl:.1f}'} "
            f"| {found['chosen_logprob_first']:.1f} → {found['chosen_logprob_last']:.1f} |",
            flush=True,
        )


def readme(base: dict[str, Any], cache: Path, seeds: list[int], overrides: list[str]) -> None:
    """450 pairs to learn from and 300 held out, and 300 demonstrations: reward model, then PPO and its judge.

    A seed draws the demonstrations, the pairs and whatever the run draws; the 300 pairs are the same.
    """
    print("| seed | reward model: pairs right [95%] | judge | its change [95%] | KL | updates |")
    print("|---" * 6 + "|")
    for seed in seeds:
        changes = README | {
            "base": base,
            "seed": 17 + seed,
            "data.demonstrations": rows(f"demonstrations-{seed}", stories.demonstrations(300, seed), cache),
            "data.preferences": rows(f"pairs-seed-{seed}", stories.preferences(450, 10 + seed), cache),
            "data.heldout_preferences": rows("heldout", stories.preferences(HELDOUT, 3), cache),
            **{key: json.loads(value) for key, _, value in (one.partition("=") for one in overrides)},
        }
        root = cache / "runs" / "-".join([f"readme-{seed}", *overrides])
        run = run_pipeline(with_changes(Recipe(), changes), root, LineProgress(Console(stderr=True)))
        pairs, ppo = (json.loads(run.stage(name).result.read_text()) for name in ("reward", "ppo"))
        judge, right = ppo["judges"]["animals"], pairs["heldout_accuracy_ci95"]
        low, high = judge["change_ci95"]
        print(
            f"| {seed} | {pairs['heldout_accuracy']:.0%} [{right[0]:.0%}, {right[1]:.0%}] "
            f"| {judge['first']:.2f} → {judge['last']:.2f} | {judge['change']:+.2f} [{low:.2f}, {high:.2f}] "
            f"| {ppo['heldout_kl_last']:.1f} | {ppo['steps']} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["table", *POLICY_CELLS, "readme"])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "truing" / "defaults")
    parser.add_argument("--cells", nargs="*", help="base:pairs:roles:epochs:batch:rate")
    parser.add_argument("--base", nargs="*", default=[], help="NAME=PATH of a base that is not made here")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2], help="readme: of the data and the run")
    parser.add_argument("--set", nargs="*", default=[], help="readme: KEY=JSON, such as ppo.updates=40")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.cache.mkdir(parents=True, exist_ok=True)
    brought = {name: Path(path) for name, _, path in (one.partition("=") for one in given.base)}
    if given.what == "readme":
        readme(base_model("0.3M", given.cache, brought), given.cache, given.seeds, given.set)
        return
    cells = [cell.split(":") for cell in given.cells or ({"table": CELLS} | POLICY_CELLS)[given.what]]
    settings = [Setting(b, int(p), r, int(e), int(s), float(rate)) for b, p, r, e, s, rate in cells]
    bases = {name: base_model(name, given.cache, brought) for name in dict.fromkeys(one.base for one in settings)}
    if given.what == "table":
        table(settings, bases, given.cache)
    else:
        policy_table(given.what, settings, bases, given.cache)


if __name__ == "__main__":
    main()
