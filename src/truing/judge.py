"""The report card of any reward on any file of pairs: a reward model, a classifier, a Python function, an LLM judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from truing.core.llm_usage import costs
from truing.core.records import Preference, Sample
from truing.core.results import Check, CheckVerdict, PairCard
from truing.data.chat import TextFormat, encode_completion
from truing.data.datasets import records_of
from truing.evaluation.pair_card import pair_card
from truing.rewards.llm_judge import LlmReward
from truing.rewards.sources import RewardFn
from truing.runs.directory import RunDirectory
from truing.runs.lineage import fingerprint
from truing.score import as_sample, named_reward
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
    notes: list[str]
    """What it took, where a server was asked"""


def judge(reward: str, pairs: Path, stage: str | None = None) -> Judgement:
    """The report card of a reward on pairs that it has not learnt from.

    Args:
        reward: the directory of a run, of its reward stage or of a sequence classifier, a classifier's Hub id,
            `file.py:function`, or `recipe.yaml:judge` for one of its `llm_judges`.
        pairs: a file of them, in any format that a recipe's data may have.
        stage: of a run, whose reward model; without it, the run's first.

    Raises:
        DataError: rows cannot be used.
        ModelError: there is no such directory, or the reward model in it cannot be loaded.
        RecipeError: the recipe of a judge is wrong.
        RewardError: the function cannot be imported, lies in a run or fails, a text is longer than the model reads, or
            an LLM judge gives no score.
        RunError: the run has no such reward model.
    """
    named = named_reward(reward, stage)
    judged, form = named.raw, named.form
    records: list[Preference] = records_of(pairs, "preferences", named.transcripts, columns=form is None)
    chosen = [as_sample(record.prompt, record.chosen, record.columns) for record in records]
    rejected = [as_sample(record.prompt, record.rejected, record.columns) for record in records]
    better, worse = _answers(judged, form, chosen), _answers(judged, form, rejected)
    scored = ScoredPairs(better, worse, [one.prompt for one in records], [one.source for one in records])
    card = pair_card(better.scores, worse.scores, better.lengths, worse.lengths)
    checks = report_checks(scored, card, judged, to_probe(chosen, rejected), log_odds=form is not None)
    warnings = [LEARNT_FROM.format(pairs=pairs)] if named.run and _is_learnt_from(pairs, named.run) else []
    notes = costs(judged.questions.answers.usage()) if isinstance(judged, LlmReward) else []
    return Judgement(reward, str(pairs), worst(checks), card, checks, warnings, notes)


def _is_learnt_from(pairs: Path, run: RunDirectory) -> bool:
    """Whether a file has what the run's preferences had, by content: a copy elsewhere has it too."""
    learnt, asked = run.lineage.facts["inputs"].get("data.preferences", {}), fingerprint(str(pairs))
    return any(name in learnt and learnt[name] == asked.get(name) for name in ("sha256", "files"))


def _answers(reward: RewardFn, form: TextFormat | None, samples: Sequence[Sample]) -> Answers:
    """One side, as it scores; its lengths are in the classifier's tokens, or in characters where there are none."""
    texts = [sample.response for sample in samples]
    if form is not None:
        lengths = [len(encode_completion(form, sample.prompt, sample.answer)) for sample in samples]
    else:
        lengths = list(map(len, texts))
    return Answers(texts, lengths, reward.score(samples))
