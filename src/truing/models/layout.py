"""Which weights play which role: adapters on one frozen base, or a full model for each."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from truing.models.base import LoadedBase, load_base
from truing.models.rewards import Normalisation
from truing.models.roles import Adapters, Role, check_logits, scalar_head
from truing.models.saving import load_head, load_normalisation
from truing.recipe import Base, Lora, Recipe


@dataclass(frozen=True)
class RewardModelFiles:
    """What the reward stage left behind."""

    model: Path
    adapter: Path


@dataclass(frozen=True)
class Roles:
    """The four roles of a PPO run."""

    base: LoadedBase
    policy: Role
    reference: Role
    critic: Role
    reward: Role | None
    """None where the recipe takes its reward from elsewhere"""
    normalisation: Normalisation
    """Of the reward role's score"""


def trained_role(base: LoadedBase, name: str, lora: Lora | None, seed: int, head: bool = False) -> Role:
    """A role that learns: through an adapter called `name`, or in all its weights where `lora` is None."""
    linear = scalar_head(base.model, seed, bias=False) if head else None
    if lora is None:
        base.model.requires_grad_(True)
        return Role(base.model, head=linear)
    adapters = Adapters(base.model, lora, seed)
    adapters.add(name)
    return Role(base.model, adapters, name, linear)


def ppo_roles(recipe: Recipe, sft: Base, reward: RewardModelFiles | None) -> Roles:
    """Policy and critic to train, reference and reward model to leave alone; the critic starts as the reward model."""
    base = load_base(sft, recipe.compute)
    check_logits(Role(base.model))
    normalisation = load_normalisation(reward.model) if reward else None
    build = _shared if recipe.roles == "shared" else _separate
    policy, reference, critic, reward_role = build(recipe, sft, base, reward)
    if reward_role is not None and critic.head is not None and normalisation is not None:
        _start_critic(critic.head, reward_role, normalisation)
    return Roles(base, policy, reference, critic, reward_role, normalisation or Normalisation())


def _shared(
    recipe: Recipe, sft: Base, base: LoadedBase, reward: RewardModelFiles | None
) -> tuple[Role, Role, Role, Role | None]:
    adapters = Adapters(base.model, recipe.lora, recipe.seed)
    adapters.add("policy")
    reward_role = None
    if reward is None:
        adapters.add("critic")
    else:
        adapters.load("critic", str(reward.adapter))
        adapters.load("reward", str(reward.adapter))
        reward_role = Role(base.model, adapters, "reward", _frozen_head(base, reward.adapter))
    critic = Role(base.model, adapters, "critic", scalar_head(base.model, recipe.seed, bias=True))
    return Role(base.model, adapters, "policy"), Role(base.model, adapters, None), critic, reward_role


def _separate(
    recipe: Recipe, sft: Base, base: LoadedBase, reward: RewardModelFiles | None
) -> tuple[Role, Role, Role, Role | None]:
    head = scalar_head(base.model, recipe.seed, bias=True)
    base.model.requires_grad_(True)
    reference = Role(load_base(sft, recipe.compute).model)
    if reward is None:
        critic = load_base(sft, recipe.compute).model.requires_grad_(True)
        return Role(base.model), reference, Role(critic, head=head), None
    critic = _load_backbone(reward.model, base).requires_grad_(True)
    reward_role = Role(_load_backbone(reward.model, base), head=_frozen_head(base, reward.model))
    return Role(base.model), reference, Role(critic, head=head), reward_role


def _load_backbone(directory: Path, base: LoadedBase):  # type: ignore[no-untyped-def]
    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=base.model.dtype, use_safetensors=True)
    model.config.use_cache = False
    return model.to(base.model.device).eval().requires_grad_(False)


def _frozen_head(base: LoadedBase, directory: Path) -> nn.Linear:
    head = scalar_head(base.model, seed=0, bias=False)
    load_head(head, directory)
    return head.requires_grad_(False)


def _start_critic(head: nn.Linear, reward: Role, normalisation: Normalisation) -> None:
    """The critic predicts the normalised score, so its head is the reward head with the normalisation folded in."""
    assert reward.head is not None
    with torch.no_grad():
        head.weight.copy_(reward.head.weight / normalisation.std)
        head.bias.fill_(-normalisation.mean / normalisation.std)
