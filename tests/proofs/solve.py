"""The stages' own code, run on the enumerable world to its end."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tiny
from proofs.enumerable import LONGEST, TableReward, World, make_world, prompts, roles_of, total_variation

from truing.config import with_changes
from truing.config.algorithms import Kl, OnOwnResponses, Ppo
from truing.config.recipe import Recipe
from truing.config.sections import Compute, MissingEos, Optimiser, Rewards, RolloutConfig
from truing.stages.grpo import grpo_objective
from truing.stages.reinforce import reinforce_objective
from truing.stages.rloo import rloo_objective

EPISODES, GROUP = 256, 8
FEWER = 192
"""Episodes with which a proof in the tests comes as near"""


@dataclass(frozen=True)
class Solution:
    """Where PPO ended."""

    logprobs: np.ndarray
    """(responses,) log π"""
    ratio_max_deviation: float
    """The largest on the first minibatch of any update"""


def solve(
    world: World,
    beta: float,
    updates: int = 200,
    gae_lambda: float = 0.95,
    epochs: int = 4,
    episodes: int = EPISODES,
) -> Solution:
    """PPO from the reference, a table in place of the language model and everything else as it is in a run."""
    recipe = recipe_for(world.temperature, beta, updates, gae_lambda, epochs, episodes)
    roles = roles_of(world)
    update = tiny.ppo_update(recipe, roles, prompts(episodes), TableReward(world))
    deviations = [update.run(number, beta)["ratio_max_deviation"] for number in range(1, updates + 1)]
    return Solution(world.logprobs(roles.policy.model.table), max(deviations))


def solve_without_critic(
    world: World, beta: float, stage: str, updates: int = 200, episodes: int = EPISODES, **own: Any
) -> Solution:
    """The same by GRPO, RLOO or REINFORCE++, with settings of its `own`."""
    objectives = {"grpo": grpo_objective, "rloo": rloo_objective, "reinforce": reinforce_objective}
    plain = recipe_for(world.temperature, beta, updates, 1.0, episodes=episodes)
    settings = plain.ppo.model_dump(include={*OnOwnResponses.model_fields})
    settings |= {} if stage == "reinforce" else {"responses_per_prompt": GROUP}
    recipe = with_changes(plain, {stage: settings | own})
    roles = roles_of(world)
    update = tiny.update_of(recipe, roles, objectives[stage](recipe, roles), prompts(episodes), TableReward(world))
    deviations = [update.run(number, beta)["ratio_max_deviation"] for number in range(1, updates + 1)]
    return Solution(world.logprobs(roles.policy.model.table), max(deviations))


def apart_after_one_update() -> float:
    """Total variation between two policies, one of which learnt from the same rewards plus ten."""
    plain, shifted = (
        solve(make_world(seed=11, temperature=0.8, offset=offset), 1.0, updates=1, gae_lambda=1.0).logprobs
        for offset in (0.0, 10.0)
    )
    return total_variation(plain, shifted)


def expected_distinct(logprobs: np.ndarray, samples: int) -> float:
    """How many different responses so many samples are expected to show."""
    return float((1 - (1 - np.exp(logprobs)) ** samples).sum())


def recipe_for(
    temperature: float, beta: float, updates: int, gae_lambda: float, epochs: int = 4, episodes: int = EPISODES
) -> Recipe:
    """A recipe for a table: large steps, and a critic that may move as fast as it likes."""
    return Recipe(
        rollout=RolloutConfig(max_new_tokens=LONGEST, temperature=temperature),
        rewards=Rewards(missing_eos=MissingEos(policy="keep")),
        ppo=Ppo(
            updates=updates,
            episodes=episodes,
            epochs=epochs,
            kl=Kl(beta=beta),
            gae_lambda=gae_lambda,
            value_clip_range=1.0,
            value_coefficient=1.0,
            optimiser=Optimiser(learning_rate=0.05, warmup=0.0, schedule="linear", adam_eps=1e-5, max_grad_norm=100.0),
        ),
        compute=Compute(learn_tokens=100_000, score_tokens=100_000, rollout_rows=episodes),
    )
