"""Best-of-n sampling as the baseline of a sweep: what choosing among answers of the start gives, without any training.

The policy that is held against it has to do better at the same distance, or training it was not worth it.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from truing.config import with_changes
from truing.config.plan import Planned, plan
from truing.config.stages import EVERY_POLICY, EVERY_STAGE, within
from truing.core.errors import RunError
from truing.data.prompts import PromptSet
from truing.functional import best_of_n_mean
from truing.models.layout import policy_roles
from truing.pipeline.execute import on_threads, reward_files, start_of
from truing.pipeline.rows import rows_of_run
from truing.pipeline.world import with_world
from truing.rewards.answers import Answers
from truing.rewards.build import build_judges, build_reward
from truing.rewards.environment import EnvironmentProcess
from truing.rewards.sources import RewardFn
from truing.rollout.episodes import as_samples, respond
from truing.rollout.local import LocalEngine
from truing.runs.differences import comparable
from truing.runs.files import read_json, write_json
from truing.runs.interruption import Interruption
from truing.runs.memory import release_memory
from truing.runs.progress import Progress
from truing.sweep.trials import Trial

SCORE, JUDGE = "score", "judge_"
"""A measure, and how those of judges begin"""

WEIGHTS = ("normalisation.json", "sft_scores.json", ".safetensors")
"""Files of a stage that say what it made, and neither when nor where"""


@dataclass(frozen=True)
class Drawn:
    """What was measured of answers that the start gave: by name, for each prompt, a number for each of its answers."""

    made_of: str
    """Digest of all that these depend on"""
    responses: int
    """To each prompt"""
    measures: dict[str, list[list[float]]]
    """The score by which the best is chosen, and each judge's"""
    dropped: int
    """Prompts left out, since an answer to them was given no number"""

    def best_of(self, n: int) -> dict[str, float]:
        """Means of each measure for the best by score of n."""
        scores = torch.tensor(self.measures[SCORE], dtype=torch.float64)
        return {
            name: best_of_n_mean(scores, torch.tensor(values, dtype=torch.float64), n)
            for name, values in self.measures.items()
        }

    @property
    def numbers(self) -> list[int]:
        """1, 2, 4 and so on, as far as there are answers; none where no prompt has numbers for all of them."""
        return [2**power for power in range(self.responses.bit_length())] if self.measures[SCORE] else []


def has_score(stage: Planned) -> bool:
    """Whether there is a score by which the best of several answers can be chosen."""
    return stage.spec.must_be_scored or stage.spec.scored_by in stage.builds_on


def drawn_for(trial: Trial, name: str, responses: int, place: Path, progress: Progress, stop: Interruption) -> Drawn:
    """What the start of a policy stage answers to held-out prompts, so often to each, measured; kept in `place`.

    Raises:
        TruingError: a model cannot be loaded, or a reward or judge fails.
        InterruptedRunError: `stop` was set; the next time it is measured from the beginning.
    """
    run = trial.run
    stage = next(one for one in plan(with_world(trial.recipe, run)) if one.name == name)
    record = run.lineage.record(name)
    assert record is not None
    stage = replace(stage, recipe=with_changes(stage.recipe, record.chosen or {}))
    digest = _digest(stage, trial)
    kept = _kept(place)
    if kept is not None and (kept.made_of, kept.responses) == (digest, responses):
        return kept
    with on_threads(record.threads or torch.get_num_threads()):
        measures = _measured(stage, trial, responses, progress, stop)
    whole = [
        prompt
        for prompt in zip(*measures.values(), strict=True)
        if all(map(math.isfinite, chain.from_iterable(prompt)))
    ]
    columns = {measure: [prompt[place] for prompt in whole] for place, measure in enumerate(measures)}
    drawn = Drawn(digest, responses, columns, len(measures[SCORE]) - len(whole))
    with stop.defer():
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(place, asdict(drawn))
    return drawn


def _measured(
    stage: Planned, trial: Trial, responses: int, progress: Progress, stop: Interruption
) -> dict[str, list[list[float]]]:
    """By measure, for each held-out prompt, a number for each answer; NaN where there is none."""
    recipe, prompts = stage.recipe, _prompts(stage, trial, stop)
    scorer = stage.builds_on.get(stage.spec.scored_by or "")
    reward_model = None if scorer is None else reward_files(trial.run.stage(scorer))
    roles = policy_roles(recipe, start_of(stage, trial.run), reward_model)
    assert roles.reference is not None
    answers = Answers(trial.run.llm_answers, "best of n")
    judges = {JUDGE + name: judge for name, judge in build_judges(recipe, answers).items()}
    environment = EnvironmentProcess.of(recipe)
    reward = build_reward(recipe, roles, prompts, answers=answers, environment=environment)
    scorers: dict[str, RewardFn] = {SCORE: reward, **judges}
    measures: dict[str, list[list[float]]] = {measure: [[] for _ in prompts.heldout] for measure in scorers}
    engine, form = LocalEngine(roles.reference), roles.base.text_format(recipe.data)
    with progress.stage(f"best of {responses}, seed {trial.seed}", responses) as bar:
        for number in range(responses):
            first = number * len(prompts.heldout)  # each answer is an episode of its own
            rollout = respond(engine, prompts.heldout, recipe, roles.base, "best of n", first, environment)
            samples = as_samples(prompts.heldout, rollout, form)
            for measure, scorer_of in scorers.items():
                for values, value in zip(measures[measure], scorer_of.score(samples), strict=True):
                    values.append(value)
            bar.advance(number + 1, {})
            if stop.requested:
                raise stop.interrupted("what the runs made is saved")
    for process in (*judges.values(), *filter(None, [environment])):
        process.end()
    release_memory()
    return measures


def _prompts(stage: Planned, trial: Trial, stop: Interruption) -> PromptSet:
    """Those that the stage holds out."""
    rows = rows_of_run(trial.run, stage.recipe, None, stop)
    learnt = rows.learnt_prompts(stage.spec.datasets_of(stage.recipe), stage.recipe)
    return rows.prompts(stage.recipe).without(learnt) if learnt else rows.prompts(stage.recipe)


def _digest(stage: Planned, trial: Trial) -> str:
    """Of the models, the rows and the part of the recipe that the answers and their scores depend on."""
    recipe = {
        key: value for key, value in comparable(stage.recipe).items() if within(key, (*EVERY_STAGE, *EVERY_POLICY))
    }
    lineage = trial.run.lineage
    before = {
        record.name: {file: digest for file, digest in (record.files or {}).items() if file.endswith(WEIGHTS)}
        for record in lineage.stages
        if record.name in stage.builds_on.values()
    }
    inputs = {name: {**found, "path": None} for name, found in lineage.facts["inputs"].items()}
    return hashlib.sha256(json.dumps([recipe, before, inputs], sort_keys=True).encode()).hexdigest()


def _kept(place: Path) -> Drawn | None:
    """What was measured before; None where nothing is there, or nothing that can be read."""
    try:
        return TypeAdapter(Drawn).validate_python(read_json(place))
    except (RunError, ValidationError):
        return None
