"""Answers of a run's result to prompts that a person has: one to each, or the best of several by a reward."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from truing.core.errors import RunError
from truing.core.records import Prompt, Sample
from truing.data.datasets import PromptFile
from truing.results import LanguageModel
from truing.rewards.keywords import as_plain
from truing.rewards.sources import refuse_bad
from truing.runs.directory import RunDirectory
from truing.score import NamedReward, named_reward

ROWS = 32
"""Answers that are drawn side by side"""


@dataclass(frozen=True)
class Answer:
    """The answer to one prompt."""

    row: str
    """Where the prompt stands"""
    prompt: Any
    """Text, or a list of {role, content}"""
    response: str
    finished: bool
    """Whether the model ended it; else it was cut off"""
    score: float | None = None
    """Of a reward, where one was asked"""
    scores: list[float] | None = None
    """Of all answers that were drawn, in that order, where there were several"""


@dataclass(frozen=True)
class Drawn:
    """All answers to one prompt."""

    asked: Prompt
    answers: list[Sample]
    scores: list[float] | None = None
    """Of a reward, where one was asked"""


def sample_file(
    model: LanguageModel,
    file: PromptFile,
    tokens: int | None = None,
    temperature: float | None = None,
    best_of: int = 1,
    reward: NamedReward | None = None,
    seed: int | None = None,
) -> Iterator[Answer]:
    """Answers to the prompts of a file, in order, each as soon as it is there.

    Args:
        model: that answers.
        file: of prompts, with the columns of their rows where a reward takes these.
        tokens: of the longest answer; without it, the run's `rollout.max_new_tokens`.
        temperature: of the draws; without it, the run's.
        best_of: so many answers are drawn to each prompt, and the first of those with the highest score is given.
        reward: scores them.
        seed: of the draws; without it, the run's. Same seed, same answers.

    Raises:
        DataError: a prompt and its answer are longer than the model reads.
        RewardError: the reward fails, or has no number for an answer.
    """
    assert best_of == 1 or reward is not None
    for one in drawn_answers(model, file, tokens, temperature, best_of, reward, seed):
        yield _best(one)


def drawn_answers(
    model: LanguageModel,
    file: PromptFile,
    tokens: int | None = None,
    temperature: float | None = None,
    each: int = 1,
    reward: NamedReward | None = None,
    seed: int | None = None,
) -> Iterator[Drawn]:
    """The same with all that is drawn: so many answers to `each` prompt, which need no reward. Errors as above."""
    records = file.prompts
    sampling, seed = model.sampling(tokens, temperature, ROWS), model.recipe.seed if seed is None else seed
    asked_at = ((record.where, record.prompt) for record in records)
    model.refuse_unanswerable(asked_at, sampling.max_new_tokens, str(file.path))  # before anything is drawn
    together = max(1, ROWS // each)
    for start in range(0, len(records), together):
        part = records[start : start + together]
        asked = [record.prompt for record in part for _ in range(each)]
        ids = range(start * each, start * each + len(asked))
        answers = model.answers(asked, ids, sampling, seed, "sample")
        drawn = [replace(one, columns=part[place // each].columns) for place, one in enumerate(answers)]
        scores = None if reward is None else _scores(reward, drawn)
        for place, record in enumerate(part):
            own = slice(place * each, (place + 1) * each)
            yield Drawn(record, drawn[own], None if scores is None else scores[own])


def reward_for(run: RunDirectory, named: str | None, best_of: int) -> NamedReward | None:
    """The reward that is named, or the run's own where several answers are drawn. Errors as `named_reward`."""
    if named is None and best_of == 1:
        return None
    try:
        return named_reward(named or str(run.root))
    except RunError as error:
        if named is not None or error.code != "run/no-reward-model":
            raise
        hint = "Say what scores the answers: --reward with another run, a classifier, or file.py:function."
        what = "has no finished reward model to choose the best answer by."
        raise RunError(what, code="run/nothing-to-choose-by", where=str(run.root), hint=hint) from None


def _scores(reward: NamedReward, drawn: Sequence[Sample]) -> list[float]:
    scores = reward.score(drawn)
    refuse_bad(scores, drawn, reward.name)
    return scores


def _best(one: Drawn) -> Answer:
    prompt, where = as_plain(one.asked.prompt), one.asked.where
    if one.scores is None:
        return Answer(where, prompt, one.answers[0].response, one.answers[0].finished)
    best = max(range(len(one.answers)), key=one.scores.__getitem__)
    chosen, several = one.answers[best], list(one.scores) if len(one.answers) > 1 else None
    return Answer(where, prompt, chosen.response, chosen.finished, one.scores[best], several)
