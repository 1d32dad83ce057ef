"""Which weights play which role: adapters on one frozen base, or a full model for each."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from truing.config.recipe import Recipe
from truing.config.sections import Base, Compute, Lora
from truing.core.heap import give_back_what_is_free
from truing.core.normalisation import Normalisation, scales_of
from truing.models.arrival import is_spread, parts_to_keep
from truing.models.device import precision_of
from truing.models.first_layers import keep_layers, layers_to_ask
from truing.models.heads import load_head, scalar_head
from truing.models.load import LoadedBase, load_base, prepare, put_layers
from truing.models.prefix import frozen_prefix_of, prefix_depth
from truing.models.roles import Role
from truing.models.save import load_member_scores, load_normalisation
from truing.models.spread import refuse_new_rows, spread
from truing.models.weights import load_weights, outline
from truing.processes import group

NO_PREFIX = "needs more of its lower layers than their output, so they run in every pass; lora.layers saves less time."
OTHERS_BELOW = "Layers are cut into stages, so all of them run in every pass; lora.layers saves less time."
ROWS_BELOW = "Embeddings of new tokens are learnt, so all layers run in every pass; lora.layers saves less time."


@dataclass(frozen=True)
class RewardModelFiles:
    """What the reward stage left behind."""

    model: Path
    adapter: Path
    members: "tuple[RewardModelFiles, ...]" = ()
    """Of several reward models; `model` and `adapter` are then of their averaged weights"""
    member_scores: Path | None = None
    """What each of these gives to samples of the SFT model"""


@dataclass(frozen=True)
class Roles:
    """A policy to train and what it is held against."""

    base: LoadedBase
    policy: Role
    reference: Role | None
    """None where nothing is held to it and it would be a model of its own"""
    reward: Role | None
    """None where the recipe takes its reward from elsewhere"""
    normalisation: Normalisation
    """Of the reward role's score"""
    members: tuple[Role, ...] = field(default=(), kw_only=True)
    """Where there are several reward models: each, and `reward` is their averaged weights"""
    member_scores: Tensor | None = field(default=None, kw_only=True)
    """(N, k) of theirs on samples of the SFT model"""

    @property
    def notes(self) -> list[str]:
        """What is told of the base, and of the layers of models beside it."""
        slow = [f"{type(one.model).__name__} {one.backend.slow_in}." for one in self._beside if one.backend.slow_in]
        return [*dict.fromkeys([*self.base.notes, *slow])]

    @property
    def _beside(self) -> list[Role]:
        return [role for role in (self.reference, self.reward, *self.members) if role is not None]

    @property
    def member_scales(self) -> list[Normalisation]:
        """Of each member's score."""
        return [] if self.member_scores is None else scales_of(self.member_scores.T.tolist())

    @property
    def first_reward(self) -> tuple[Role, Normalisation] | None:
        """The reward model, or the first of several, and the normalisation of its score."""
        if self.members:
            return self.members[0], self.member_scales[0]
        return None if self.reward is None else (self.reward, self.normalisation)


@dataclass(frozen=True)
class PpoRoles(Roles):
    """The four roles of a PPO run."""

    critic: Role

    @property
    def _beside(self) -> list[Role]:
        return [*super()._beside, self.critic]


def base_to_train(
    start: Base, compute: Compute, by_adapter: bool, tokens: Callable[[], Collection[int]] = frozenset
) -> LoadedBase:
    """The model that a stage learns on, by an adapter or in all weights, from rows with these `tokens`."""
    base = load_base(start, compute, trains=not by_adapter).to_learn(tokens, by_adapter)
    if by_adapter and base.new_rows:
        refuse_new_rows(base, compute)
    return spread(base, compute)


def trained_role(base: LoadedBase, name: str, lora: Lora | None, seed: int, head: bool = False) -> Role:
    """A role that learns: through an adapter called `name`, or in all its weights where `lora` is None.

    These must have been loaded as weights that train.
    """
    linear = scalar_head(base.model, seed, bias=False) if head else None
    if lora is None:
        return _role_of_all_weights(base, linear)
    adapters = base.adapters(lora, seed)
    adapters.add(name)
    return base.role(adapters=adapters, adapter=name, head=linear)


def _role_of_all_weights(base: LoadedBase, head: nn.Linear | None = None) -> Role:
    assert base.backend.precision.parameters == torch.float32, "what trains is float32: load it with trains=True"
    base.model.requires_grad_(True)
    return base.role(head=head)


def role_to_merge(role: Role, adapter: Path, recipe: Recipe, start: Base) -> Role | None:
    """The role on a base that is neither quantised nor in parts: weights into which its saved adapter can be merged.

    It is the role itself where neither is so. A GPU that holds a model in 4 bit, or a part of one, may not hold it
    whole, so the CPU of the owner does; None in another process.
    """
    if start.quantize == "none" and role.parts is None:
        return role
    plain = start.model_copy(update={"quantize": "none"})
    on_cpu = recipe.compute.model_copy(update={"device": "cpu"})
    give_back_what_is_free()  # what learning left behind would stay beside the whole base
    base = group.on_owner(lambda: load_base(plain, on_cpu, trains=role.adapter is None))
    if role.adapter is None:
        _take_weights(base, role)
        return None if base is None else base.role(head=role.head)
    return None if base is None else _with_adapter(base, role, adapter, recipe)


def _with_adapter(base: LoadedBase, role: Role, directory: Path, recipe: Recipe) -> Role:
    """Another role's adapter, as it was saved, on this base."""
    assert role.adapter is not None
    adapters = base.adapters(recipe.lora, recipe.seed)
    adapters.load(role.adapter, str(directory))
    return base.role(adapters=adapters, adapter=role.adapter, head=role.head)


@torch.no_grad()
def _take_weights(base: LoadedBase | None, role: Role) -> None:
    """Gives a base the weights of a role in parts, one after the other; a process without a base hands its parts in."""
    assert role.parts is not None
    own = dict(base.model.named_parameters()) if base else {}
    for path, weight in role.model.named_parameters():
        with role.in_step():
            whole = role.parts.whole(weight)
        if own:
            own[path].copy_(whole)


def policy_roles(
    recipe: Recipe,
    start: Base,
    reward: RewardModelFiles | None,
    tokens: Callable[[], Collection[int]] = frozenset,
    reference: bool = True,
) -> Roles:
    """A policy to train, the model it begins as to hold it against, and the reward model where there is one.

    Without a `reference` there is none where it would be a second model; as the base below an adapter it costs nothing.
    `tokens` are those of the rows that it learns from: none by default, as for one that learns from its own responses,
    which would not have the new ones of a base.
    """
    by_adapter = recipe.roles == "shared"
    base = base_to_train(start, recipe.compute, by_adapter, tokens)
    if by_adapter:
        depth = prefix_depth(base.model, recipe.lora.layers)
        prefix = None
        if group.pipeline_size() == 1 and not base.new_rows:
            with base.role().in_step():
                prefix = frozen_prefix_of(base.model, depth)
        if depth and prefix is None:
            note = _why_no_prefix(base)
            base = replace(base, notes=(*base.notes, note))
        adapters = base.adapters(recipe.lora, recipe.seed)
        adapters.add("policy", above=depth)
        policy = base.role(adapters=adapters, adapter="policy", prefix=prefix)
        start_role: Role | None = base.role(adapters=adapters, prefix=prefix)
    else:
        policy = _role_of_all_weights(base)
        start_role = spread(load_base(start, recipe.compute), recipe.compute).role() if reference else None
    if reward is None:
        return Roles(base, policy, start_role, None, Normalisation())
    return Roles(
        base,
        policy,
        start_role,
        _reward_role("reward_model", policy, base, reward, recipe.compute),
        load_normalisation(reward.model) or Normalisation(),
        members=reward_members(policy, base, reward, recipe.compute),
        member_scores=None
        if reward.member_scores is None
        else load_member_scores(reward.member_scores, len(reward.members)),
    )


def _why_no_prefix(base: LoadedBase) -> str:
    if base.new_rows:
        return ROWS_BELOW
    return OTHERS_BELOW if group.pipeline_size() > 1 else f"{type(base.model).__name__} {NO_PREFIX}"


def ppo_roles(recipe: Recipe, start: Base, reward: RewardModelFiles | None) -> PpoRoles:
    """The same and a critic, which starts as the reward model, or as the first of several."""
    roles = policy_roles(recipe, start, reward)
    critic = _critic(recipe, start, roles, reward.members[0] if reward and reward.members else reward)
    if roles.first_reward is not None:
        role, normalisation = roles.first_reward
        assert role.head is not None
        assert critic.head is not None
        _start_head(critic.head, role.head, normalisation)
    return PpoRoles(**vars(roles), critic=critic)


def reward_members(policy: Role, base: LoadedBase, reward: RewardModelFiles, compute: Compute) -> tuple[Role, ...]:
    """Each of several reward models that a stage left; by adapters beside those of the `policy`, where it has some."""
    numbered = enumerate(reward.members, start=1)
    return tuple(_reward_role(f"member_{number}", policy, base, files, compute) for number, files in numbered)


def _reward_role(name: str, policy: Role, base: LoadedBase, reward: RewardModelFiles, compute: Compute) -> Role:
    if policy.adapters is None:
        backbone = _load_backbone(reward.model, base, compute, trains=False)
        return backbone.role(head=_frozen_head(base, reward.model))
    policy.adapters.load(name, str(reward.adapter))
    return base.role(adapters=policy.adapters, adapter=name, head=_frozen_head(base, reward.adapter))


def _critic(recipe: Recipe, start: Base, roles: Roles, reward: RewardModelFiles | None) -> Role:
    base, adapters = roles.base, roles.policy.adapters
    head = scalar_head(base.model, recipe.seed, bias=True)
    if adapters is None:
        compute = recipe.compute
        own = _load_backbone(reward.model, base, compute, True) if reward else base_to_train(start, compute, False)
        return _role_of_all_weights(own, head)
    depth = prefix_depth(base.model, recipe.lora.layers)
    if reward is not None and depth == 0:
        adapters.load("critic", str(reward.adapter))
    else:
        adapters.add("critic", above=depth)
        if roles.first_reward is not None:
            source = roles.first_reward[0].adapter
            assert source is not None
            adapters.copy("critic", source)
    return base.role(adapters=adapters, adapter="critic", head=head, prefix=roles.policy.prefix)


def _load_backbone(directory: Path, base: LoadedBase, compute: Compute, trains: bool) -> LoadedBase:
    """A reward model's backbone in the place of the base's model."""
    precision = precision_of(compute, trains)
    kind = AutoModelForSequenceClassification
    options: dict[str, Any] = {"dtype": precision.parameters, "use_safetensors": True}
    load = partial(load_weights, kind, str(directory), base.model.device, **options)
    if is_spread(compute):  # what layers are asked is asked of a few whole ones
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        whole = outline(kind, config, False)
        parts = parts_to_keep(whole)
        keep_layers(config, layers_to_ask(whole))
        backend, model = prepare(load(config=config), precision), load(parts=parts)
        put_layers(model, backend, compute.gradient_checkpointing)
    else:
        model = load()
        backend = prepare(model, precision, compute.gradient_checkpointing)
    return spread(replace(base, model=model, backend=backend), compute)


def _frozen_head(base: LoadedBase, directory: Path) -> nn.Linear:
    head = scalar_head(base.model, seed=0, bias=False)
    load_head(head, directory)
    return head.requires_grad_(False)


def _start_head(critic: nn.Linear, reward: nn.Linear, normalisation: Normalisation) -> None:
    """The critic predicts the normalised score, so its head is the reward head with the normalisation folded in."""
    with torch.no_grad():
        critic.weight.copy_(reward.weight / normalisation.std)
        critic.bias.fill_(-normalisation.mean / normalisation.std)
