"""What came of a PPO stage, in words: did the reward rise, and do those agree whom training never asked?"""

from dataclasses import dataclass
from typing import Literal

from truing.report.change import Change, heldout_score, judged, moved
from truing.report.run_files import StageFiles, figure, table, words
from truing.report.wording import interval, listed, number, signed, whole

Tone = Literal["good", "bad", "open"]


@dataclass(frozen=True)
class Verdict:
    """A stage's outcome: in short, in sentences, and the warnings it left."""

    stage: str
    tone: Tone
    headline: str
    sentences: list[str]
    warnings: list[str]


def verdict(stage: StageFiles) -> Verdict:
    """The verdict on one PPO stage, finished or not."""
    score = heldout_score(stage)
    judges = {name: change for name in stage.judges() if (change := judged(stage, name))}
    tone, headline = _headline(stage, score, judges)
    told = [_told("The score on held-out prompts", score)] if score else []
    told += [_told(f"The judge {name}, which training never saw,", change) for name, change in judges.items()]
    told += [sentence for name, change in judges.items() if (sentence := _past_its_peak(stage, name, change))]
    sentences = [*told, _distance(stage), _effort(stage)]
    return Verdict(stage.name, tone, headline, [s for s in sentences if s], words(stage.result, "warnings"))


def _headline(stage: StageFiles, score: Change | None, judges: dict[str, Change]) -> tuple[Tone, str]:
    if not stage.done:
        return "open", "Not finished: these are the figures so far."
    if score is None or score.direction == "unknown":
        return "open", "Finished, without held-out prompts to judge it by."
    if score.direction != "rose":
        what = "fell" if score.direction == "fell" else "did not rise beyond noise"
        return "bad", f"The reward {what} on held-out prompts."
    return _agreement(judges)


def _agreement(judges: dict[str, Change]) -> tuple[Tone, str]:
    """The reward rose; what do the judges say?"""
    fell, rose, undecided = (
        [name for name, change in judges.items() if change.direction in directions]
        for directions in (("fell",), ("rose",), ("level", "unknown"))
    )
    if fell:
        return "bad", f"The reward rose while {listed(fell)} fell: the policy found what the reward overrates."
    if not judges:
        return "open", "The reward rose. No judge outside of training was there to confirm it."
    if undecided:
        agreed = f"{listed(rose)} agreed; " if rose else ""
        return "open", f"The reward rose; {agreed}{listed(undecided)} moved no further than noise."
    return "good", f"The reward rose, and {listed(rose)}, which training never saw, rose with it."


def _told(subject: str, change: Change) -> str:
    verb = {"rose": "rose", "fell": "fell", "level": "moved within noise", "unknown": "went"}[change.direction]
    by = f" (change {signed(change.last - change.first)} {interval(change.change_ci)})" if change.change_ci else ""
    return f"{subject} {verb} from {number(change.first)} to {number(change.last)}{by}."


def _past_its_peak(stage: StageFiles, judge: str, change: Change) -> str | None:
    """A judge that rose and then fell back by more than noise: the mark of over-optimisation."""
    steps, values = stage.series(f"judge_{judge}")
    if not values or change.change_ci is None:
        return None
    noise = (change.change_ci[1] - change.change_ci[0]) / 2
    peak = max(range(len(values)), key=values.__getitem__)
    if peak == 0 or values[peak] - change.last <= noise:
        return None
    return (
        f"The judge {judge} was at its highest, {number(values[peak])}, at update {whole(steps[peak])} and fell back "
        f"to {number(change.last)} while training went on: the mark of over-optimisation."
    )


def _distance(stage: StageFiles) -> str | None:
    kl = figure(stage.result, "kl_last")
    if kl is None:
        change = moved(stage, "kl")
        kl = change.last if change else None
    return None if kl is None else f"It ends {number(kl)} nats a sequence away from the reference (KL)."


def _effort(stage: StageFiles) -> str | None:
    updates, episodes = figure(stage.result, "steps"), figure(stage.result, "episodes")
    if updates is None:
        so_far = moved(stage, "step")
        return f"{whole(so_far.last)} updates so far." if so_far else None
    sampled = f" on {whole(episodes)} responses of its own" if episodes else ""
    seconds = {name: figure(table(stage.result, "seconds"), f"{name}_s") for name in ("rollout", "score", "learn")}
    total = sum(value for value in seconds.values() if value)
    shares = [f"{name} {value / total:.0%}" for name, value in seconds.items() if value]
    spent = f" Time went to {listed(shares)}." if shares else ""
    return f"{whole(updates)} updates{sampled}.{spent}"
