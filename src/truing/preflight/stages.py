"""What the stages of a recipe would make of its rows: which they hold out, and whether rows fit into the base."""

import os
from collections.abc import Sequence
from typing import Any

from truing.config.plan import Planned, plan
from truing.config.recipe import Recipe
from truing.config.sections import Source
from truing.core.errors import DataError, ModelError
from truing.data.encode import EncodedPair, encode_prompts
from truing.data.faults import Faults
from truing.data.learnt import OF_STAGE, PREFERENCES, Learnt
from truing.data.length_report import NAMED
from truing.data.prompts import different_prompts, prompt_set, refuse_too_few
from truing.data.split import read_split
from truing.models.load import LoadedBase, is_fetched, outline_base
from truing.preflight.findings import Findings

NOT_MEASURED = "How long the rows are was not looked at"


def check_stages(recipe: Recipe, found: Findings, named: int | None = NAMED) -> None:
    """Adds what stages would refuse, cut or leave out to what was `found` of the files; faulty rows are left aside.

    Of rows that are told for one reason, the first `named` are named, or all for None.
    """
    rows_are_sound = not any(isinstance(fault, DataError) for fault in found.faults)
    base = _outlined(recipe, found)
    stages = list(plan(recipe))
    kinds = dict.fromkeys(OF_STAGE[stage.kind] for stage in stages if stage.kind in OF_STAGE)
    learnt = {kind: _look_at_learnt(kind, recipe, base, named, found) for kind in kinds}
    asking = {
        (stage.kind == "dpo", stage.recipe.rollout.max_new_tokens, stage.recipe.evaluation.prompts): stage
        for stage in stages
        if stage.kind != "sft"
    }
    for stage in asking.values() if rows_are_sound else ():
        with found.noting():
            _look_at_prompts(stage, base, learnt.get(PREFERENCES, []), named, found)


def _outlined(recipe: Recipe, found: Findings) -> LoadedBase | None:
    """The base without its weights; None where it cannot be had, which is told."""
    assert recipe.base is not None
    told = any((fault.where or "").startswith("base.") for fault in found.faults)
    try:
        if told or is_fetched(recipe.base):
            return outline_base(recipe.base, recipe.compute, fetch=False)
        found.odd.append(f"{NOT_MEASURED}: {recipe.base.path} is not on this machine yet; `truing run` fetches it.")
    except ModelError as error:
        if told or not os.path.isdir(recipe.base.path):  # what is missing of a Hub id, a run fetches
            found.odd.append(f"{NOT_MEASURED}, for want of the base: {error}")
        else:
            found.faults.append(error)
    return None


def _look_at_learnt(
    kind: Learnt, recipe: Recipe, base: LoadedBase | None, named: int | None, found: Findings
) -> Sequence[Any]:
    """The rows to learn from as tokens; none where they cannot be had."""
    data = recipe.data
    source, heldout = kind.sources(data)
    if source is None:
        return []
    unsound = Faults(source.path)

    def sound_rows(source: Source, transcripts: bool) -> list[Any]:
        return kind.read(source, transcripts, unsound)

    try:
        parts = read_split(sound_rows, source, heldout, data, recipe.seed, kind.name)
    except DataError as error:
        if not unsound.count:
            found.faults.append(error)
            return []
        parts = sound_rows(source, data.transcripts), []  # there may be enough to hold some out, once they are mended
    learnt: Sequence[Any] = []
    for name, rows in zip((kind.name, f"{kind.name}, held out"), parts, strict=True):
        if base is not None and rows:
            with found.noting():
                tokens, report = kind.encode(base.tokenizer, rows, data, base.context, named)
                found.odd += [f"data.{name}: {sentence}" for sentence in report.remarks()]
                learnt = tokens if name == kind.name else learnt
    return learnt


def _look_at_prompts(
    stage: Planned, base: LoadedBase | None, pairs: Sequence[EncodedPair], named: int | None, found: Findings
) -> None:
    """Whether enough of them leave room for a response, and for dpo, are not in a pair that is learnt from."""
    recipe = stage.recipe
    unique = different_prompts(recipe.data)
    if base is None:
        refuse_too_few(len(unique), recipe)
        return
    room = recipe.rollout.max_new_tokens
    prompts, report = encode_prompts(base.tokenizer, unique, recipe.data, room, base.context, named)
    found.odd += [f"prompts: {sentence}" for sentence in report.remarks()]
    answered = prompt_set(prompts, recipe)
    if stage.kind == "dpo" and pairs:
        answered.without(pair.prompt for pair in pairs)
