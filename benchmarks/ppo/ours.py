"""PPO updates by truing: roles, rollout, scoring and learning as `truing run` has them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from harness.child import Stopwatch, report, work

from truing.config.defaults import ON_CPU, given, sizes_left_out
from truing.config.recipe import Recipe
from truing.config.variants import with_changes
from truing.core import rng
from truing.data.encode import EncodedPrompt
from truing.data.endings import Endings
from truing.data.prompts import PromptSet
from truing.kernels.cpu.products import computed_by
from truing.models.layout import PpoRoles, RewardModelFiles, ppo_roles
from truing.pipeline.products import products_of_machine
from truing.rewards.build import build_reward
from truing.rollout.ahead import Rollouts
from truing.rollout.local import LocalEngine
from truing.stages.ppo import ppo_objective
from truing.stages.update import Update
from truing.training.learner import Learner

RESERVED = 0.01
"""Share of the uniform draws' range that no token but a forced eos is drawn from"""


def recipe_of(told: dict[str, Any]) -> Recipe:
    """The update that is told, with every setting that it does not name as truing has it."""
    ppo = {
        "updates": told["repeats"] + 1,
        "episodes": len(told["prompts"]),
        "epochs": told["epochs"],
        "minibatches": told["minibatches"],
        "optimiser": {"learning_rate": 1e-4, "adam_eps": 1e-5, "schedule": "linear"},
    }
    recipe = Recipe.model_validate(
        {
            "base": {"path": told["model"]},
            "roles": told["roles"],
            "lora": {"rank": told["rank"], "alpha": 2.0 * told["rank"]} | told.get("lora", {}),
            "ppo": ppo,
            "rollout": {"max_new_tokens": max(told["lengths"])},
            "compute": {"device": "cpu", "threads": told["threads"]} | told.get("compute", {}),
        }
    )
    return with_changes(recipe, {key: size for key, size in ON_CPU.items() if key in sizes_left_out(recipe)})


def prepared(told: dict[str, Any]) -> tuple[Recipe, PpoRoles, Update]:
    """The recipe that is told, its roles, and their updates."""
    recipe, reward = recipe_of(told), Path(told["reward"])
    roles = ppo_roles(recipe, recipe.base, RewardModelFiles(reward / "model", reward / "adapter"))
    prompts = PromptSet([EncodedPrompt("", tuple(prompt)) for prompt in told["prompts"]], [])
    return recipe, roles, updates_of(recipe, roles, prompts)


def updates_of(recipe: Recipe, roles: PpoRoles, prompts: PromptSet) -> Update:
    """The updates of a PPO stage, one by one."""
    objective, settings = ppo_objective(recipe, roles), recipe.ppo
    steps = settings.updates * settings.epochs * settings.minibatches
    learner = Learner(objective.trained, settings.optimiser, steps, given(recipe.compute.learn_tokens))
    reward = build_reward(recipe, roles, prompts)
    engine = LocalEngine(roles.policy)
    sizes = settings.episodes, settings.responses_per_prompt, settings.updates
    rollouts = Rollouts(recipe, roles.base, prompts, engine, *sizes)
    return Update(recipe, roles, objective, rollouts, reward, learner)


def warm_up(update: Update) -> Update:
    """An update of everything, but short: two tokens, one epoch."""
    recipe = update.recipe
    ppo = recipe.ppo.model_copy(update={"epochs": 1})
    rollout = recipe.rollout.model_copy(update={"max_new_tokens": 2})
    short = recipe.model_copy(update={"ppo": ppo, "rollout": rollout})
    objective, rollouts = replace(update.objective, settings=ppo), replace(update.rollouts, recipe=short)
    return replace(update, recipe=short, objective=objective, rollouts=rollouts)


@contextmanager
def forced(lengths: Sequence[int], roles: PpoRoles) -> Iterator[None]:
    """Responses of exactly these lengths, by the draws alone.

    A draw is turned into a token by inversion, so one at the very end of the range gives the vocabulary's last token.
    That token is made the eos, and no other draw comes near.
    """
    tokenizer, last = roles.base.tokenizer, roles.base.model.config.vocab_size - 1
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(last)
    assert tokenizer.eos_token_id == last
    original = rng.uniform

    def uniform(seed: int, purpose: str, *position: int, count: int) -> np.ndarray:
        values = original(seed, purpose, *position, count=count)
        if purpose == "rollout":
            values *= 1 - RESERVED
            end = lengths[position[0] % len(lengths)]
            if end < count:
                values[end - 1] = 1.0
        return values

    ends = Endings((last,), (last,), (last,), (last,))
    with patch.object(rng, "uniform", uniform), patch.dict(vars(roles.base), endings=ends):
        yield


def counted_steps(learner: Learner) -> list[float]:
    """Gets a gradient norm for every step of the optimiser."""
    steps: list[float] = []
    step = learner.step

    def counted() -> float:
        steps.append(step())
        return steps[-1]

    learner.step = counted  # type: ignore[method-assign]
    return steps


def main() -> None:
    """One short update, then as many as are told; products are computed as in a run."""
    told = work()
    with computed_by(products_of_machine(told["threads"])):
        measure(told)


def measure(told: dict[str, Any]) -> None:
    """The updates, and the file that says how long they took."""
    recipe, roles, updates = prepared(told)
    beta = recipe.ppo.kl.beta
    steps, watch, lengths = counted_steps(updates.learner), Stopwatch(), []
    with forced(told["lengths"], roles):
        warm_up(updates).run(1, beta)
        steps.clear()
        for update in range(told["repeats"]):
            watch.start()
            metrics = updates.run(update + 2, beta)
            watch.lap("update")
            for phase in ("rollout", "score"):
                watch.note(phase, metrics[f"{phase}_s"])
            lengths.append(round(metrics["length"] * len(told["prompts"])))
    totals = watch.seconds.pop("update")
    rollout, score = watch.seconds["rollout"], watch.seconds["score"]
    watch.seconds["learn"] = [total - a - b for total, a, b in zip(totals, rollout, score, strict=True)]
    report(told, watch.seconds, new_tokens=sum(lengths), optimiser_steps=len(steps))


if __name__ == "__main__":
    main()
