"""What stages would refuse or leave out is found before the first of them begins, and nothing that they would take."""

from pathlib import Path
from typing import Any

import pytest
import tiny
from transformers import AutoTokenizer, CodeGenConfig, CodeGenForCausalLM

from truing.config.dotted import assign
from truing.config.recipe import Recipe
from truing.data.datasets import read_data
from truing.estimate.rows import shortest_rows
from truing.preflight.findings import Findings
from truing.preflight.stages import check_stages

LONG = "e" * 90


def found(recipe: Recipe) -> Findings:
    told = Findings()
    check_stages(recipe, read_data(recipe), told)
    told.odd = list(dict.fromkeys(told.odd))  # stages that share rows remark on the same
    return told


def changed(recipe: Recipe, **changes: Any) -> Recipe:
    document = recipe.model_dump()
    for key, value in changes.items():
        assign(document, key, value)
    return Recipe.model_validate(document)


def pairs(place: Path, *rows: dict[str, str]) -> Recipe:
    """A tiny recipe that learns a reward model from these pairs, and asks for prompts elsewhere."""
    tiny.write_rows(place / "pairs.jsonl", rows)
    return tiny.recipe(place, **{"stages": ["reward"], "data.preferences.path": str(place / "pairs.jsonl")})


def pair(prompt: str, chosen: str = "aa", rejected: str = "zz") -> dict[str, str]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def test_nothing_is_said_of_rows_that_fit(tmp_path: Path) -> None:
    assert found(tiny.recipe(tmp_path)) == Findings()


def test_rows_to_learn_from_and_rows_held_out_must_both_be_left(tmp_path: Path) -> None:
    recipe = pairs(tmp_path, pair("a?", LONG), pair("b?"), pair("c?"), pair("d?"))
    for heldout in (0.25, 0.75):  # whichever side the long one is on, and then alone
        told = found(changed(recipe, **{"data.too_long": "drop", "data.heldout": heldout, "seed": 0}))
        assert all("no row is left" in str(fault) for fault in told.problems)
    alone = tiny.write_rows(tmp_path / "own.jsonl", [pair("q?", LONG)])
    own = changed(recipe, **{"data.too_long": "drop", "data.heldout_preferences": {"path": str(alone)}})
    (fault,) = found(own).problems
    assert f"{alone}:1: no row is left to learn from: 0 of 1 rows kept" in str(fault)


def test_a_reward_model_that_transformers_could_not_load_again_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    size = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_ctx": 64, "n_positions": 64, "rotary_dim": 4}
    config = CodeGenConfig(vocab_size=tiny.VOCABULARY, eos_token_id=len(tiny.LETTERS), bos_token_id=None, **size)
    CodeGenForCausalLM(config).save_pretrained(tmp_path / "base")
    (fault,) = found(recipe).problems
    assert fault.code == "model/no-classifier"
    assert found(changed(recipe, stages=["sft", "dpo"])).problems == []


def test_every_variant_is_checked(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    longer = changed(recipe, **{"variants": {"longer": {"rollout.max_new_tokens": 62}}})
    assert "room for 62 new" in str(found(longer).problems[0])
    many = changed(recipe, **{"variants": {"many": {"evaluation.prompts": 24}}})
    assert "24 different prompts, of which 24 are to be held out" in str(found(many).problems[0])


def test_a_variant_that_holds_out_other_rows_is_checked_on_its_own_split(tmp_path: Path) -> None:
    rows = [pair(f"{letter}?", LONG if letter == "a" else "aa") for letter in "abcd"]
    recipe = changed(pairs(tmp_path, *rows), **{"data.too_long": "drop", "data.heldout": 0.25})
    refused = {
        seed: bool(found(changed(recipe, seed=seed)).problems) for seed in range(12)
    }  # where it alone is held out
    sound, unsound = (next(seed for seed in refused if refused[seed] is wanted) for wanted in (False, True))
    (fault,) = found(changed(recipe, **{"seed": sound, "variants": {"other": {"seed": unsound}}})).problems
    assert "no row is left to learn from: 0 of 1 rows kept" in str(fault)


def test_prompts_that_other_rows_have_may_be_faulty_where_these_are_sound(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    recipe = tiny.recipe(tmp_path)
    tiny.write_rows(tmp_path / "demonstrations.jsonl", [{"messages": turns, "prompt": 3}] * 2)
    told = found(changed(recipe, stages=["reward"]))
    assert any("2 problems" in str(fault) and "`prompt` is a number" in str(fault) for fault in told.problems)


def test_rows_are_counted_and_split_where_the_base_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tiny.write_rows(tmp_path / "own.jsonl", tiny.preferences(2))
    recipe = tiny.recipe(tmp_path, **{"stages": ["dpo"], "evaluation.prompts": 24, "data.too_long": "drop"})
    monkeypatch.setattr("truing.preflight.stages.is_fetched", lambda _: False)
    (fault,) = found(recipe).problems
    assert "24 different prompts, of which 24 are to be held out" in str(fault)
    (fault,) = found(changed(recipe, **{"data.heldout_preferences": {"path": str(own)}})).problems
    assert "2 of 2 held-out preferences are learnt from as well" in str(fault)
    assert found(changed(recipe, **{"evaluation.prompts": 4})).problems == []


def test_of_one_prompt_none_can_be_held_out_however_few_are_asked_for(tmp_path: Path) -> None:
    prompts = tiny.write_rows(tmp_path / "prompts.jsonl", [{"prompt": "a?"}])
    recipe = tiny.recipe(tmp_path, **{"data.prompts": {"path": str(prompts)}, "evaluation.prompts": 1})
    (fault,) = found(recipe).problems
    assert fault.what == "there is one prompt, of which 1 is to be held out: none is left to learn from."
    assert fault.hint == "Give more prompts."


def test_too_few_prompts_are_counted_once_those_that_leave_no_room_are_out(tmp_path: Path) -> None:
    prompts = tiny.write_rows(tmp_path / "prompts.jsonl", [{"prompt": text} for text in ("a?", "b?", "e" * 60, "c?")])
    recipe = tiny.recipe(tmp_path, **{"data.prompts": {"path": str(prompts)}, "data.too_long": "drop"})
    assert "there are 3 different prompts, of which 4" in str(found(recipe).problems[0])
    told = found(changed(recipe, **{"evaluation.prompts": 2}))
    assert told.problems == []
    (remark,) = told.odd
    assert f"left out, since 1 row does not fit into 64 tokens: {prompts}:3 (prompt 60 + room for 6 new)" in remark
    assert remark.endswith("lower rollout.max_new_tokens, shorten the rows or set data.too_long to cut_prompt.")


def test_dpo_needs_prompts_that_it_does_not_learn_from(tmp_path: Path) -> None:
    own = tiny.write_rows(tmp_path / "own.jsonl", [pair("q?"), pair("p?")])
    recipe = tiny.recipe(tmp_path, **{"stages": ["dpo"], "data.heldout_preferences": {"path": str(own)}})
    (fault,) = found(recipe).problems
    assert "every prompt is in a pair that is learnt from" in str(fault)
    assert found(changed(recipe, stages=["reward"])).problems == []


def test_rows_that_no_stage_learns_from_are_not_measured(tmp_path: Path) -> None:
    recipe = pairs(tmp_path, pair("a?", LONG), pair("b?"))
    assert found(changed(recipe, stages=["sft"])).problems == []
    assert found(recipe).problems


def test_all_that_cannot_be_encoded_is_told_with_what_is_too_long(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, stages=["sft"])
    words = AutoTokenizer.from_pretrained(tmp_path / "base")
    words.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        "{% for turn in messages %}{{ turn.content }}{% endfor %}"
    )
    words.save_pretrained(tmp_path / "base")
    asked = {"role": "user", "content": "a"}
    rows: list[dict[str, Any]] = [
        {"prompt": [{"role": "system", "content": "b"}, asked], "completion": "c"} for _ in range(2)
    ]
    rows += [{"prompt": [asked], "completion": LONG}]
    own = tiny.write_rows(tmp_path / "own.jsonl", rows)
    tiny.write_rows(tmp_path / "demonstrations.jsonl", [{"prompt": [asked], "completion": text} for text in "ab"])
    told = "\n".join(map(str, found(changed(recipe, **{"data.heldout_demonstrations": {"path": str(own)}})).problems))
    for line in (f"{own}:1: the chat template", "2 rows are so", f"{own}:3 (prompt 1 + completion 91)"):
        assert line in told


def test_a_row_that_makes_the_tokenizer_fail_is_named(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, stages=["sft"])
    file = tmp_path / "base" / "tokenizer.json"
    file.write_text(
        file.read_text()
        .replace('"unk_token":"?"', '"unk_token":"none"')
        .replace('"unk_token": "?"', '"unk_token": "none"')
    )
    rows = [*tiny.demonstrations(4), {"prompt": "ä", "completion": "b"}]
    tiny.write_rows(tmp_path / "demonstrations.jsonl", rows)
    (fault,) = found(recipe).problems
    assert f"{tmp_path / 'demonstrations.jsonl'}:5: the tokenizer cannot read it: " in str(fault)


@pytest.mark.parametrize("policy", ["error", "drop", "cut_prompt", "cut_completion"])
def test_pairs_that_the_tokenizer_cannot_tell_apart_have_another_hint(policy: str, tmp_path: Path) -> None:
    recipe = pairs(tmp_path, pair("a?", "ä", "ö"), pair("b?"), pair("c?"), pair("d?"), pair("e?"), pair("f?"))
    lost, remark = found(changed(recipe, **{"data.too_long": policy})).odd
    assert f"{tmp_path / 'pairs.jsonl'}:1: the text does not come back from its tokens" in lost
    alike = f"left out, since `chosen` and `rejected` have the same tokens: {tmp_path / 'pairs.jsonl'}:1."
    assert alike in remark
    assert "Use a tokenizer" in remark


def test_what_is_missing_of_a_hub_model_is_left_to_the_run_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path)
    monkeypatch.setattr("truing.preflight.stages.is_fetched", lambda _: True)  # its config is there, its tokenizer not
    told = found(changed(recipe, **{"base.path": "someone/model"}))
    assert told.problems == []
    (sentence,) = told.unchecked
    assert "Row lengths were not checked, and nothing was rehearsed, for want of the base: someone/model: " in sentence


@pytest.mark.parametrize("known", [True, False])
def test_ratings_of_one_kind_are_told_before_anything_is_learnt(
    known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path, stages=["kto"])
    if not known:
        monkeypatch.setattr("truing.preflight.stages.is_fetched", lambda _: False)
    assert found(recipe).problems == []
    tiny.write_rows(tmp_path / "ratings.jsonl", [row for row in tiny.ratings() if row["label"]])
    assert {problem.code for problem in found(recipe).problems} == {"data/one-label"}


def test_sft_on_the_chosen_side_needs_pairs_and_no_demonstrations(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **{"stages": ["sft"], "sft.data": "preferences", "data.demonstrations": None})
    assert found(recipe).problems == []
    tiny.write_rows(tmp_path / "preferences.jsonl", [row | {"prompt": "a?"} for row in tiny.preferences()])
    assert [problem.code for problem in found(recipe).problems] == ["data/none-to-hold-out"]


def test_a_variant_may_learn_to_say_other_rows(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **{"stages": ["sft"], "variants": {"chosen": {"sft.data": "preferences"}}})
    assert found(recipe).problems == []
    rows = tiny.prepared(recipe)
    assert rows.tokens(["preferences"])
    assert shortest_rows(recipe, rows).preferences(recipe).train
