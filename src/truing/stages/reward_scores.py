"""What reward models say of preference pairs, each of several members, and the figures of that."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from truing.core.results import PairCard, to_json
from truing.core.rows import PairRows, TokenRows
from truing.evaluation.pair_card import pair_card, wins
from truing.models.roles import Role
from truing.models.scoring import end_scores, forward_in_micro_batches

LOGGED = ("heldout_accuracy", "heldout_loss")
"""Of what is measured on held-out pairs, while it learns"""


def pair_scores(roles: Sequence[Role], pairs: PairRows, budget: int) -> tuple[Tensor, Tensor]:
    """(k, N) of the chosen and of the rejected sides, by each of k roles."""

    def of(role: Role, rows: TokenRows) -> Tensor:
        return forward_in_micro_batches(role, rows, budget, lambda part, _: (end_scores(role, part),))[0]

    chosen, rejected = (torch.stack([of(role, rows) for role in roles]) for rows in (pairs.chosen, pairs.rejected))
    return chosen, rejected


def means(scores: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """(N,) of both sides, over the members."""
    chosen, rejected = scores
    return chosen.mean(0), rejected.mean(0)


def card_of(pairs: PairRows, scores: tuple[Tensor, Tensor]) -> PairCard:
    """Of the mean of the members' scores."""
    return pair_card(*means(scores), pairs.chosen.response_lengths, pairs.rejected.response_lengths)


def logged(card: PairCard) -> dict[str, Any]:
    """What of a card is logged while it learns."""
    measured = to_json(card)
    return {name: measured[name] for name in LOGGED}


def member_cards(pairs: PairRows, scores: tuple[Tensor, Tensor]) -> list[PairCard]:
    """Of each member alone."""
    return [card_of(pairs, (chosen[None], rejected[None])) for chosen, rejected in zip(*scores, strict=True)]


def member_metrics(scores: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """How often each member is right, and how often all of them prefer the same side."""
    right = wins(scores[0] - scores[1]).double()
    alike = (right == right[0]).all(0)
    return {"member_accuracies": right.mean(1).tolist(), "member_agreement": float(alike.double().mean())}
