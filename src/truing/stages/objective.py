"""What makes an algorithm that learns from its own responses: how they become advantages, and which losses it has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from truing.config.algorithms import Kl
from truing.config.defaults import given
from truing.config.recipe import Recipe
from truing.config.sections import Optimiser
from truing.core.experience import Experience, Rollout
from truing.models.layout import Roles
from truing.models.roles import Role
from truing.models.scoring import response_logprobs
from truing.training.learner import LossFn, Trained


class OnlineSettings(Protocol):
    """What the loop reads of an algorithm's section in the recipe."""

    @property
    def updates(self) -> int: ...
    @property
    def episodes(self) -> int: ...
    @property
    def responses_per_prompt(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def minibatches(self) -> int: ...
    @property
    def kl(self) -> Kl: ...
    @property
    def optimiser(self) -> Optimiser: ...


@dataclass(frozen=True)
class Scored:
    """A rollout with everything that was measured on it before learning."""

    rollout: Rollout
    scores: Tensor
    """(B,) as the reward gave them, normalised"""
    rewards: Tensor
    """(B,) the scores once the rule for responses without eos has been applied"""
    ref_logprobs: Tensor
    """(B, R)"""
    kl_exact: Tensor
    """(B, R) full-vocabulary KL(π‖ref) before each token"""
    entropy: Tensor
    """(B, R)"""
    values: Tensor | None
    """(B, R) of the critic, where there is one"""

    @property
    def kl(self) -> Tensor:
        """(B,) estimate of KL(π‖ref), nats per sequence: k1 of the policy's own draws.

        Of older weights' draws, k1 is too low by KL(π_drew‖π), and soon below 0. What is exact asks for no draw.
        """
        if self.rollout.drawn_logprobs is None:
            return self.rollout.kl(self.ref_logprobs)
        return (self.kl_exact * self.rollout.sequences.response_mask).sum(1)


@dataclass(frozen=True)
class LossTerm:
    """One of the losses of an update. Terms are added up in one joint gradient."""

    name: str
    """As it is logged"""
    loss: LossFn[Experience]
    weight: float = 1.0


@dataclass(frozen=True)
class Objective:
    """What makes one algorithm of this loop."""

    settings: OnlineSettings
    experience: Callable[[Scored, float], Experience]
    """From a scored rollout and β, the price of a nat, to advantages (and returns, where a critic learns)"""
    losses: Sequence[LossTerm]
    trained: Sequence[Trained]
    critic: Role | None = None


def without_critic(
    recipe: Recipe,
    roles: Roles,
    settings: OnlineSettings,
    experience: Callable[[Scored, float], Experience],
    policy_loss: Callable[[Tensor, Experience], tuple[Tensor, dict[str, Tensor]]],
) -> Objective:
    """That of an algorithm in which the policy learns alone, by a loss of its (B, R) log-probabilities."""

    def loss(batch: Experience) -> tuple[Tensor, dict[str, Tensor]]:
        return policy_loss(response_logprobs(roles.policy, batch.sequences, recipe.rollout.temperature), batch)

    return Objective(
        settings=settings,
        experience=experience,
        losses=(LossTerm("policy_loss", loss),),
        trained=(Trained("policy", roles.policy, given(settings.optimiser.learning_rate)),),
    )
