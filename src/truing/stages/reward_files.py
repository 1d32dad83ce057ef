"""What is left of a reward model: a sequence classifier with the scale of its score, and so of each member."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from truing.core.normalisation import Normalisation
from truing.core.results import PairCard, RewardResult
from truing.models.load import LoadedBase
from truing.models.metadata import keep_metadata
from truing.models.reward_card import MEMBER, reward_use
from truing.models.roles import Role
from truing.models.save import merge, save_normalisation, save_reward_model
from truing.training.job import Job


def save_members(
    job: Job,
    base: LoadedBase,
    members: Sequence[Role],
    scores: Sequence[Sequence[float]],
    result: RewardResult,
    cards: Sequence[PairCard],
) -> None:
    """Each of them with what was measured of it alone, and its scores of the SFT model's samples."""
    about = MEMBER.format(count=len(members))
    for number, (role, own, card) in enumerate(zip(members, scores, cards, strict=True), start=1):
        scale = Normalisation.measure(own, where=f"member {number}")
        alone = replace(result, card=card, score_mean=scale.mean, score_std=scale.std, checks=None, findings=None)
        job.save_member(number, role, base, partial(write, job, base, scale), alone, use(job, base, scale, about))
    job.save_member_scores(torch.tensor(scores, dtype=torch.float64).T)


def use(job: Job, base: LoadedBase, normalisation: Normalisation, about: str) -> str:
    """How it is loaded and asked, for its README.md."""
    return reward_use(base.text_format(job.recipe.data), job.in_messages, normalisation, about)


def write(job: Job, base: LoadedBase, normalisation: Normalisation, whole: Role, place: Path) -> None:
    """A role that can be merged as a sequence classifier."""
    assert whole.head is not None
    model = merge(whole)
    save_reward_model(model, whole.head, base.tokenizer, place)
    keep_metadata(job.start, model, base.tokenizer, place)
    save_normalisation(normalisation, place)
