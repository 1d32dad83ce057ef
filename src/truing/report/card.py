"""The figures of one stage, each with its interval and a sentence that says what it means."""

from collections.abc import Callable
from dataclasses import dataclass

from truing.report.glossary import GLOSSARY
from truing.report.run_files import StageFiles, ends, figure
from truing.report.wording import arrow, interval, listed, number, share, whole


@dataclass(frozen=True)
class Fact:
    """A figure with its name and a sentence that says what it means."""

    title: str
    value: str
    detail: str
    meaning: str


def no_facts(_: StageFiles) -> list[Fact]:
    """Nothing that belongs to one stage alone."""
    return []


def sft_facts(stage: StageFiles) -> list[Fact]:
    """What held-out demonstrations say."""
    return _measured([_heldout_loss(stage), _fact(stage, "perplexity", "heldout_perplexity", number)])


def reward_facts(stage: StageFiles) -> list[Fact]:
    """The report card, a line a figure; figures that were not measured are left out."""
    return _measured([*_pair_facts(stage), _scale(stage)])


def dpo_facts(stage: StageFiles) -> list[Fact]:
    """The same card, of the policy taken as a reward model."""
    return _measured(_pair_facts(stage))


def _measured(facts: list[Fact | None]) -> list[Fact]:
    return [fact for fact in facts if fact]


def _pair_facts(stage: StageFiles) -> list[Fact | None]:
    return [
        _accuracy(stage),
        _fact(stage, "longer_wins", "longer_wins_accuracy", share, "longer_wins_ci95"),
        _fact(stage, "pair_loss", "heldout_loss", number),
        _fact(stage, "ece", "ece", share),
        _fact(stage, "score_gap_mean", "score_gap_mean", number),
        _fact(stage, "reward_length_correlation", "reward_length_correlation", number),
    ]


def _fact(
    stage: StageFiles, term: str, key: str, form: Callable[[float], str], ci_key: str | None = None
) -> Fact | None:
    value = figure(stage.result, key)
    if value is None:
        return None
    detail = interval(ends(stage.result, ci_key), form is share) if ci_key else ""
    return Fact(GLOSSARY[term].title, form(value), detail, GLOSSARY[term].definition)


def _heldout_loss(stage: StageFiles) -> Fact | None:
    before, after = figure(stage.result, "heldout_loss_before"), figure(stage.result, "heldout_loss")
    if before is None or after is None:
        return None
    rows, meaning = figure(stage.result, "heldout_rows"), GLOSSARY["loss"].definition
    return Fact(GLOSSARY["loss"].heading, arrow(before, after), "", f"{meaning} On {whole(rows)} held-out rows.")


def _accuracy(stage: StageFiles) -> Fact | None:
    """Beside chance and beside 'longer wins', in a sentence."""
    row = stage.result
    accuracy, bounds = figure(row, "heldout_accuracy"), ends(row, "heldout_accuracy_ci95")
    if accuracy is None:
        return None
    pairs, longer = figure(row, "heldout_pairs"), figure(row, "longer_wins_accuracy")
    meaning = f"Share of the {whole(pairs)} held-out pairs whose preferred side scores higher; ties count half."
    if bounds:
        rivals = {"chance (50%)": 0.5} | ({} if longer is None else {"'longer wins'": longer})
        beaten = [name for name, accuracy_of_it in rivals.items() if bounds[0] > accuracy_of_it]
        unbeaten = [name for name in rivals if name not in beaten]
        meaning += f" The interval lies above {listed(beaten)}." if beaten else ""
        meaning += f" It is not clear of {listed(unbeaten)}." if unbeaten else ""
    return Fact(GLOSSARY["pair_accuracy"].title, share(accuracy), interval(bounds, True), meaning)


def _scale(stage: StageFiles) -> Fact | None:
    mean, deviation = figure(stage.result, "score_mean"), figure(stage.result, "score_std")
    if mean is None or deviation is None:
        return None
    term = GLOSSARY["score_scale"]
    return Fact(term.title, f"{number(mean)} ± {number(deviation)}", "", term.definition)
