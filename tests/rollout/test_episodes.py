"""Which prompt is asked when, which are held out, and what a response looks like to those who score it."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import one_dnn
import pytest
import tiny
import torch

from truing.config.recipe import Recipe
from truing.config.sections import Data, Source
from truing.core.batches import Sequences
from truing.core.errors import DataError, RewardError
from truing.core.experience import Rollout
from truing.data.encode import EncodedPrompt
from truing.data.prompts import PromptSet, prompt_source
from truing.kernels.cpu import linear
from truing.rollout.episodes import (
    as_samples,
    begin_responses,
    drawn_rollout,
    reference_samples,
    respond,
    with_score,
)
from truing.rollout.local import LocalEngine

SEVEN = PromptSet([EncodedPrompt(str(n), (n,)) for n in range(7)], [])
EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1


def test_each_pass_asks_every_prompt_once_in_an_order_of_its_own() -> None:
    asked = [prompt.text for prompt in SEVEN.of_episodes(range(21), seed=0)]
    passes = [asked[:7], asked[7:14], asked[14:]]
    assert all(Counter(one) == Counter("0123456") for one in passes)
    assert len({tuple(one) for one in passes}) == 3


@pytest.mark.parametrize("size", [1, 4, 10])
def test_the_prompt_of_an_episode_depends_on_its_number_alone(size: int) -> None:
    whole = SEVEN.of_episodes(range(20), seed=3)
    parts = [p for first in range(0, 20, size) for p in SEVEN.of_episodes(range(first, min(20, first + size)), seed=3)]
    assert parts == whole
    assert whole != SEVEN.of_episodes(range(20), seed=4)


def _prompts(place: Path, **changes: object) -> tuple[PromptSet, list[str]]:
    """The prompt set of a file in which every prompt stands twice, and the prompts of the file."""
    recipe = tiny.recipe(place, **changes)
    texts = [row["prompt"] for row in tiny.demonstrations()]
    tiny.write_rows(place / "demonstrations.jsonl", tiny.demonstrations() * 2)
    return tiny.prepared(recipe).prompts(recipe), texts


def test_held_out_prompts_are_never_learnt_from_and_no_prompt_is_lost(tmp_path: Path) -> None:
    prompts, texts = _prompts(tmp_path, **{"evaluation.prompts": 5})
    train, heldout = [p.text for p in prompts.train], [p.text for p in prompts.heldout]
    assert len(heldout) == 5
    assert sorted([*train, *heldout]) == sorted(texts)
    assert prompts.train[0].tokens == tuple(tiny.tokenizer().encode(train[0]))


def test_no_prompt_left_to_learn_from_is_refused_with_the_hint(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"24 different prompts, of which 24 .*evaluation\.prompts") as refused:
        _prompts(tmp_path, **{"evaluation.prompts": 24})
    assert refused.value.where == str(tmp_path / "demonstrations.jsonl")


def test_prompts_come_from_their_own_file_or_the_first_that_has_some() -> None:
    own, shown, judged = (Source(path=f"{name}.jsonl") for name in ("prompts", "demonstrations", "preferences"))
    assert prompt_source(Data(prompts=own, demonstrations=shown, preferences=judged)) == own
    assert prompt_source(Data(demonstrations=shown, preferences=judged)) == shown
    assert prompt_source(Data(preferences=judged)) == judged
    with pytest.raises(DataError, match=r"names no prompts.*data\.prompts\.path"):
        prompt_source(Data())


def test_a_sample_is_text_without_special_tokens_and_tokens_with_its_eos(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    base = tiny.load(recipe)
    said = Sequences.collate([(1,), (2, 3)], [(7, 8, EOS), (9,)], PAD)
    rollout = Rollout(said, torch.zeros(2, 3), torch.tensor([True, False]), torch.tensor([0, 1]))
    ended, cut = as_samples(
        [EncodedPrompt("b", (1,)), EncodedPrompt("cd", (2, 3))], rollout, base.text_format(recipe.data)
    )
    assert (ended.response, ended.response_tokens, ended.finished) == ("hi", (7, 8, EOS), True)
    assert (cut.prompt, cut.response, cut.response_tokens, cut.finished) == ("cd", "j", (9,), False)


def test_samples_for_the_normalisation_are_the_same_every_time_and_as_many_as_asked(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **{"rewards.normalisation_samples": 30})
    base = tiny.load(recipe)
    prompts = tiny.prepared(recipe).prompts(recipe)
    once, again = (reference_samples(base.role(), prompts, recipe, base) for _ in range(2))
    assert once == again
    assert len(once) == 30
    assert {sample.prompt for sample in once} == {prompt.text for prompt in prompts.train}


def test_answers_differ_between_episodes_and_purposes(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    base = tiny.load(recipe)
    asked = [EncodedPrompt("a", (0,))] * 4

    def said(purpose: str, first: int) -> list[list[int]]:
        return respond(LocalEngine(base.role()), asked, recipe, base, purpose, first).sequences.responses

    assert said("rollout", 0) == said("rollout", 0)
    assert said("rollout", 0) != said("rollout", 4)
    assert said("rollout", 0) != said("held-out look", 0)


def _asked(recipe: Recipe, count: int, size: int, first: int = 0) -> Rollout:
    base, prompts = tiny.load(recipe), tiny.prepared(recipe).prompts(recipe).train[:count]
    drawing = begin_responses(LocalEngine(base.role()), prompts, recipe, base, "rollout", first, range(count))
    return drawn_rollout(drawing, prompts, base, first, size)


@pytest.mark.parametrize(("size", "first", "groups"), [(1, 0, [0, 1, 2, 3]), (2, 4, [2, 2, 3, 3]), (4, 8, [2] * 4)])
def test_neighbours_are_a_group_counted_over_the_whole_run(
    size: int, first: int, groups: list[int], tmp_path: Path
) -> None:
    assert _asked(tiny.recipe(tmp_path), 4, size, first).groups.tolist() == groups


def test_responses_without_a_score_leave_and_the_others_keep_their_group(tmp_path: Path) -> None:
    rollout = _asked(tiny.recipe(tmp_path), 6, size=2)
    samples: list[Any] = list(range(6))
    kept, names, scores = with_score(rollout, samples, [1.0, math.nan, 3.0, 4.0, math.inf, 6.0], least=4)
    assert (names, scores, kept.groups.tolist()) == ([0, 2, 3, 5], [1.0, 3.0, 4.0, 6.0], [0, 1, 1, 2])
    assert kept.sequences.responses == [rollout.sequences.responses[row] for row in names]
    with pytest.raises(RewardError, check=lambda error: error.code == "rewards/too-few-scores"):
        with_score(rollout, samples, [1.0, math.nan, 3.0, 4.0, math.inf, 6.0], least=5)


@pytest.mark.parametrize("pack", [True, False])
def test_the_recipe_says_whether_weights_are_laid_out_for_sampling(
    pack: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_dnn.computes_everything(monkeypatch)
    recipe = tiny.recipe(tmp_path, **{"compute.pack_weights": pack})
    base = tiny.load(recipe)
    packed: list[torch.Tensor] = []
    monkeypatch.setattr(linear, "reordered", lambda weight: (packed.append(weight), weight)[1])
    respond(LocalEngine(base.role()), SEVEN.train, recipe, base, "test")
    assert bool(packed) == pack
