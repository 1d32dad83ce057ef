"""The runs that are measured: two worlds, some seeds, with and without a guard. Each is made once, on one thread."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from operator import itemgetter
from pathlib import Path
from typing import Any

from guard import packing
from guard.judging import Gold

from truing.config import with_changes
from truing.config.loading import load_recipe
from truing.config.recipe import Recipe
from truing.pipeline.execute import run_pipeline
from truing.runs.metrics import read_jsonl
from truing.runs.progress import SilentProgress
from truing.worlds import reviews

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
LOOK_EVERY = 3
JUDGE = """import sys

sys.path.insert(0, {benchmarks!r})
from guard.judging import noisy_judge
from {module} import gold_scores

judge = noisy_judge(gold_scores, {seed})
"""


@dataclass(frozen=True)
class World:
    """Where a run takes place."""

    name: str
    gold_path: str
    """As a recipe names it"""
    gold: Gold
    changes: Callable[[int, Path], dict[str, Any]]
    """What of the quickstart's recipe is otherwise with a seed, and a directory for files"""


@dataclass(frozen=True)
class Case:
    """How a run is trained."""

    beta: float
    honest: bool = False
    """Whether the reward is gold itself"""
    guarded: bool = False
    """Whether judgements of its answers decide what is kept"""
    watched: bool = False
    """Whether alarms on its KL and length raise β, and nobody judges"""

    @property
    def name(self) -> str:
        parts = [f"beta-{self.beta:g}", "honest" * self.honest, "guard" * self.guarded, "alarms" * self.watched]
        return "-".join(filter(None, parts))


PLAIN = (Case(0.0), Case(0.02), Case(0.1))
HONEST = Case(0.0, honest=True)
GUARDED, GUARDED_TENTH, GUARDED_HONEST = (replace(case, guarded=True) for case in (PLAIN[0], PLAIN[2], HONEST))
CASES = (*PLAIN, HONEST, GUARDED, GUARDED_TENTH, GUARDED_HONEST)
"""The first of them makes the SFT model and the reward model that the others take over"""
WATCHED, WATCHED_HONEST = (replace(case, watched=True) for case in (PLAIN[0], HONEST))


def packing_files(seed: int, cache: Path) -> dict[str, Any]:
    """Its files are made where they are not there yet."""
    directory = cache / f"packing-{seed}"
    if not directory.exists():
        packing.write_world(seed, directory)
    files = {f"data.{name}": {"path": str(directory / f"{name}.jsonl")} for name in packing.FILES}
    return {"world": None, "base": {"path": str(directory / "base")}, **files}


WORLDS = (
    World("reviews", reviews.GOLD, reviews.gold_scores, lambda seed, cache: {}),
    World("packing", f"{packing.__file__}:gold_scores", packing.gold_scores, packing_files),
)


@dataclass(frozen=True)
class Recorded:
    """A run that is done."""

    root: Path

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Of each step that was evaluated, and is part of the way to the last."""
        return [row for row in read_jsonl(self.root / "ppo" / "metrics.jsonl") if "judge_gold" in row]

    @property
    def gold(self) -> dict[int, float]:
        """Mean of the held-out answers, in standard deviations, by step."""
        return {row["step"]: row["judge_gold"] for row in self.metrics}

    @property
    def end(self) -> float:
        """Gold of what the run has kept."""
        return self.gold[self.result.get("guard_kept_step", max(self.gold))]

    @property
    def peak(self) -> float:
        """The highest gold on the way to the last step."""
        return max(self.gold.values())

    @property
    def samples(self) -> dict[int, list[dict[str, Any]]]:
        """Lines of samples.jsonl by step."""
        rows = read_jsonl(self.root / "ppo" / "samples.jsonl")
        return {step: list(lines) for step, lines in groupby(rows, key=itemgetter("step"))}

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "ppo" / "result.json").read_text(encoding="utf-8"))
        return found


def place(cache: Path, world: World, seed: int, case: Case) -> Path:
    return cache / world.name / f"seed-{seed}" / case.name


def recorded(cache: Path, world: World, seed: int, case: Case) -> Recorded | None:
    """None where it is not done."""
    root = place(cache, world, seed, case)
    return Recorded(root) if (root / "ppo" / "result.json").exists() else None


def recipe_of(cache: Path, world: World, seed: int, case: Case) -> Recipe:
    """The quickstart's, evaluated as often as a guard looks, with gold beside to measure."""
    changes: dict[str, Any] = {
        "variants": {},
        "seed": seed,
        "ppo.kl.beta": case.beta,
        "evaluation.every": LOOK_EVERY,
        "evaluation.judges": {"gold": world.gold_path},
    }
    if case.honest:
        changes["rewards.sources"] = [{"kind": "function", "path": world.gold_path}]
    if case.guarded:
        judge = cache / f"judge_{world.name}_{seed}.py"
        module, benchmarks = world.gold.__module__, str(QUICKSTART.parents[1] / "benchmarks")
        judge.write_text(JUDGE.format(benchmarks=benchmarks, module=module, seed=seed), encoding="utf-8")
        changes["guard"] = {"mode": "rollback", "judge": {"kind": "pairs", "path": f"{judge}:judge"}}
    if case.watched:
        changes["guard"] = {"mode": "rollback", "judge": {"kind": "none"}}
    return with_changes(load_recipe(QUICKSTART), changes | world.changes(seed, cache))


def make(cache: Path, world: World, seed: int, case: Case) -> None:
    """Makes a run, or goes on with it."""
    root, first = (place(cache, world, seed, one) for one in (case, CASES[0]))
    root.parent.mkdir(parents=True, exist_ok=True)
    older = first if root != first and not root.exists() else None
    run_pipeline(recipe_of(cache, world, seed, case), root, SilentProgress(), fork_of=older)


def make_all(cache: Path, seeds: Sequence[int], worlds: Sequence[World], cases: Sequence[Case]) -> None:
    """The runs that are not there yet, seed by seed."""
    for seed, world, case in product(seeds, worlds, cases):
        if recorded(cache, world, seed, case) is None:
            start = time.monotonic()
            make(cache, world, seed, case)
            print(world.name, seed, case.name, f"{time.monotonic() - start:.0f} s", flush=True)


def gather(cache: Path, seeds: Sequence[int], cases: Sequence[Case] = CASES) -> dict[tuple[World, int, Case], Recorded]:
    """The runs of these cases that are done, of all worlds."""
    keys = product(WORLDS, seeds, cases)
    found = {key: recorded(cache, *key) for key in keys}
    return {key: run for key, run in found.items() if run is not None}
