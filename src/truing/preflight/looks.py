"""Whether a guard looks often enough, and has judgements enough, to tell anything by."""

from collections.abc import Iterator

from truing.config.judging import Guard
from truing.config.plan import plan
from truing.config.recipe import Recipe

FEW = 16
"""Judgements a look that let most turns pass where the truth is known: docs/results/guard.md"""


def looks_remarks(recipe: Recipe) -> list[str]:
    """Sentences about each stage whose guard can tell little, by its name."""
    guarded = [stage for stage in plan(recipe) if stage.spec.must_be_scored and stage.recipe.guard.mode != "off"]
    return [
        f"{stage.name}: {sentence}."
        for stage in guarded
        for sentence in _remarks(stage.recipe.guard, getattr(stage.recipe, stage.kind).updates, stage.kind)
    ]


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
