"""Scores of the reward model of a run, or of any reward that a person names, for texts that they have."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

from truing.config import load_recipe, with_changes
from truing.config.plan import Planned
from truing.config.recipe import Recipe
from truing.config.sections import Base, Compute, Data
from truing.core.errors import ModelError, RewardError, RunError
from truing.core.normalisation import Normalisation, scales_of
from truing.core.records import Demonstration, Sample, Text
from truing.core.text import nearest
from truing.data.chat import TextFormat
from truing.data.datasets import records_of
from truing.data.read import HUB_ID
from truing.models.fetched import directory_of
from truing.models.layout import base_to_train, reward_members
from truing.models.save import load_member_scores, load_normalisation
from truing.pipeline.execute import reward_files, start_of
from truing.pipeline.world import on_files
from truing.rewards.combined import MembersReward
from truing.rewards.llm_judge import LlmReward
from truing.rewards.python_function import FunctionReward
from truing.rewards.sources import ClassifierReward, RewardFn
from truing.runs.directory import RunDirectory, StageDirectory
from truing.runs.finished import what_is_finished
from truing.runs.no_run import RECORD
from truing.runs.received import lies_in_a_run, received_plan

TOKENS = 4096
"""In one forward"""


def score_file(run: RunDirectory, rows: Path, stage: str | None = None) -> Iterator[tuple[str, float]]:
    """Where each row of a file stands, and the score of its completion: normalised on samples of the SFT model.

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
    reward = load_stage_reward(run, stage)
    records: list[Demonstration] = records_of(rows, "demonstrations", reward.recipe.data.transcripts)
    samples = [as_sample(record.prompt, record.completion) for record in records]
    return zip([record.where for record in records], reward.normalised(samples), strict=True)


@dataclass(frozen=True)
class StageReward:
    """What a reward stage of a run made: a reward model, or several of which the mean is taken."""

    models: list[ClassifierReward]
    directory: StageDirectory
    recipe: Recipe
    """The stage's, without consents"""

    @property
    def raw(self) -> RewardFn:
        """Gives scores whose differences are log-odds."""
        return MembersReward(self.models, [Normalisation()] * len(self.models))

    def normalised(self, samples: Sequence[Sample]) -> list[float]:
        """The scores on the scale of the SFT model's."""
        if len(self.models) == 1:
            normalisation = load_normalisation(self.directory.model) or Normalisation()
            return normalisation.apply(self.models[0].score(samples))
        of_members = load_member_scores(self.directory.member_scores, len(self.models))
        together = MembersReward(self.models, scales_of(of_members.T.tolist()))
        return together.normalisation(of_members).apply(together.score(samples))


@dataclass(frozen=True)
class NamedReward:
    """What a person means by the name of a reward."""

    name: str
    raw: RewardFn
    """Of a reward model, differences are log-odds"""
    form: TextFormat | None = None
    """How it reads text; None of a function"""
    transcripts: bool = False
    """Whether transcripts are messages to it"""
    run: RunDirectory | None = None
    stage: StageReward | None = None
    """Both of a run's reward model"""

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """On the scale that it is used on: of a run's reward model, the SFT model's."""
        return self.raw.score(samples) if self.stage is None else self.stage.normalised(samples)


def named_reward(reward: str, stage: str | None = None) -> NamedReward:
    """A reward by its name.

    Args:
        reward: the directory of a run, of its reward stage or of a sequence classifier, a classifier's Hub id,
            `file.py:function`, or `recipe.yaml:judge` for one of its `llm_judges`.
        stage: of a run, whose reward model; without it, the run's first.

    Raises:
        ModelError: the reward model cannot be loaded.
        RecipeError: the recipe of a judge is wrong.
        RewardError: the function cannot be imported or lies in a run, or there is no such judge.
        RunError: the run has no such reward model.
    """
    file, _, name = reward.rpartition(":")
    if file.endswith(".py"):
        _refuse_part_of_a_run(reward, Path(file), "would run here")
        return NamedReward(reward, FunctionReward.load(reward, Recipe()))
    if file.endswith((".yaml", ".yml")):
        _refuse_part_of_a_run(reward, Path(file), "would have your texts sent to a server of their choice")
        return NamedReward(reward, _llm_judge(reward, Path(file), name))
    path = Path(reward)
    for root in (path, path.parent, path.parent.parent):
        if (root / RECORD).exists():
            below = path.relative_to(root).parts
            run = RunDirectory(root)
            made = load_stage_reward(run, stage or next(iter(below), None))
            return NamedReward(reward, made.raw, made.models[0].form, made.recipe.data.transcripts, run, made)
    refuse_nowhere(reward, "a run, a classifier's directory or Hub id, or file.py:function")
    model = ClassifierReward.load(reward, torch.device("cpu"), TOKENS, date.fromisoformat(Data().date))
    return NamedReward(reward, model, model.form)


def refuse_nowhere(named: str, takes: str) -> None:
    """A mistyped runs/mine has the form of a Hub id too; it is none where there is a directory runs.

    Args:
        named: what may be a directory or a Hub id.
        takes: what may be named, for the hint.

    Raises:
        ModelError: it is a path, and no directory is there.
    """
    path = Path(named)
    is_hub_id = HUB_ID.fullmatch(named) is not None and not (path.parent != Path() and os.path.isdir(path.parent))
    is_path = os.path.isfile(path) or not is_hub_id
    if os.path.isdir(path) or not is_path or directory_of(Base(path=named)) is not None:
        return
    close = nearest(path.name, [root.parent.name for root in path.parent.glob(f"*/{RECORD}")])
    meant = f"Did you mean {path.with_name(close)}? " if close else ""
    hint = f"{meant}Name {takes}; paths start at {Path.cwd()}."
    raise ModelError("there is no such directory.", code="model/no-such-path", where=named, hint=hint)


def _llm_judge(reward: str, recipe_file: Path, name: str) -> LlmReward:
    """That of a recipe; an answer that says nothing ends what it is asked for, whatever the recipe does in a run."""
    recipe = load_recipe(recipe_file)
    if name not in recipe.llm_judges:
        there, meant = ", ".join(recipe.llm_judges), nearest(name, recipe.llm_judges)
        hint = f"Did you mean {recipe_file}:{meant}?" if meant else "Describe it in llm_judges of the recipe."
        what = f"names no judge of llm_judges; there {f'are {there}' if there else 'are none'}."
        raise RewardError(what, code="rewards/no-llm-judge", where=reward, hint=hint)
    return LlmReward.load(name, with_changes(recipe, {"rewards.on_bad_score": "stop"}))


def _refuse_part_of_a_run(reward: str, file: Path, threat: str) -> None:
    """Naming it is no consent: who made the run put it there."""
    if lies_in_a_run(file):
        what = f"lies in a run, whose maker may be somebody else, and {threat}."
        hint = "Look at it; then copy the file out of the run and name the copy."
        raise RewardError(what, code="rewards/in-a-run", where=reward, hint=hint)


def load_stage_reward(run: RunDirectory, stage: str | None = None) -> StageReward:
    """The reward model of a run's stage, or of its first.

    Raises:
        ModelError: it cannot be loaded.
        RunError: there is no such one that is finished.
    """
    made = [planned for planned in received_plan(run) if planned.spec.makes == "reward model"]
    finished = [planned.name for planned in made if run.lineage.stage_state(planned.name) == "done"]
    name = stage or next(iter(finished), None)
    if name is None or name not in finished:
        what = f"has no finished reward model{f' of a stage {stage}' if stage else ''}."
        hint = what_is_finished(finished) if made else "Its recipe has no stage that makes one."
        raise RunError(what, code="run/no-reward-model", where=str(run.root), hint=hint)
    planned = on_files(next(planned for planned in made if planned.name == name), run)
    directory, today = run.stage(name), date.fromisoformat(planned.recipe.data.date)
    if directory.members:
        return StageReward(_load_members(planned, run), directory, planned.recipe)
    tools = json.dumps(planned.recipe.data.tools)
    model = ClassifierReward.load(str(directory.model), torch.device("cpu"), TOKENS, today, tools=tools)
    return StageReward([model], directory, planned.recipe)


def _load_members(planned: Planned, run: RunDirectory) -> list[ClassifierReward]:
    """Adapters on what the stage began with, or models."""
    recipe, directory = planned.recipe, run.stage(planned.name)
    start, by_adapter = start_of(planned, run).model_copy(update={"quantize": "none"}), recipe.roles == "shared"
    compute = Compute(device="cpu", dtype="float32")
    base = base_to_train(start, compute, by_adapter)
    beside = base.role(adapters=base.adapters(recipe.lora, recipe.seed) if by_adapter else None)
    shown, path = (date.fromisoformat(recipe.data.date), json.dumps(recipe.data.tools)), str(directory.model)
    roles = reward_members(beside, base, reward_files(directory), compute)
    return [ClassifierReward.of_role(role, base.endings, path, TOKENS, *shown) for role in roles]


def as_sample(prompt: Text, completion: Text, columns: str = "") -> Sample:
    """A row as a response that has ended, without tokens: a classifier and a function read none of ours."""
    text, more = (completion, "") if isinstance(completion, str) else (completion[-1].content, completion[-1].more)
    return Sample(prompt, text, (), (), finished=True, columns=columns, more=more)
