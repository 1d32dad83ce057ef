"""What a stage measured on held-out rows, each number with its interval and a sentence that says what it means."""

from dataclasses import dataclass

from truing.core import metrics
from truing.core.metrics import Metric
from truing.core.results import Change, Interval, Measure, PairCard, SftResult, StageResult
from truing.report.change import change_in_words
from truing.report.wording import arrow, interval, listed, number, share, whole


@dataclass(frozen=True)
class Fact:
    """A number with its name and a sentence that says what it means."""

    title: str
    value: str
    detail: str
    meaning: str
    measured: list[Measure]
    """What is written out above"""


def facts(result: StageResult, pairs: str) -> list[Fact]:
    """A line a metric; metrics that were not measured are left out. `pairs` are what its rewards were measured on."""
    found = [*_language_model(result.sft), *_card(result.card, pairs), _chosen(result.chosen_logprob), _scale(result)]
    return [fact for fact in found if fact]


def _language_model(result: SftResult) -> list[Fact | None]:
    before, after = result.heldout_loss_before, result.heldout_loss
    if before is None or after is None:
        return []
    meaning = f"{metrics.LOSS.definition} On {whole(result.heldout_rows)} held-out rows."
    measured = [Measure("heldout_loss_before", before), Measure("heldout_loss", after)]
    return [
        Fact(metrics.LOSS.heading, arrow(before, after), "", meaning, measured),
        _fact(metrics.PERPLEXITY, result.heldout_perplexity),
    ]


def _card(card: PairCard, pairs: str) -> list[Fact | None]:
    if card.heldout_accuracy is None:
        return []
    return [
        _accuracy(card, card.heldout_accuracy, pairs),
        _fact(metrics.LONGER_WINS, card.longer_wins_accuracy, card.longer_wins_ci95),
        _fact(metrics.PAIR_LOSS, card.heldout_loss),
        _fact(metrics.ECE, card.ece),
        _fact(metrics.SCORE_GAP, card.score_gap_mean),
        _fact(metrics.LENGTH_CORRELATION, card.reward_length_correlation),
    ]


def _fact(metric: Metric, value: float | None, ends: Interval | None = None) -> Fact | None:
    if value is None:
        return None
    form = share if metric.percent else number
    measured = [Measure(metric.name, value, ends)]
    return Fact(metric.title, form(value), interval(ends, form), metric.definition, measured)


def _accuracy(card: PairCard, accuracy: float, pairs: str) -> Fact:
    """Beside chance and beside 'longer wins', in a sentence."""
    ends = card.heldout_accuracy_ci95
    longer = card.longer_wins_accuracy
    meaning = metrics.ACCURACY.definition.replace("of pairs", f"of the {whole(card.heldout_pairs)} {pairs}")
    if ends:
        rivals = {"chance (50%)": 0.5} | ({} if longer is None else {"'longer wins'": longer})
        beaten = [name for name, accuracy_of_it in rivals.items() if ends[0] > accuracy_of_it]
        unbeaten = [name for name in rivals if name not in beaten]
        meaning += f" The interval lies above {listed(beaten)}." if beaten else ""
        meaning += f" It is not clear of {listed(unbeaten)}." if unbeaten else ""
    measured = [Measure(metrics.ACCURACY.name, accuracy, ends)]
    return Fact(metrics.ACCURACY.title, share(accuracy), interval(ends, share), meaning, measured)


def _chosen(change: Change | None) -> Fact | None:
    """The log-probability of preferred responses, before and after."""
    if change is None:
        return None
    metric = metrics.CHOSEN_LOGPROB
    measured = [
        Measure(f"{metric.name}_first", change.first, change.first_ci95),
        Measure(f"{metric.name}_last", change.last, change.last_ci95),
    ]
    return Fact(metric.heading, arrow(change.first, change.last), change_in_words(change), metric.definition, measured)


def _scale(result: StageResult) -> Fact | None:
    if result.score_mean is None or result.score_std is None:
        return None
    mean, deviation = result.score_mean, result.score_std
    value = f"{number(mean)} ± {number(deviation)}"
    measured = [Measure("score_mean", mean), Measure("score_std", deviation)]
    return Fact(metrics.SCORE_SCALE.title, value, "", metrics.SCORE_SCALE.definition, measured)
