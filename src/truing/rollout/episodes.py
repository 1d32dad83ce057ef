"""Prompts answered and scored: what learning, evaluation and the scale of a score have in common."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch.nn.utils.rnn import pad_sequence

from truing.config.defaults import given
from truing.config.recipe import Recipe
from truing.core import rng
from truing.core.batches import Sequences
from truing.core.errors import RewardError
from truing.core.experience import LocalStates, Rollout
from truing.core.records import Episode, Sample, Tokens, readable
from truing.core.transfer import integers, to_device
from truing.data.chat import TextFormat, decode_response
from truing.data.encode import EncodedPrompt
from truing.data.prompts import PromptSet
from truing.models.load import LoadedBase
from truing.models.roles import Role
from truing.rollout.conversations import converse
from truing.rollout.engine import Completion, Drawing, Engine, Sampling
from truing.rollout.environment import Environment, EpisodeStart
from truing.rollout.local import LocalEngine

NO_SCORES_HINT = "Look at the reward and the judges; rewards.on_bad_score: stop names the first that has no score."


def respond(
    engine: Engine,
    prompts: Sequence[EncodedPrompt],
    recipe: Recipe,
    base: LoadedBase,
    purpose: str,
    first: int = 0,
    environment: Environment | None = None,
) -> Rollout:
    """One response to each prompt; the draws depend on the purpose and the episode's number alone, from `first`.

    With an `environment`, an episode to each. Its seed there goes by the place of the prompt alone, so that one that is
    asked again, from another `first`, meets the same.
    """
    askings = range(len(prompts))
    drawing = begin_responses(engine, prompts, recipe, base, purpose, first, askings, environment)
    return drawn_rollout(drawing, prompts, base, first)


def begin_responses(
    engine: Engine,
    prompts: Sequence[EncodedPrompt],
    recipe: Recipe,
    base: LoadedBase,
    purpose: str,
    first: int,
    askings: Sequence[int],
    environment: Environment | None = None,
) -> Drawing:
    """The same, not waited for: `drawn_rollout` has them. Those with the same of the `askings` meet one environment."""
    sampling = Sampling(
        max_new_tokens=recipe.rollout.max_new_tokens,
        temperature=recipe.rollout.temperature,
        ends=base.endings.tokens,
        pad=base.tokenizer.pad_token_id,
        rows=given(recipe.compute.rollout_rows),
        read_at_once=given(recipe.compute.score_tokens),
        pack=recipe.compute.pack_weights,
    )
    ids = range(first, first + len(prompts))
    if environment is None:
        return engine.begin([prompt.tokens for prompt in prompts], ids, sampling, recipe.seed, purpose)
    seeds = [rng.derived_seed(recipe.seed, f"{purpose}, environment", asking) for asking in askings]
    begun = [EpisodeStart(*one) for one in zip(ids, prompts, seeds, strict=True)]
    form = base.text_format(recipe.data)
    return Drawing(partial(converse, engine, environment, begun, form, sampling, recipe.seed, purpose))


def drawn_rollout(
    drawing: Drawing, prompts: Sequence[EncodedPrompt], base: LoadedBase, first: int = 0, group: int = 1
) -> Rollout:
    """What `begin_responses` began, once it is there; so many neighbours, from the episode `first`, are a group."""
    ids = range(first, first + len(prompts))
    tokens, pad = [prompt.tokens for prompt in prompts], base.tokenizer.pad_token_id
    return as_rollout(tokens, drawing.completions(), [number // group for number in ids], pad)


def as_rollout(
    prompts: Sequence[Sequence[int]], completions: Sequence[Completion], groups: Sequence[int], pad: int
) -> Rollout:
    """Completions of prompts as one padded batch, on the device they were drawn on."""
    device = completions[0].logprobs.device
    prefix_states = [one.prefix_states for one in completions if one.prefix_states is not None]
    hidden = [one.hidden for one in completions if one.hidden is not None]
    engine_logprobs = [one.engine_logprobs for one in completions if one.engine_logprobs is not None]
    drawn_logprobs = [one.drawn_logprobs for one in completions if one.drawn_logprobs is not None]
    responses = [one.tokens.tolist() for one in completions]
    drawn = [one.drawn for one in completions if one.drawn is not None]
    episodes = [one.episode for one in completions if one.episode is not None]
    return Rollout(
        sequences=Sequences.collate(
            prompts, responses, pad, prefix_states=prefix_states or None, drawn=drawn or None
        ).to(device),
        logprobs=pad_sequence([one.logprobs for one in completions], batch_first=True),
        finished=to_device(torch.tensor([one.finished for one in completions]), device),
        groups=integers(groups, device),
        states=LocalStates(pad_sequence(hidden, batch_first=True)) if hidden else None,
        engine_logprobs=pad_sequence(engine_logprobs, batch_first=True) if engine_logprobs else None,
        drawn_logprobs=pad_sequence(drawn_logprobs, batch_first=True) if drawn_logprobs else None,
        episodes=episodes or None,
    )


def as_samples(prompts: Sequence[EncodedPrompt], rollout: Rollout, form: TextFormat) -> list[Sample]:
    """The responses, as text for reward functions and people and as tokens for reward models."""
    said = rollout.sequences.responses, rollout.finished.tolist()
    episodes: Sequence[Episode | None] = rollout.episodes or [None] * len(prompts)
    return [
        Sample(
            prompt=prompt.text,
            response=_text_of(form, prompt, tuple(response), episode),
            prompt_tokens=prompt.tokens,
            response_tokens=tuple(response),
            finished=finished,
            columns=prompt.columns,
            episode=episode,
        )
        for prompt, response, finished, episode in zip(prompts, *said, episodes, strict=True)
    ]


def _text_of(form: TextFormat, prompt: EncodedPrompt, response: Tokens, episode: Episode | None) -> str:
    """A response as text: of an episode in messages, its turns, of which the first alone is not named."""
    in_messages = not isinstance(prompt.text, str)
    if episode is None or not in_messages:
        return decode_response(form, prompt.tokens, response, in_messages)
    first, *others = episode.turns
    return "\n\n".join([first.content, *([readable(tuple(others))] if others else [])])


def reference_samples(
    reference: Role, prompts: PromptSet, recipe: Recipe, base: LoadedBase, environment: Environment | None = None
) -> list[Sample]:
    """Responses of the model that learning begins from to training prompts: the scale that scores are measured on."""
    asked = prompts.of_episodes(range(recipe.rewards.normalisation_samples), recipe.seed)
    rollout = respond(LocalEngine(reference), asked, recipe, base, "normalisation", environment=environment)
    samples = as_samples(asked, rollout, base.text_format(recipe.data))
    return [one for one in samples if one.episode is None or math.isfinite(one.episode.reward)]


def with_score(
    rollout: Rollout, samples: Sequence[Sample], scores: Sequence[float], least: int
) -> tuple[Rollout, list[Sample], list[float]]:
    """The responses whose score is a number. RewardError where fewer than `least` are left."""
    kept = [index for index, score in enumerate(scores) if math.isfinite(score)]
    if len(kept) == len(scores):
        return rollout, list(samples), list(scores)
    if len(kept) < least:
        what = f"only {len(kept)} of {len(scores)} responses were given a finite score, too few to learn from."
        raise RewardError(what, code="rewards/too-few-scores", hint=NO_SCORES_HINT)
    return rollout.rows(kept), [samples[index] for index in kept], [scores[index] for index in kept]


def dropped_warnings(episodes: int, heldout: int) -> list[str]:
    """A sentence where responses were left out for want of a finite score, in training or in evaluation."""
    counts = [f"{episodes} in training"] * (episodes > 0) + [f"{heldout} in held-out evaluations"] * (heldout > 0)
    return [f"Responses without a finite score were left out: {' and '.join(counts)}."] if counts else []
