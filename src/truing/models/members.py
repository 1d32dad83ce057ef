"""Several reward models that learn beside each other, and the one that has the mean of their weights."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from truing.config.sections import Lora
from truing.core import rng
from truing.models.heads import scalar_head
from truing.models.layout import trained_role
from truing.models.load import LoadedBase
from truing.models.roles import Role

AVERAGED = "averaged"
"""The adapter that has the mean of the others' changes"""


def member_roles(
    base: LoadedBase, load: Callable[[], LoadedBase], lora: Lora | None, seed: int, names: Sequence[str]
) -> list[Role]:
    """Reward models of these names, each with first weights of its own: adapters on one base, or a model for each.

    Args:
        base: that the first learns on.
        load: loads it again, where each learns in all its weights.
        lora: of the adapters; None where all weights learn.
        seed: of the first's weights.
        names: of their adapters.
    """
    first = trained_role(base, names[0], lora, seed, head=True)
    members = [first]
    for number, name in enumerate(names[1:], start=2):
        own_seed = rng.derived_seed(seed, "member", number)
        if first.adapters is None:
            members.append(trained_role(load(), name, None, own_seed, head=True))
        else:
            first.adapters.add(name)
            members.append(replace(first, adapter=name, head=scalar_head(first.model, own_seed, bias=False)))
    return members


@torch.no_grad()
def averaged_role(members: Sequence[Role], load: Callable[[], LoadedBase]) -> Role:
    """The reward model that has the mean of the members' weights, or of their changes of the base's.

    Weight-averaged reward models, Ramé et al. 2024 (arXiv:2401.12187).

    Args:
        members: two or more; they stay as they are.
        load: loads their base again, where each is a model.
    """
    first = members[0]
    if first.adapters is None:
        role = trained_role(load(), "", None, seed=0, head=True)
        role.put(_mean_weights(members))
        return role
    head = scalar_head(first.model, seed=0, bias=False)
    head.weight.copy_(torch.stack([_head(member).weight for member in members]).mean(0))
    with first.in_step():
        first.adapters.add_mean(AVERAGED, [member.adapter for member in members if member.adapter is not None])
    return replace(first, adapter=AVERAGED, head=head)


def _mean_weights(members: Sequence[Role]) -> dict[str, Tensor]:
    """By path. One model after the other is copied, not all at once."""
    total = members[0].weights()
    for member in members[1:]:
        for path, weight in member.weights().items():
            total[path] += weight
    return {path: weight / len(members) for path, weight in total.items()}


def _head(role: Role) -> nn.Linear:
    assert role.head is not None
    return role.head
