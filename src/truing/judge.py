"""The report card of any reward on any file of pairs: a run's reward model, a classifier, or a Python function."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

from truing.config.recipe import Recipe
from truing.config.sections import Base, Data
from truing.core.errors import ModelError, RewardError
from truing.core.records import Preference, Sample
from truing.core.results import Check, CheckVerdict, PairCard
from truing.core.text import nearest
from truing.data.chat import TextFormat, encode_completion
from truing.data.datasets import records_of
from truing.data.read import HUB_ID
from truing.evaluation.pair_card import pair_card
from truing.models.fetched import directory_of
from truing.rewards.python_function import FunctionReward
from truing.rewards.sources import ClassifierReward, RewardFn
from truing.runs.directory import RECORD, RunDirectory
from truing.runs.lineage import fingerprint
from truing.runs.received import lies_in_a_run
from truing.score import TOKENS, as_sample, load_stage_reward
from truing.trust.card import report_checks, worst
from truing.trust.pairs import Answers, ScoredPairs
from truing.trust.probes import to_probe

LEARNT_FROM = (
    "{pairs} has the pairs that the run learnt from, those that it held out among them, so what is said of held-out "
    "pairs here flatters. The card of its held-out pairs alone is in its report; here, name pairs that it has not seen."
)


@dataclass(frozen=True)
class Judgement:
    """What a reward was found to be."""

    reward: str
    pairs: str
    """The file"""
    verdict: CheckVerdict
    """The worst of the checks"""
    card: PairCard
    checks: list[Check]
    warnings: list[str]
    """What takes away from all of it"""


def judge(reward: str, pairs: Path, stage: str | None = None) -> Judgement:
    """The report card of a reward on pairs that it has not learnt from.

    Args:
        reward: the directory of a run, of its reward stage or of a sequence classifier, a classifier's Hub id, or
            `file.py:function`.
        pairs: a file of them, in any format that a recipe's data may have.
        stage: of a run, whose reward model; without it, the run's first.

    Raises:
        DataError: rows cannot be used.
        ModelError: there is no such directory, or the reward model in it cannot be loaded.
        RewardError: the function cannot be imported, lies in a run or fails, or a text is longer than the model reads.
        RunError: the run has no such reward model.
    """
    judged, form, transcripts, run = _reward_of(reward, stage)
    records: list[Preference] = records_of(pairs, "preferences", transcripts, columns=form is None)
    chosen = [as_sample(record.prompt, record.chosen, record.columns) for record in records]
    rejected = [as_sample(record.prompt, record.rejected, record.columns) for record in records]
    better, worse = _answers(judged, form, chosen), _answers(judged, form, rejected)
    scored = ScoredPairs(better, worse, [one.prompt for one in records], [one.source for one in records])
    card = pair_card(better.scores, worse.scores, better.lengths, worse.lengths)
    checks = report_checks(scored, card, judged, to_probe(chosen, rejected), log_odds=form is not None)
    warnings = [LEARNT_FROM.format(pairs=pairs)] if run and _is_learnt_from(pairs, run) else []
    return Judgement(reward, str(pairs), worst(checks), card, checks, warnings)


def _is_learnt_from(pairs: Path, run: RunDirectory) -> bool:
    """Whether a file has what the run's preferences had, by content: a copy elsewhere has it too."""
    learnt, asked = run.lineage.facts["inputs"].get("data.preferences", {}), fingerprint(str(pairs))
    return any(name in learnt and learnt[name] == asked.get(name) for name in ("sha256", "files"))


def _reward_of(reward: str, stage: str | None) -> tuple[RewardFn, TextFormat | None, bool, RunDirectory | None]:
    """What is meant, how it reads text where it is a model, whether transcripts are messages to it, and its run."""
    file, _, _ = reward.rpartition(":")
    if file.endswith(".py"):
        _refuse_code_of_a_run(reward, Path(file))
        return FunctionReward.load(reward, Recipe()), None, False, None
    path = Path(reward)
    for root in (path, path.parent, path.parent.parent):
        if (root / RECORD).exists():
            below = path.relative_to(root).parts
            run = RunDirectory(root)
            made = load_stage_reward(run, stage or next(iter(below), None))
            return made.raw, made.models[0].form, made.recipe.data.transcripts, run
    _refuse_nowhere(reward)
    model = ClassifierReward.load(reward, torch.device("cpu"), TOKENS, date.fromisoformat(Data().date))
    return model, model.form, False, None


def _refuse_nowhere(reward: str) -> None:
    """A mistyped runs/mine has the form of a Hub id too; it is none where there is a directory runs.

    Raises:
        ModelError: it is a path, and nothing is there.
    """
    path = Path(reward)
    is_path = HUB_ID.fullmatch(reward) is None or (path.parent != Path() and os.path.isdir(path.parent))
    if os.path.exists(path) or not is_path or directory_of(Base(path=reward)) is not None:
        return
    close = nearest(path.name, [root.parent.name for root in path.parent.glob(f"*/{RECORD}")])
    meant = f"Did you mean {path.with_name(close)}? " if close else ""
    hint = f"{meant}Name a run, a classifier's directory or Hub id, or file.py:function; paths start at {Path.cwd()}."
    raise ModelError("there is no such directory.", code="model/no-such-path", where=reward, hint=hint)


def _refuse_code_of_a_run(reward: str, file: Path) -> None:
    """Naming it is no consent: who made the run put it there."""
    if lies_in_a_run(file):
        what = "lies in a run, whose maker may be somebody else, and would run here."
        hint = "Look at it; then copy the file out of the run and name the copy."
        raise RewardError(what, code="rewards/in-a-run", where=reward, hint=hint)


def _answers(reward: RewardFn, form: TextFormat | None, samples: Sequence[Sample]) -> Answers:
    """One side, as it scores; its lengths are in the classifier's tokens, or in characters where there are none."""
    texts = [sample.response for sample in samples]
    if form is not None:
        lengths = [len(encode_completion(form, sample.prompt, sample.response)) for sample in samples]
    else:
        lengths = list(map(len, texts))
    return Answers(texts, lengths, reward.score(samples))
