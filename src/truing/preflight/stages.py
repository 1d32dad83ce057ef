"""What the stages of a recipe would make of its rows: which they hold out, and whether rows fit into the base."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from truing.config.defaults import few_steps, trains_all_weights
from truing.config.plan import Planned, plan
from truing.config.recipe import Recipe
from truing.config.stages import STAGES, StageSpec
from truing.core.errors import Problem
from truing.data.datasets import HELDOUT, Dataset
from truing.data.length_report import NAMED
from truing.data.prepared import Prepared, encode_datasets
from truing.models.fetched import is_fetched
from truing.preflight.circumstances import circumstances
from truing.preflight.findings import NOT_MEASURED, Findings

if TYPE_CHECKING:
    from truing.models.load import LoadedBase

SHOWN = 5
"""Tokens that a problem names"""
UNLIMITED = 2**62
"""Tokens that a base which is not known may read"""


def check_stages(
    recipe: Recipe, datasets: Mapping[str, Dataset], found: Findings, named: int | None = NAMED
) -> "tuple[Prepared, LoadedBase] | None":
    """Adds what stages would refuse, cut or leave out to what was `found` of the files; faulty rows are left aside.

    Of rows that share a reason, the first `named` are named, or all for None.

    Returns:
        The rows for the stages, and the base without its weights; None where that cannot be had.
    """
    base = _outlined(recipe, found)
    form, context = (base.text_format(recipe.data), base.context) if base else (None, UNLIMITED)
    prepared, refused = encode_datasets(recipe, datasets, form, context, named)
    found.problems += refused
    found.odd += prepared.remarks
    if base:
        found.problems += unlearnt_tokens(recipe, base, prepared)
    sound = not refused and all(dataset.is_sound for name, dataset in datasets.items() if name != "prompts")
    for stage in plan(recipe):
        for name in stage.spec.datasets_of(stage.recipe):
            with found.noting():
                _check_rows(name, stage.recipe, prepared, sound, found)
        if base and sound and stage.spec.datasets:
            with found.noting():
                learns_with = circumstances(stage.recipe, stage.spec, prepared, base.model.num_parameters())
                said = few_steps(stage.recipe, stage.spec, learns_with)
                found.odd += [f"{stage.name}: {sentence}." for sentence in said]
        if stage.spec.samples and sound:
            with found.noting():
                if "prompts" in datasets:
                    datasets["prompts"].check()
                _check_prompts(stage, prepared, base is not None, found)
            if base:
                from truing.preflight.servers import server_remarks  # imports torch, as the base has

                with found.noting():
                    start = None if stage.spec.starts_from in stage.builds_on else recipe.base
                    found.odd += [f"{sentence}." for sentence in server_remarks(stage, prepared, start)]
    return (prepared, base) if base else None


def unlearnt_tokens(recipe: Recipe, base: "LoadedBase", prepared: Prepared) -> Iterator[Problem]:
    """Tokens without an embedding of their own that a stage reads, and that neither it nor those before it can learn.

    All weights learn whatever is read, and a first stage's adapter the new tokens of its rows, where rows of the
    embeddings learn beside it. To another, such a token could never be said, nor be told from another. Of the base's
    weights only those rows are read that may be alike.
    """
    from truing.models.spare_rows import (
        refusal_of_alike,
        tokens_alike_in_files,
    )  # torch comes along

    assert recipe.base is not None
    alike = tokens_alike_in_files(base.tokenizer, base.model, recipe.base)
    without = base.new_tokens | alike
    if not without:
        return
    learnt: dict[str | None, frozenset[int]] = {}
    for spec in (STAGES[name] for name in recipe.stages):
        own = without & prepared.tokens(spec.datasets_of(recipe))
        read = own | without & prepared.tokens(["prompts"] if spec.samples else [])
        ends = frozenset(base.endings.turn if "prompts" in prepared.chats else base.endings.text)
        if spec.makes_policy and ends <= without:  # all that it could say to end
            read |= ends
        known = learnt.get(spec.starts_from, own - alike if base.new_rows else frozenset())
        learnt[spec.name] = known | (read if trains_all_weights(recipe, spec) else frozenset())
        unlearnt = read - learnt[spec.name]
        if unlearnt & alike:
            yield refusal_of_alike(base.tokenizer, unlearnt & alike).problem
            return
        if unlearnt:
            yield _unlearnt(recipe.base.path, sorted(unlearnt), spec, base)
            return


def _unlearnt(path: str, tokens: list[int], spec: StageSpec, base: "LoadedBase") -> Problem:
    names = ", ".join(base.tokenizer.convert_ids_to_tokens(tokens)[:SHOWN])
    what = f"the model has no embedding for {names}, and {spec.name} reads what no stage has learnt."
    method = "" if base.new_rows else " and sft.method: full"
    mend = f"Begin with sft on rows that have it{method}, or give the model embeddings and train these first."
    return Problem("model/unlearnt-tokens", "base.path", what, mend, path)


def _outlined(recipe: Recipe, found: Findings) -> "LoadedBase | None":
    """The base without its weights; None where it cannot be had, with a finding that says so.

    Only what is there to be read is worth the seconds that the libraries take to be imported.
    """
    assert recipe.base is not None
    faulty = any((problem.field or "").startswith("base.") for problem in found.problems)
    if is_fetched(recipe.base):
        from truing.preflight.outline import outlined

        return outlined(recipe, found, faulty)
    if faulty:
        found.unchecked.append(f"{NOT_MEASURED}, for want of the base.")
    else:
        taken = f"there is no directory {recipe.base.path}, so base.path is taken for a Hub id"
        weights = "the weights of that id are not on this machine; `truing run` looks for them on the Hub."
        found.unchecked.append(f"{NOT_MEASURED}: {taken}, and {weights}")
    return None


def _check_rows(name: str, recipe: Recipe, prepared: Prepared, sound: bool, found: Findings) -> None:
    """Whether enough of a dataset are left to learn from and to hold out; where some are faulty, only how long all are.

    There may be enough to hold some out once those are corrected.
    """
    own = prepared.rows.get(HELDOUT + name, [])
    parts = prepared.split(name, recipe) if sound else (prepared.rows_of(name), own)
    for label, rows in zip((name, f"{name}, held out"), parts, strict=True):
        if rows:
            with found.noting():
                _, report = prepared.fit(name, rows, recipe)
                found.odd += [f"data.{label}: {sentence}" for sentence in report.remarks()]


def _check_prompts(stage: Planned, prepared: Prepared, measured: bool, found: Findings) -> None:
    """Whether enough of them leave room for a response, and are not in a pair that is learnt from."""
    recipe = stage.recipe
    _, report = prepared.fit("prompts", prepared.rows_of("prompts"), recipe)
    found.odd += [f"prompts: {sentence}" for sentence in report.remarks()]
    prompts = prepared.prompts(recipe)
    if measured and stage.spec.makes_policy:
        prompts.without(prepared.learnt_prompts(stage.spec.datasets_of(stage.recipe), recipe))
