"""What people are asked in a round: two answers of the policy that is there to one prompt, where a vote teaches most.

Each of several candidates is a prompt with two draws of the same policy: of round k − 1, and of the start in the first.
What a vote teaches is how far the members of that round's reward model disagree about which of the two is better (their
deviation), or, where there is one model, how close its scores are: what `truing label` goes by too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from truing.config.recipe import Recipe
from truing.config.sections import Compute
from truing.config.stages import STAGES
from truing.core import rng
from truing.core.errors import DataError, InputError
from truing.core.normalisation import Normalisation, scales_of
from truing.core.records import Text, as_messages
from truing.data.fields import is_sound
from truing.data.prepared import prepare
from truing.data.prompts import PromptSet
from truing.labelling.items import Item, in_order, plain
from truing.labelling.run_answers import Rows, looks_of, prompt_of
from truing.models.load import load_base
from truing.models.save import load_member_scores
from truing.results import LanguageModel, open_result
from truing.rewards.combined import MembersReward
from truing.rounds.directory import RoundsDirectory, Settings, policy_stage, recipe_of_start
from truing.runs.files import write_jsonl
from truing.runs.metrics import read_jsonl
from truing.score import StageReward, as_sample, load_stage_reward

CANDIDATES = 4
"""Pairs that are drawn for each that is shown"""
ROWS = 64
"""Answers that are drawn side by side"""


@dataclass(frozen=True)
class ScoredItem:
    """An item, with the scores of its answers where there were any."""

    item: Item
    scores: list[float] | None
    """Of both answers, by the reward model of the round before; None where there was none"""


def ask(directory: RoundsDirectory, recipe: Recipe, settings: Settings, number: int) -> None:
    """Writes down what people are asked in a round, in order.

    Raises:
        InputError: all answers are alike.
    """
    model = answering(directory, recipe, number)
    pairs = _pairs(model, prompts_of(model, recipe), recipe, settings.labels * CANDIDATES, number)
    if not pairs:
        what = f"{model.name} answers every prompt twice alike, so there is nothing to judge."
        hint = "Raise rollout.temperature, or hold the policy closer to its start."
        raise InputError(what, code="input/answers-alike", where=str(directory.root), hint=hint)
    reward = _reward(directory, recipe, number)
    scores = [None] * len(pairs) if reward is None else _scores(reward, pairs)
    scored = [
        ScoredItem(replace(pair, teaches=None if own is None else own[0]), None if own is None else own[1])
        for pair, own in zip(pairs, scores, strict=True)
    ]
    by_key = {one.item.key: one for one in scored}
    share = 1.0 if reward is None else settings.random_share
    ordered = in_order([one.item for one in scored], share, rng.derived_seed(recipe.seed, "round", number))
    write_asked(directory.asked(number), [replace(by_key[item.key], item=item) for item in ordered[: settings.labels]])


def ask_what_was_gained(directory: RoundsDirectory, recipe: Recipe, settings: Settings, number: int, best: int) -> None:
    """Writes down the answers of a round's policy to held-out prompts against those of an earlier one's, or the start.

    Both are as their runs have them; where they are alike, nobody is asked.
    """
    before, after = heldout_rows(directory, recipe, best), heldout_rows(directory, recipe, number)
    names = name_of(best), name_of(number)
    pairs = [
        Item(prompt_of(row), (before[key]["response"], row["response"]), names, kind="heldout")
        for key, row in after.items()
        if before[key]["response"] != row["response"]
    ]
    order = rng.permutation(recipe.seed, "judged of a round", number, count=len(pairs))[: settings.judgements]
    write_asked(directory.judged(number), [ScoredItem(pairs[place], None) for place in order])


def heldout_rows(directory: RoundsDirectory, recipe: Recipe, number: int) -> Rows:
    """What a round's policy answered to each held-out prompt as it ended or, for 0, what the start does."""
    looks = looks_of(directory.run(max(number, 1)).stage(policy_stage(recipe)))
    return looks[max(looks) if number else min(looks)]


def write_asked(file: Path, asked: Sequence[ScoredItem]) -> None:
    """As `truing label` reads it, with why each is asked."""
    rows = [
        {
            "prompt": plain(one.item.prompt),
            "answers": [plain(answer) for answer in one.item.answers],
            "sources": one.item.sources,
            "kind": one.item.kind,
            **({} if one.scores is None else {"scores": one.scores, "teaches": one.item.teaches}),
        }
        for one in asked
    ]
    write_jsonl(file, rows)


def read_asked(file: Path) -> list[ScoredItem]:
    """What `write_asked` wrote, whatever a model answered. DataError where it was edited into what is none."""
    try:
        return [_asked(row) for row in read_jsonl(file)]
    except (LookupError, TypeError, ValueError) as fault:
        hint = "Put the line right."
        what = f"has a line that asks nothing ({fault!r})."
        raise DataError(what, code="data/nothing-asked", where=str(file), hint=hint) from fault


def _asked(row: dict[str, Any]) -> ScoredItem:
    first, second = map(_text, row["answers"])
    item = Item(_text(row["prompt"]), (first, second), tuple(row["sources"]), row["kind"], row.get("teaches"))
    return ScoredItem(item, row.get("scores"))


def _text(value: Any) -> Text:
    return value if isinstance(value, str) else as_messages(value)


def name_of(number: int) -> str:
    """Whose answers, for people."""
    return f"round {number}" if number else "start"


def answering(directory: RoundsDirectory, recipe: Recipe, number: int) -> LanguageModel:
    """Whose answers a round asks people about."""
    if number > 1:
        return open_result(directory.run(number - 1), policy_stage(recipe))
    start = recipe_of_start(recipe)
    if start is not None:
        return open_result(directory.start, start.stages[-1])
    assert recipe.base is not None
    base = load_base(recipe.base, Compute(), fetch=False)
    return LanguageModel("start", recipe.base.path, base, base.text_format(recipe.data), False, recipe)


def prompts_of(model: LanguageModel, recipe: Recipe) -> PromptSet:
    """Those that policies learn from, and those that are held out: the same for all that began from one start."""
    asked = recipe.model_copy(update={"stages": [policy_stage(recipe)]})
    return prepare(asked, model.form, model.base.context).prompts(recipe)


def _pairs(model: LanguageModel, prompts: PromptSet, recipe: Recipe, count: int, number: int) -> list[Item]:
    """Two answers to each of so many prompts, or of all, where these differ: asked as in the run, cut where it cuts."""
    order = rng.permutation(recipe.seed, "prompts of a round", number, count=len(prompts.train))[:count]
    asked = [prompts.train[place] for place in order]
    sampling = model.sampling(None, None, ROWS)
    purpose = f"answers of round {number}"
    drawn = [
        model.answers_to(asked, range(first, first + len(asked)), sampling, recipe.seed, purpose)
        for first in (0, len(asked))
    ]
    source = name_of(number - 1)
    pairs = [
        Item(prompt.text, (one.response, other.response), (f"{source}, first draw", f"{source}, second draw"))
        for prompt, one, other in zip(asked, *drawn, strict=True)
        if one.response != other.response and is_sound(one.response) and is_sound(other.response)
    ]
    return list({pair.key: pair for pair in pairs}.values())


def _reward(directory: RoundsDirectory, recipe: Recipe, number: int) -> StageReward | None:
    """The reward model of the round before, where there is one."""
    makes_one = any(STAGES[stage].makes == "reward model" for stage in recipe.stages)
    return load_stage_reward(directory.run(number - 1)) if number > 1 and makes_one else None


def _scores(reward: StageReward, pairs: Sequence[Item]) -> list[tuple[float, list[float]]]:
    """Of each pair, what a vote on it teaches, and the scores of both answers."""
    members = len(reward.models)
    scales = [Normalisation()] if members == 1 else _scales(reward)
    together = MembersReward(reward.models, scales)
    answers = [[as_sample(pair.prompt, pair.answers[side]) for pair in pairs] for side in (0, 1)]
    first, second = (together.on_scale([one.score(side) for one in reward.models]) for side in answers)
    gap = first - second
    teaches = -gap.abs().squeeze(-1) if members == 1 else gap.std(-1, correction=0)
    scores = torch.stack([first.mean(-1), second.mean(-1)], dim=-1)
    return list(zip(teaches.tolist(), scores.tolist(), strict=True))


def _scales(reward: StageReward) -> list[Normalisation]:
    return scales_of(load_member_scores(reward.directory.member_scores, len(reward.models)).T.tolist())
