"""The tables of the page: stages, the reward model's card, PPO variants side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from truing.report.change import Change, heldout_score, judged, moved
from truing.report.glossary import GLOSSARY
from truing.report.run_files import RunFiles, StageFiles, ends, figure, words
from truing.report.wording import MISSING, capitalised, duration, interval, listed, number, share, signed, whole


@dataclass(frozen=True)
class StageRow:
    """One line of the table of stages."""

    name: str
    state: str
    seconds: str
    outcome: str
    notes: list[str]


@dataclass(frozen=True)
class Fact:
    """A figure with its name and a sentence that says what it means."""

    title: str
    value: str
    detail: str
    meaning: str


@dataclass(frozen=True)
class Cell:
    """A figure of one variant: in short, and in small print."""

    value: str
    details: list[str]


@dataclass(frozen=True)
class Measure:
    """One figure across the variants."""

    title: str
    cells: list[Cell]


def stage_rows(run: RunFiles) -> list[StageRow]:
    """Every stage that was planned, in order."""
    outcomes = {"sft": _sft_outcome, "reward": _reward_outcome, "ppo": _ppo_outcome}
    return [
        StageRow(
            stage.name,
            stage.record.state,
            duration(stage.record.seconds),
            outcomes.get(stage.record.kind, lambda _: "")(stage),
            _notes(stage),
        )
        for stage in run.stages
    ]


def label(stage: StageFiles) -> str:
    """A PPO stage's name, with its β where that is known."""
    value = beta(stage)
    return stage.name if value is None else f"{stage.name}, β = {number(value)}"


def beta(stage: StageFiles) -> float | None:
    """The price of KL: at the end, or so far."""
    change = moved(stage, "beta")
    value = figure(stage.result, "beta")
    return value if value is not None else change.last if change else None


def reward_facts(stage: StageFiles) -> list[Fact]:
    """The report card, a line a figure; figures that were not measured are left out."""
    facts = [
        _accuracy(stage),
        _fact(stage, "longer_wins", "longer_wins_accuracy", share, "longer_wins_ci95"),
        _fact(stage, "pair_loss", "heldout_loss", number),
        _fact(stage, "ece", "ece", share),
        _fact(stage, "score_gap_mean", "score_gap_mean", number),
        _fact(stage, "reward_length_correlation", "reward_length_correlation", number),
        _scale(stage),
    ]
    return [fact for fact in facts if fact]


def comparison(stages: Sequence[StageFiles]) -> list[Measure]:
    """The variants of PPO side by side, a line a figure; lines that nobody measured are left out."""
    judges = dict.fromkeys(name for stage in stages for name in stage.judges())
    measures = [
        Measure("Updates", [Cell(whole(_updates(stage)), []) for stage in stages]),
        Measure("β", [Cell(number(beta(stage)), []) for stage in stages]),
        Measure("Score on held-out prompts", [_change_cell(heldout_score(stage)) for stage in stages]),
        *(Measure(f"Judge {name}", [_change_cell(judged(stage, name)) for stage in stages]) for name in judges),
        *(_moved(key, stages) for key in ("kl", "kl_exact", "length", "distinct_2", "entropy")),
        Measure("Ended by itself", [_change_cell(moved(stage, "eos_rate"), share) for stage in stages]),
        Measure("Ratio check", [Cell(number(_ratio_deviation(stage)), []) for stage in stages]),
    ]
    return [measure for measure in measures if any(cell.value != MISSING for cell in measure.cells)]


def _moved(key: str, stages: Sequence[StageFiles]) -> Measure:
    return Measure(GLOSSARY[key].heading, [_change_cell(moved(stage, key)) for stage in stages])


def _change_cell(change: Change | None, form: Callable[[float], str] = number) -> Cell:
    if change is None:
        return Cell(MISSING, [])
    details = []
    if change.first_ci and change.last_ci:
        details.append(f"{interval(change.first_ci)} → {interval(change.last_ci)}")
    if change.change_ci:
        details.append(f"change {signed(change.last - change.first)} {interval(change.change_ci)}")
    return Cell(f"{form(change.first)} → {form(change.last)}", details)


def _updates(stage: StageFiles) -> float | None:
    so_far = moved(stage, "step")
    return so_far.last if so_far else figure(stage.result, "steps")


def _ratio_deviation(stage: StageFiles) -> float | None:
    _, values = stage.series("ratio_max_deviation")
    return max(values, default=figure(stage.result, "ratio_max_deviation"))


def _fact(
    stage: StageFiles, term: str, key: str, form: Callable[[float], str], ci_key: str | None = None
) -> Fact | None:
    value = figure(stage.result, key)
    if value is None:
        return None
    detail = interval(ends(stage.result, ci_key), form is share) if ci_key else ""
    return Fact(GLOSSARY[term].heading, form(value), detail, GLOSSARY[term].definition)


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
    return Fact("Accuracy", share(accuracy), interval(bounds, True), meaning)


def _scale(stage: StageFiles) -> Fact | None:
    mean, deviation = figure(stage.result, "score_mean"), figure(stage.result, "score_std")
    if mean is None or deviation is None:
        return None
    term = GLOSSARY["score_scale"]
    return Fact(term.title, f"{number(mean)} ± {number(deviation)}", "", term.definition)


def _sft_outcome(stage: StageFiles) -> str:
    before, after = figure(stage.result, "heldout_loss_before"), figure(stage.result, "heldout_loss")
    if before is None or after is None:
        return ""
    return f"Held-out loss {number(before)} → {number(after)} nats a token, from {_learnt_from(stage)} demonstrations."


def _reward_outcome(stage: StageFiles) -> str:
    accuracy, pairs = figure(stage.result, "heldout_accuracy"), figure(stage.result, "heldout_pairs")
    if accuracy is None:
        return ""
    return f"{share(accuracy)} of {whole(pairs)} held-out pairs right, from {_learnt_from(stage)} pairs."


def _ppo_outcome(stage: StageFiles) -> str:
    score, kl = heldout_score(stage), moved(stage, "kl")
    told = [f"score {number(score.first)} → {number(score.last)}"] if score else []
    told += [f"{name} {number(c.first)} → {number(c.last)}" for name in stage.judges() if (c := judged(stage, name))]
    told += [f"KL {number(kl.last)}"] if kl else []
    return capitalised("; ".join(told)) + "." if told else ""


def _learnt_from(stage: StageFiles) -> str:
    return whole(figure(stage.result, "train_pairs" if stage.record.kind == "reward" else "train_rows"))


def _notes(stage: StageFiles) -> list[str]:
    truncation = stage.result.get("truncation")
    return [*([truncation] if isinstance(truncation, str) and truncation else []), *words(stage.result, "notes")]
