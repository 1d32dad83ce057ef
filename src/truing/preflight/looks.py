"""Whether a guard looks often enough, and has judgements enough, to tell anything by; and when it asks people."""

from collections.abc import Iterator

from truing.config.judging import Guard
from truing.config.plan import Planned, plan
from truing.config.recipe import Recipe
from truing.core.errors import WaitingError

FEW = 16
"""Judgements a look that let most turns pass where the truth is known: docs/results/guard.md"""
GOES_ON = "to go on with the same command once they have judged"


def looks_remarks(recipe: Recipe) -> list[str]:
    """Sentences about each stage whose guard can tell little, by its name."""
    return [
        f"{stage.name}: {sentence}."
        for stage in _guarded(recipe)
        for sentence in _remarks(stage.recipe.guard, getattr(stage.recipe, stage.kind).updates, stage.kind)
    ]


def people_remarks(recipe: Recipe) -> list[str]:
    """A sentence about each stage that will ask people: how many judgements, when, and what it does meanwhile."""
    return [
        f"{stage.name}: {_asked(stage.recipe.guard, getattr(stage.recipe, stage.kind).updates)}."
        for stage in _guarded(recipe)
        if stage.recipe.guard.judge.kind == "people"
    ]


def _guarded(recipe: Recipe) -> list[Planned]:
    return [stage for stage in plan(recipe) if stage.spec.must_be_scored and stage.recipe.guard.mode != "off"]


def _asked(guard: Guard, updates: int) -> str:
    looks, page = guard.looks(updates), guard.judge.page
    first = min(guard.look_every, updates)
    asked = f"people will be asked for up to {guard.labels} judgements, {guard.labels // looks} at a look, of which "
    asked += f"there are {looks}, the first after update {first}"
    if page is None:
        return f"{asked}; at each the run writes them into a file and ends with exit code {WaitingError.exit_code}"
    each = f", {page.each} of {page.people} people for each" if page.each > 1 else ""
    if page.wait_minutes == 0:
        return f"{asked}, on a page{each}; at each the run ends with exit code {WaitingError.exit_code}, {GOES_ON}"
    patience = f"until {page.wait_minutes:g} minutes have passed without a vote"
    return f"{asked}, on a page{each}; at each the run waits, {patience}"


def _remarks(guard: Guard, updates: int, kind: str) -> Iterator[str]:
    looks = guard.looks(updates)
    if guard.look_every > updates:
        yield (
            f"guard.look_every ({guard.look_every}) is more than {kind}.updates ({updates}), so the guard looks once, "
            "after the last: lower it to look on the way"
        )
    if guard.judge.kind != "none" and guard.labels < FEW * looks:
        yield (
            f"{guard.labels} judgements are {guard.labels / looks:.3g} a look, and {FEW} let most turns pass where it "
            f"was measured: raise guard.labels to {FEW * looks} or more, or guard.look_every"
        )
