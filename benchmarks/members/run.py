"""What several members of a reward model are worth where the true reward is known: the quickstart's world.

    python benchmarks/members/run.py runs --seeds 17 18 19     # reward models of one and of four members, and PPO
    python benchmarks/members/run.py ppo --seeds 17 18 19      # what PPO came to, as a table
    python benchmarks/members/run.py best-of --seeds 17 18 19  # best of n samples of the SFT model, as a table

Runs are kept in `--cache`; what is there is not made again. Each has one thread.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from truing.config import load_recipe, recipe_shelf
from truing.config.defaults import ON_CPU
from truing.config.recipe import Recipe
from truing.config.sections import RewardConfig
from truing.config.variants import with_changes
from truing.core.records import Sample
from truing.data.prepared import prepare
from truing.functional import best_of_n_mean
from truing.models.layout import Roles, policy_roles
from truing.models.load import run_model
from truing.pipeline.execute import reward_files, run_pipeline
from truing.pipeline.world import with_world
from truing.rewards.build import build_reward, combination
from truing.rewards.combined import MembersReward
from truing.rollout.episodes import as_samples, respond
from truing.rollout.local import LocalEngine
from truing.runs.directory import RunDirectory
from truing.runs.metrics import read_jsonl
from truing.runs.progress import LineProgress
from truing.worlds.reviews import gold_scores

MEMBERS = 4
STAGE: dict[str, Any] = {"kind": "stage"}
SOURCES: dict[str, dict[str, Any]] = {
    "mean": STAGE,
    "soft": STAGE | {"combine": "soft_minimum", "tau": 0.5},
    "variance": STAGE | {"combine": "less_variance", "variance_price": 1.0},
    "averaged": STAGE | {"combine": "averaged_weights"},
    "bounded": STAGE | {"bounded": True, "weight": 4.0},
}
BETAS = {"b0": 0.0, "b01": 0.1}
VARIANTS = {1: ["mean-b01"], MEMBERS: ["soft-b0", "averaged-b0", "mean-b01", "variance-b0", "soft-b01", "bounded-b0"]}
"""Of PPO on the mean at β = 0, by the number of members"""
SAMPLES = 128
"""Of each held-out prompt"""
BEST_OF = (1, 4, 16, 64)
PPO_COLUMNS = ("run", "members", "variant", "gold, best", "gold, end", "score", "KL", "spread")


def recipe_of(seed: int, members: int) -> Recipe:
    """The quickstart's world and sizes."""
    quickstart = load_recipe(recipe_shelf()["quickstart"])
    variants: dict[str, dict[str, Any]] = {}
    for name in VARIANTS[members]:
        source, _, beta = name.partition("-")
        variants[name] = {"rewards.sources": [SOURCES[source]], "ppo.kl.beta": BETAS[beta]}
    changes = {"seed": seed, "reward.members": members, "ppo.kl.beta": 0.0, "evaluation.every": 15}
    return with_changes(quickstart, changes | {"on_unsound_reward": "go_on", "variants": variants})


def run_of(cache: Path, seed: int, members: int) -> RunDirectory:
    """Where a run is kept."""
    return RunDirectory(cache / f"s{seed}m{members}")


def make(cache: Path, seed: int) -> None:
    """Both runs of a seed, on the same SFT model."""
    one, several = (run_of(cache, seed, members).root for members in (1, MEMBERS))
    run_pipeline(recipe_of(seed, 1), one, LineProgress(Console(stderr=True)))
    run_pipeline(recipe_of(seed, MEMBERS), several, LineProgress(Console(stderr=True)), fork_of=one)


def ppo_rows(run: RunDirectory, members: int) -> Iterator[str]:
    """A line a finished policy: gold over held-out prompts at its best evaluation and at the end, score and KL."""
    for name in ["ppo", *(f"ppo-{variant}" for variant in VARIANTS[members])]:
        stage = run.stage(name)
        if stage.result.exists():
            rows = [row for row in read_jsonl(stage.metrics) if "judge_gold" in row]
            gold, last = [row["judge_gold"] for row in rows], rows[-1]
            spread = (
                f"{rows[0]['heldout_member_spread']:.2f} to {last['heldout_member_spread']:.2f}"
                if ("heldout_member_spread" in last)
                else ""
            )
            told = name.removeprefix("ppo").removeprefix("-") or "mean-b0"
            figures = f"{max(gold):+.2f} | {gold[-1]:+.2f} | {last['heldout_score']:.2f} | {last['heldout_kl']:.1f}"
            yield f"| {run.root.name} | {members} | {told} | {figures} | {spread} |"


@torch.no_grad()
def best_of_rows(cache: Path, seed: int) -> Iterator[str]:
    """A line for each way to score the same samples."""
    one, several = run_of(cache, seed, 1), run_of(cache, seed, MEMBERS)
    recipe = with_changes(with_world(one.recorded, one), ON_CPU)
    assert recipe.base is not None
    start = run_model(one.stage("sft").model, recipe.base)
    alone, together = (policy_roles(recipe, start, reward_files(run.stage("reward"))) for run in (one, several))
    prompts = prepare(recipe, alone.base.text_format(recipe.data), alone.base.context).prompts(recipe)
    asked = [prompt for prompt in prompts.heldout for _ in range(SAMPLES)]
    rollout = respond(LocalEngine(alone.reference), asked, recipe, alone.base, "best of n")
    samples = as_samples(asked, rollout, alone.base.text_format(recipe.data))
    gold = _by_prompt(gold_scores([str(sample.prompt) for sample in samples], [sample.response for sample in samples]))
    for name, scores in {"gold": gold, **_scored(recipe, alone, together, samples)}.items():
        figures = " | ".join(f"{best_of_n_mean(_tensor(scores), _tensor(gold), n):+.2f}" for n in BEST_OF)
        yield f"| {seed} | {name} | {figures} |"


def _scored(
    recipe: Recipe, alone: Roles, together: Roles, samples: Sequence[Sample]
) -> Mapping[str, list[list[float]]]:
    """By each way; a member is asked once for all."""
    source = with_changes(recipe, {"rewards.sources": [SOURCES["averaged"]], "reward.members": MEMBERS})
    prompts: Any = None  # no source is measured on samples here
    found = {"one model": build_reward(recipe, alone, prompts).score(samples)}
    found["averaged weights"] = build_reward(source, together, prompts).score(samples)
    reward = build_reward(recipe, together, prompts).parts[0].source
    assert isinstance(reward, MembersReward)
    raw = [member.score(samples) for member in reward.members]
    found |= {f"member {number}": own for number, own in enumerate(raw, start=1)}
    ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        name: combination(RewardConfig(**SOURCES[name])) for name in ("mean", "soft", "variance")
    }
    ways["lowest"] = combination(RewardConfig(kind="stage", combine="soft_minimum", tau=1e-3))
    found |= {name: combine(reward.on_scale(raw)).tolist() for name, combine in ways.items()}
    return {name: _by_prompt(scores) for name, scores in found.items()}


def _tensor(values: Sequence[Sequence[float]]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _by_prompt(values: Sequence[float]) -> list[list[float]]:
    return [list(values[start : start + SAMPLES]) for start in range(0, len(values), SAMPLES)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["runs", "ppo", "best-of"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[17, 18, 19])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "truing-members")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what != "runs":
        columns = PPO_COLUMNS if options.what == "ppo" else ("seed", "scored by", *(f"best of {n}" for n in BEST_OF))
        print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for seed in options.seeds:
        if options.what == "runs":
            make(options.cache, seed)
        elif options.what == "best-of":
            print("\n".join(best_of_rows(options.cache, seed)))
        else:
            for members in (1, MEMBERS):
                print("\n".join(ppo_rows(run_of(options.cache, seed, members), members)))


if __name__ == "__main__":
    main()
