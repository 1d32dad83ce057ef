"""Prompts answered and scored: what PPO, its held-out look and the reward model's normalisation have in common."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from truing.config.recipe import Recipe
from truing.config.sections import MissingEos
from truing.core import rng
from truing.core.batches import Rollout
from truing.core.errors import DataError, RewardError
from truing.core.records import Sample
from truing.data.encode import EncodedPrompt, encode_prompts
from truing.data.prompts import different_prompts, refuse_too_few
from truing.models.load import LoadedBase
from truing.models.roles import Role
from truing.rollout.local import Sampling, sample
from truing.runs.progress import Progress

NO_SCORES_MEND = "Look at the reward and the judges; on_bad_score: stop tells what they do on the first of them."


@dataclass(frozen=True)
class PromptSet:
    """Prompts to learn from, and prompts that learning never sees."""

    train: list[EncodedPrompt]
    heldout: list[EncodedPrompt]

    def of_episodes(self, episodes: Sequence[int], seed: int) -> list[EncodedPrompt]:
        """The training prompt of each episode of the run: pass after pass over all of them, each in its own order."""
        passes = {episode // len(self.train) for episode in episodes}
        orders = {one: rng.permutation(seed, "prompts", one, count=len(self.train)) for one in passes}
        return [self.train[orders[episode // len(self.train)][episode % len(self.train)]] for episode in episodes]

    def without(self, seen: Iterable[Sequence[int]]) -> "PromptSet":
        """The same with as many held-out prompts as there are that were not `seen`, given as tokens."""
        known = {tuple(prompt) for prompt in seen}
        unseen = [prompt for prompt in [*self.heldout, *self.train] if prompt.tokens not in known]
        if not unseen:
            raise DataError("every prompt is in a pair that is learnt from.", hint="Give other prompts: data.prompts.")
        return PromptSet(self.train, unseen[: len(self.heldout)])


def load_prompts(recipe: Recipe, base: LoadedBase, progress: Progress) -> PromptSet:
    """Reads, de-duplicates and splits the prompts that a policy answers."""
    unique = different_prompts(recipe.data)
    prompts, report = encode_prompts(base.tokenizer, unique, recipe.data, recipe.rollout.max_new_tokens, base.context)
    progress.note(f"prompts: {report.sentence()}")
    return prompt_set(prompts, recipe)


def prompt_set(prompts: Sequence[EncodedPrompt], recipe: Recipe) -> PromptSet:
    """Some prompts held out of all. DataError where none would be left to learn from."""
    refuse_too_few(len(prompts), recipe)
    held = recipe.evaluation.prompts
    order = rng.permutation(recipe.seed, "held-out prompts", count=len(prompts))
    return PromptSet([prompts[i] for i in sorted(order[held:])], [prompts[i] for i in sorted(order[:held])])


def answer(
    policy: Role, prompts: Sequence[EncodedPrompt], recipe: Recipe, base: LoadedBase, purpose: str, first: int = 0
) -> Rollout:
    """One response to each prompt; the draws depend on the purpose and the episode's number alone."""
    return sample(
        policy,
        [prompt.tokens for prompt in prompts],
        _sampling(recipe, base),
        recipe.seed,
        purpose,
        range(first, first + len(prompts)),
    )


def reference_samples(sft: Role, prompts: PromptSet, recipe: Recipe, base: LoadedBase) -> list[Sample]:
    """What the SFT model says to training prompts: the scale that scores are measured on."""
    asked = prompts.of_episodes(range(recipe.rewards.normalisation_samples), recipe.seed)
    return as_samples(asked, answer(sft, asked, recipe, base, "normalisation"), base)


def as_samples(prompts: Sequence[EncodedPrompt], rollout: Rollout, base: LoadedBase) -> list[Sample]:
    """What was said, as text for reward functions and people and as tokens for reward models."""
    return [
        Sample(
            prompt=prompt.text,
            response=str(base.tokenizer.decode(response, skip_special_tokens=True)),
            prompt_tokens=prompt.tokens,
            response_tokens=tuple(response),
            finished=bool(finished),
        )
        for prompt, response, finished in zip(prompts, rollout.sequences.responses, rollout.finished, strict=True)
    ]


def with_score(
    rollout: Rollout, said: Sequence[Sample], scores: Sequence[float], least: int
) -> tuple[Rollout, list[Sample], list[float]]:
    """The responses whose score is a number. RewardError where fewer than `least` are left."""
    kept = [index for index, score in enumerate(scores) if math.isfinite(score)]
    if len(kept) == len(scores):
        return rollout, list(said), list(scores)
    if len(kept) < least:
        raise RewardError(
            f"only {len(kept)} of {len(scores)} responses were given a finite score, too few to learn from.",
            hint=NO_SCORES_MEND,
        )
    return rollout.rows(kept), [said[index] for index in kept], [scores[index] for index in kept]


def dropped_warnings(episodes: int, heldout: int) -> list[str]:
    """A sentence where responses were left out for want of a finite score, in training or in held-out looks."""
    counts = [f"{episodes} in training"] * (episodes > 0) + [f"{heldout} in held-out looks"] * (heldout > 0)
    return [f"Responses without a finite score were left out: {' and '.join(counts)}."] if counts else []


def after_missing_eos(scores: Tensor, finished: Tensor, rule: MissingEos) -> Tensor:
    """(B,) scores once the recipe's rule for responses without eos has been applied."""
    if rule.policy == "keep":
        return scores
    other = scores - rule.value if rule.policy == "subtract" else torch.full_like(scores, rule.value)
    return torch.where(finished, scores, other)


def _sampling(recipe: Recipe, base: LoadedBase) -> Sampling:
    return Sampling(
        max_new_tokens=recipe.rollout.max_new_tokens,
        temperature=recipe.rollout.temperature,
        eos=base.tokenizer.eos_token_id,
        pad=base.tokenizer.pad_token_id,
        rows=recipe.compute.rollout_rows,
        pack=recipe.compute.pack_weights,
    )
