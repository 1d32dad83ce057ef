"""Several runs side by side: what differs between them, what came of each, their policies' figures and answers.

Files are read, and no model.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from truing.report.comparison import OTHER_PROMPTS, Line, asked_alike, comparison, label
from truing.report.exchanges import Samples, samples
from truing.report.run_files import RunFiles, StageFiles, read_run
from truing.report.stages import policies, scorer_of, start_of
from truing.report.verdict import Tone, verdicts
from truing.runs.differences import comparable, differences, input_differences, without_places
from truing.runs.directory import RunDirectory

OTHER_REWARD = "The scores are of different rewards, on scales of their own: compare what judges say, not the scores."
OTHER_START = "The policies began with different models, so each KL is from another reference."


@dataclass(frozen=True)
class Policy:
    """One policy of one of the runs."""

    run: str
    """As it was named"""
    stage: str
    label: str
    tone: Tone
    verdict: str


@dataclass(frozen=True)
class StageOutcome:
    """A stage of one of the runs."""

    run: str
    stage: str
    state: str
    outcome: str


@dataclass(frozen=True)
class Differing:
    """Recipe options and inputs of a run that differ from the first run's, in words."""

    run: str
    differences: list[str]


@dataclass(frozen=True)
class SideBySide:
    """All that is told of several runs."""

    differing: list[Differing]
    """One for each run but the first"""
    warnings: list[str]
    """What cannot be compared"""
    stages: list[StageOutcome]
    policies: list[Policy]
    figures: list[Line]
    """A cell for each policy"""
    samples: Samples
    """The answer of each policy"""


def compare(roots: Sequence[Path]) -> SideBySide:
    """From the files of runs, finished or not.

    Raises:
        RunError: one of them is no run, or a file of it is damaged.
    """
    runs = {str(root): read_run(root) for root in roots}
    trained = [(name, run, stage) for name, run in runs.items() for stage in policies(run)]
    labels = [f"{name}: {label(stage)}" if len(runs) > 1 else label(stage) for name, _, stage in trained]
    stages = [stage for _, _, stage in trained]
    told = [one for run in runs.values() if policies(run) for one in verdicts(run)]
    first, *others = roots
    return SideBySide(
        differing=[Differing(str(root), _differences(first, root)) for root in dict.fromkeys(others) if root != first],
        warnings=_warnings([(run, stage) for _, run, stage in trained]),
        stages=[
            StageOutcome(name, stage.name, stage.state, stage.outcome)
            for name, run in runs.items()
            for stage in run.stages
        ],
        policies=[
            Policy(name, stage.name, shown, one.tone, one.headline)
            for (name, _, stage), shown, one in zip(trained, labels, told, strict=True)
        ],
        figures=comparison(stages),
        samples=samples(stages, labels),
    )


def _differences(first: Path, other: Path) -> list[str]:
    """Options first, then data and models."""
    old, new = RunDirectory(first), RunDirectory(other)
    before, after = (run.lineage.facts["inputs"] for run in (old, new))
    shared = [name for name in after if name in before]
    inputs = [one for name in shared for one in input_differences(name, before[name], after[name])]
    return differences(comparable(old.recorded), comparable(new.recorded)) + inputs


def _warnings(trained: Sequence[tuple[RunFiles, StageFiles]]) -> list[str]:
    """What the figures of these policies do not say beside each other."""
    rewards = [_reward(run, stage) for run, stage in trained]
    starts = [_model_files(start_of(stage, run)) or _contents(run, ("base",)) for run, stage in trained]
    found = {OTHER_REWARD: rewards, OTHER_START: starts}
    told = [warning for warning, each in found.items() if any(one != each[0] for one in each[1:])]
    return told if asked_alike([stage for _, stage in trained]) else [*told, OTHER_PROMPTS]


def _reward(run: RunFiles, stage: StageFiles) -> Any:
    """What a policy's score is of: the rewards of its recipe, the content of what they name, and the reward model's."""
    variants = run.recipe.get("variants")
    own = variants.get(stage.record.variant) if isinstance(variants, dict) else None
    changes = {key: value for key, value in (own or {}).items() if key.startswith(("rewards.", "llm_judges."))}
    rewards, judges = run.recipe.get("rewards"), run.recipe.get("llm_judges")
    asked = {name: one for name, one in (judges or {}).items() if f'"{name}"' in json.dumps(rewards, default=str)}
    named = _contents(run, ("rewards.sources.", *(f"llm_judges.{judge}." for judge in asked)))
    options = [without_places(one) for one in ({"rewards": rewards}, changes, {"llm_judges": asked})]
    return options, named, _model_files(scorer_of(stage, run))


def _contents(run: RunFiles, beginnings: tuple[str, ...]) -> dict[str, Any]:
    """What is on record of the run's inputs whose names begin so, but for where they lay."""
    return {
        name: {key: value for key, value in found.items() if key != "path"}
        for name, found in run.lineage.facts["inputs"].items()
        if name.startswith(beginnings)
    }


def _model_files(stage: StageFiles | None) -> dict[str, str]:
    """SHA-256 of what a stage left of its model."""
    files = (stage.record.files if stage else None) or {}
    return {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
