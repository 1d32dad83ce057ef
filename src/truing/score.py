"""Scores of the reward model of a run, for texts that a person has."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import torch

from truing.config.recipe import Recipe
from truing.core.errors import RunError
from truing.core.normalisation import Normalisation
from truing.core.records import Demonstration, Sample, Text
from truing.data.datasets import records_of
from truing.models.save import load_normalisation
from truing.rewards.sources import ClassifierReward
from truing.runs.directory import RunDirectory
from truing.runs.received import received_plan

TOKENS = 4096
"""In one forward"""


def score_file(run: RunDirectory, rows: Path, stage: str | None = None) -> Iterator[tuple[str, float]]:
    """Where each row of a file stands, and the score of its completion: normalised, as PPO is given it.

    A row is a demonstration: prompt and completion, or messages, of which the last is scored. It counts as a response
    that has ended.

    Args:
        run: with a finished reward model.
        rows: a file of them, in any format that a recipe's data may have.
        stage: whose reward model; without it, the run's first.

    Raises:
        DataError: rows cannot be used.
        ModelError: the reward model cannot be loaded.
        RunError: the run has no such reward model.
    """
    reward, recipe = load_reward_model(run, stage)
    records: list[Demonstration] = records_of(rows, "demonstrations", recipe.data.transcripts)
    normalisation = load_normalisation(Path(reward.where)) or Normalisation()
    samples = [as_sample(record.prompt, record.completion) for record in records]
    scores = normalisation.apply(reward.score(samples))
    return zip([record.where for record in records], scores, strict=True)


def load_reward_model(run: RunDirectory, stage: str | None = None) -> tuple[ClassifierReward, Recipe]:
    """The reward model of a run's stage, or of its first, and the stage's recipe without consents.

    Raises:
        ModelError: it cannot be loaded.
        RunError: there is no such one that is finished.
    """
    made = [planned for planned in received_plan(run) if planned.spec.makes == "reward model"]
    finished = [planned.name for planned in made if run.lineage.stage_state(planned.name) == "done"]
    name = stage or next(iter(finished), None)
    if name is None or name not in finished:
        what = f"has no finished reward model{f' of a stage {stage}' if stage else ''}."
        hint = f"Finished: {', '.join(finished) or 'none'}. Choose with --stage."
        raise RunError(what, code="run/no-reward-model", where=str(run.root), hint=hint)
    recipe = next(planned.recipe for planned in made if planned.name == name)
    place, today = run.stage(name).model, date.fromisoformat(recipe.data.date)
    return ClassifierReward.load(str(place), torch.device("cpu"), TOKENS, today), recipe


def as_sample(prompt: Text, completion: Text) -> Sample:
    """A row as a response that has ended, in text alone: a classifier and a function read no tokens of ours."""
    response = completion if isinstance(completion, str) else completion[-1].content
    return Sample(prompt, response, (), (), finished=True)
