"""What came of a policy, in words: did the reward rise, and do the judges agree, whom training never asked?

The score and the judges are means over held-out prompts. One rose or fell if the 95% interval of its change, prompt
by prompt, lies on one side of 0. A judge fell back if its best evaluation is above its last by more than half the width
of that interval.

| score           | judges                       | tone | headline                                                |
|-----------------|------------------------------|------|---------------------------------------------------------|
| stage not done  |                              | open | Not finished: these are the figures so far.             |
| neither is measured                            || open | Finished; no score and no judge say how well.           |
| fell            |                              | bad  | The reward fell on held-out prompts.                    |
| within noise    | one fell                     | bad  | The reward did not rise beyond noise on ...             |
| within noise    | none                         | open | The same.                                               |
| rose            | one fell                     | bad  | The reward rose while ... fell: the policy found ...    |
| rose            | one fell back                | bad  | The reward rose, but ... fell back from its best: ...   |
| rose            | none                         | open | The reward rose. No judge outside of training ...       |
| rose            | none, all rewards functions  | good | The reward rose. Functions alone gave it, ...           |
| rose            | one within noise             | open | The reward rose; ... moved no further than noise.       |
| rose            | all rose                     | good | The reward rose, and ..., which training never saw, ... |
| not measured    | one fell or fell back        | bad  | ... fell. or ... fell back from its best: ...           |
| not measured    | one within noise             | open | ... moved no further than noise.                        |
| not measured    | all rose                     | good | ..., which training never saw, rose.                    |

Behind it come what a guard decided, what the stage itself found, such as a policy that did not move, and what was
measured. Answers that grew alike make a good verdict an open one. A reward model that is not sound comes before all
else: what rests on it is bad.
"""

from dataclasses import dataclass, replace
from typing import Literal

from truing.core import metrics
from truing.core.results import Change, GuardResult
from truing.core.soundness import card_in_words, unsound
from truing.report.change import Outcome, heldout_kl, heldout_score, judged, score_metric
from truing.report.run_files import RunFiles, StageFiles
from truing.report.stages import learnt_from, policies, scorer_of, start_of
from truing.report.wording import capitalised, listed, numbers, whole, win_share

Tone = Literal["good", "bad", "open"]


@dataclass(frozen=True)
class Verdict:
    """An outcome: in short, what a guard decided, what was found, what was measured, what it took, and warnings."""

    tone: Tone
    headline: str
    guard: list[str]
    findings: list[str]
    measured: list[Outcome]
    """The score, every judge and the KL"""
    effort: str
    warnings: list[str]


def verdicts(run: RunFiles) -> list[Verdict]:
    """One for each policy, in the order of `policies`; without any, one that says so."""
    built_on = ((stage, scorer_of(stage, run), start_of(stage, run)) for stage in policies(run))
    return [verdict(*stages) for stages in built_on] or [_no_policy(run)]


def verdict(stage: StageFiles, scorer: StageFiles | None = None, start: StageFiles | None = None) -> Verdict:
    """The verdict on one policy, finished or not.

    `scorer` made the reward model that its score rests on, and `start` the model that it began with.
    """
    score, kl = heldout_score(stage), heldout_kl(stage)
    judges = {name: change for name in stage.judges() if (change := judged(stage, name))}
    peaks = {name: peak for name, change in judges.items() if (peak := _peak(stage, name, change))}
    tone, headline = _headline(stage, score, judges, list(peaks))
    if stage.result.heldout.alike:
        tone, headline = "open" if tone == "good" else tone, f"{headline} But the answers grew alike."
    found = Verdict(
        tone=tone,
        headline=headline,
        guard=_guard_sentences(stage),
        findings=[
            *(finding for one in (start, stage) if one for finding in one.result.findings or []),
            *(_peak_sentence(name, *peak, judges[name]) for name, peak in peaks.items()),
        ],
        measured=[
            *([Outcome(metrics.SCORE.title, score_metric([stage]).unit, score)] if score else []),
            *(Outcome(f"Judge: {name}", "", change) for name, change in judges.items()),
            *([Outcome(metrics.KL.title, metrics.KL.unit, kl, is_kl=True)] if kl else []),
        ],
        effort=_effort(stage),
        warnings=stage.result.warnings or [],
    )
    return found if scorer is None else _resting_on(found, scorer)


def _guard_sentences(stage: StageFiles) -> list[str]:
    """What judgements of the policy's own answers decided, where there was a guard."""
    guard = stage.result.guard
    if guard.guard_labels is None or guard.guard_kept_step is None:
        return []
    story = [f"{capitalised(one)}." for one in guard.guard_story or []]
    if not guard.guard_labels:
        return story
    looks = "1 look" if guard.guard_looks == 1 else f"{whole(guard.guard_looks or 0)} looks"
    asked = f"The guard took {whole(guard.guard_labels)} judgements{_by_whom(guard)} at {looks}"
    kept = f"{asked}; the model is that of update {whole(guard.guard_kept_step)}{_won(guard)}."
    return [kept, *story]


def _by_whom(guard: GuardResult) -> str:
    """Where they are people, and in how many votes."""
    if guard.guard_judge != "people":
        return ""
    return f" by people, in {whole(guard.guard_votes)} votes," if guard.guard_votes else " by people"


def _won(guard: GuardResult) -> str:
    """How often the answers of what is kept win against those before training, by these judgements."""
    kept = [look for look in guard.guard_strengths or [] if look.step == guard.guard_kept_step]
    if not kept or guard.guard_judge != "people":
        return ""
    share, low, high = map(win_share, (kept[-1].strength, *kept[-1].strength_ci95))
    return f", whose answers they prefer to the first ones in {share:.0%} [{low:.0%}, {high:.0%}]"


def _resting_on(found: Verdict, scorer: StageFiles) -> Verdict:
    """The verdict, behind what is to be said of the reward model that it rests on."""
    own = scorer.result.findings or []
    if not unsound(scorer.result.card):
        return replace(found, findings=[*own, *found.findings])
    before = [*own, f"What rests on it says little: {found.headline}"]
    return replace(found, tone="bad", headline=_unsound_headline(scorer), findings=[*before, *found.findings])


def _unsound_headline(scorer: StageFiles) -> str:
    reasons = listed(unsound(scorer.result.card))
    return f"The reward model ({scorer.name}) is {reasons}: {card_in_words(scorer.result.card)}."


def _no_policy(run: RunFiles) -> Verdict:
    waiting = [stage.name for stage in run.stages if stage.spec.makes_policy]
    outcomes = [outcome for stage in run.stages if (outcome := stage.outcome)]
    findings = [finding for stage in run.stages for finding in stage.result.findings or []]
    bad = [stage for stage in run.stages if stage.spec.makes == "reward model" and unsound(stage.result.card)]
    if bad:
        waits = [f"So {listed(waiting)} was not begun."] if waiting else []
        return Verdict("bad", _unsound_headline(bad[0]), [], [*waits, *findings, *outcomes], [], "", [])
    if waiting:
        headline = f"No verdict yet: {listed(waiting)} left no figures so far."
    else:
        headline = "Nothing was optimised for a reward or by preferences in this run, so there is no policy to judge."
    return Verdict("open", headline, [], [*findings, *outcomes], [], "", [])


def _headline(
    stage: StageFiles, score: Change | None, judges: dict[str, Change], fell_back: list[str]
) -> tuple[Tone, str]:
    if not stage.done:
        return "open", "Not finished: these are the figures so far."
    if score is None or score.direction == "unknown":
        return _judges_alone(judges, fell_back)
    if score.direction == "fell":
        return "bad", "The reward fell on held-out prompts."
    if score.direction == "level":  # which proves no harm either
        return "bad" if _sorted(judges)[1] else "open", "The reward did not rise beyond noise on held-out prompts."
    return _agreement(judges, fell_back, stage.scored_by_functions)


def _agreement(judges: dict[str, Change], fell_back: list[str], by_functions: bool) -> tuple[Tone, str]:
    """The reward rose; what do the judges say, who are not missed where no model scored?"""
    rose, fell, undecided = _sorted(judges)
    if fell:
        return "bad", f"The reward rose while {listed(fell)} fell: the policy found what the reward overrates."
    if fell_back:
        return "bad", f"The reward rose, but {listed(fell_back)} fell back from its best: it was trained for too long."
    if not judges and by_functions:
        return "good", "The reward rose. Functions alone gave it, and no model: it is worth what they check."
    if not judges:
        return "open", "The reward rose. No judge outside of training was there to confirm it."
    if undecided:
        agreed = f"{listed(rose)} agreed; " if rose else ""
        return "open", f"The reward rose; {agreed}{listed(undecided)} moved no further than noise."
    return "good", f"The reward rose, and {listed(rose)}, which training never saw, rose with it."


def _judges_alone(judges: dict[str, Change], fell_back: list[str]) -> tuple[Tone, str]:
    """No score was measured; what do the judges say?"""
    rose, fell, undecided = _sorted(judges)
    if not rose and not fell:
        silent = "Finished; no score and no judge say how well."
        return "open", f"{capitalised(listed(undecided))} moved no further than noise." if judges else silent
    if fell:
        return "bad", f"{capitalised(listed(fell))} fell."
    if fell_back:
        return "bad", f"{capitalised(listed(fell_back))} fell back from its best: it was trained for too long."
    if undecided:
        return "open", f"{capitalised(listed(rose))} rose; {listed(undecided)} moved no further than noise."
    return "good", f"{capitalised(listed(rose))}, which training never saw, rose."


def _sorted(judges: dict[str, Change]) -> tuple[list[str], list[str], list[str]]:
    """Names of the judges that rose, that fell, and of the others."""
    rose, fell, undecided = (
        [name for name, change in judges.items() if change.direction in directions]
        for directions in (("rose",), ("fell",), ("level", "unknown"))
    )
    return rose, fell, undecided


def _peak(stage: StageFiles, judge: str, change: Change) -> tuple[float, float] | None:
    """Step and value at which a judge was at its best, if it then fell back by more than noise."""
    steps, values = stage.series(f"judge_{judge}")
    if not values or change.change_ci95 is None:
        return None
    best = max(range(len(values)), key=values.__getitem__)
    return (steps[best], values[best]) if best > 0 and values[best] - change.last > change.noise else None


def _peak_sentence(judge: str, step: float, value: float, change: Change) -> str:
    best, last = numbers(value, change.last)
    return (
        f"The judge {judge} was at its highest, {best}, at update {whole(step)} and fell back to {last} "
        "while training went on: the mark of over-optimisation."
    )


def _effort(stage: StageFiles) -> str:
    """How many updates, on what, and where the time went."""
    count = stage.latest("step")
    if count is None:
        return ""
    rows = learnt_from(stage)
    seconds = stage.result.seconds or {}
    total = sum(seconds.values())
    shares = [f"{name.removesuffix('_s')} {value / total:.0%}" for name, value in seconds.items() if value]
    spent = f" Time went to {listed(shares)}." if shares else ""
    return f"{whole(count)} updates{f' on {rows}' if rows else ''}{'' if stage.done else ' so far'}.{spent}"
