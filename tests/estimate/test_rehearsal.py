"""What a run would fail on late is found by a step of each stage on one row."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from architectures import figures
from architectures.families import HYBRID
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from truing.config.recipe import Recipe
from truing.config.sections import Base, Compute, Source
from truing.core.errors import ModelError, RewardError
from truing.estimate import classifiers, rehearsal
from truing.estimate.rehearsal import rehearse
from truing.models import layout
from truing.models.first_layers import layers_of_every_kind
from truing.models.load import outline_base
from truing.models.save import save_adapter
from truing.rewards.combined import MembersReward

STAGES = ["sft", "reward", "ppo", "dpo", "kto", "simpo", "orpo"]
_SCORED = {"rewards.sources": [{"kind": "function", "path": "letters:letter_a", "weight": 1.0, "normalise": False}]}


def _rehearsed(recipe: Recipe) -> str:
    assert recipe.base is not None
    return rehearse(recipe, tiny.prepared(recipe), outline_base(recipe.base, recipe.compute))


@pytest.mark.parametrize("roles", ["shared", "separate"])
def test_every_stage_takes_a_step_and_the_time_is_told(roles: str, tmp_path: Path) -> None:
    said = _rehearsed(tiny.recipe(tmp_path, stages=STAGES, roles=roles))
    assert said.startswith("Rehearsed in ")
    assert "the base itself" in said


@pytest.mark.parametrize("roles", ["shared", "separate"])
def test_what_dpo_says_is_scored_by_all_members_together(
    roles: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    right = MembersReward.scores_and_spread

    def noted(self: MembersReward, samples: Any) -> Any:
        scored.append(len(self.members))
        return right(self, samples)

    monkeypatch.setattr(MembersReward, "scores_and_spread", noted)
    soft = [{"kind": "stage", "combine": "soft_minimum", "tau": 1.0}]
    changes = {"stages": ["sft", "reward", "dpo"], "reward.members": 2, "rewards.sources": soft}
    _rehearsed(tiny.recipe(tmp_path, roles=roles, **changes))
    assert set(scored) == {2}


def test_a_large_base_is_stood_in_for_by_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe(tmp_path, stages=["sft"])
    monkeypatch.setattr(rehearsal, "SMALL", 0)
    assert "a copy with random weights, 1 of its layers" in _rehearsed(recipe)
    monkeypatch.setattr(rehearsal, "TOO_LARGE", 0)
    assert "Not rehearsed" in _rehearsed(recipe)


@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_rows_of_new_tokens_are_learnt_and_saved_by_the_first_stage(
    shape: str, copied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []
    monkeypatch.setattr(
        "truing.training.job.save_adapter", lambda *given: made.append(given[2] is not None) or save_adapter(*given)
    )
    if copied:
        monkeypatch.setattr(rehearsal, "SMALL", 0)
    _rehearsed(tiny.chat_recipe(tmp_path, shape, stages=["sft", "reward", "ppo"]))
    assert made == [True, False, False]


@pytest.mark.parametrize("stages", [["reward"], ["dpo"], ["reward", "dpo"]])
@pytest.mark.parametrize("layers", [1.0, 0.5])
def test_a_stage_of_pairs_learns_them_where_it_begins_with_the_base(
    stages: list[str], layers: float, tmp_path: Path
) -> None:
    _rehearsed(tiny.chat_recipe(tmp_path, stages=stages, **{"lora.layers": layers}))


@pytest.mark.parametrize("numbers", [torch.float16, torch.bfloat16])
def test_a_base_in_half_precision_is_held_to_what_was_trained_in_single(numbers: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, stages=["sft", "reward"])
    tiny.model().to(numbers).save_pretrained(tmp_path / "base")
    assert _rehearsed(recipe)


def test_a_base_that_grows_for_its_pad_alone_is_rehearsed(tmp_path: Path) -> None:
    assert _rehearsed(tiny.recipe(tmp_path, pad=None, stages=["sft"]))


def test_what_a_stage_does_not_survive_is_raised_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ModelError("cannot be a critic.", code="model/other")

    monkeypatch.setattr(layout, "_critic", fail)
    with pytest.raises(ModelError, match="cannot be a critic"):
        _rehearsed(tiny.recipe(tmp_path, stages=["sft", "reward", "ppo"]))


def test_an_adapter_that_is_lost_in_merging_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe(tmp_path, stages=["sft"])
    monkeypatch.setattr("truing.training.job.merge", lambda role: role.adapters.peft.unload())
    with pytest.raises(ModelError, match="once it is merged") as raised:
        _rehearsed(recipe)
    assert raised.value.problem.code == "model/not-merged"


@pytest.mark.parametrize(
    ("written", "code", "told"),
    [
        ("async def score(responses): return [0.0]", "rewards/signature", "is called with two lists"),
        ("def score(*, prompts, responses): return [0.0]", "rewards/signature", "is called with two lists"),
        ("def score(responses): return [0.0]", "rewards/signature", "is called with two lists"),
        ("def score(completions, prompts): return [0.0]", "rewards/signature", "completions, is given the prompts"),
        ("def score(texts, prompts): return [0.0] * 2", "rewards/signature", "prompts, is given the responses"),
        ("def score(outputs, x): return [0.0] * 2", "rewards/signature", "outputs, is given the prompts"),
        ("def score(prompts, cs): return [c[0]['content'] for c in cs]", "rewards/function-fails", "TypeError"),
    ],
)
def test_a_function_of_another_form_is_named_with_its_line(written: str, code: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(f"import math\n{written}\n")
    source = {"kind": "function", "path": f"{file}:score", "weight": 1.0, "normalise": False}
    recipe = tiny.recipe(tmp_path, stages=["sft", "ppo"], **{"rewards.sources": [source]})
    with pytest.raises(RewardError, match=told) as raised:
        _rehearsed(recipe)
    assert raised.value.problem.code == code
    assert f"{file}, line 2" in str(raised.value)


def _judged_by(classifier: Path | str, place: Path, **changes: Any) -> Recipe:
    source = {"kind": "model", "path": str(classifier), "weight": 1.0, "normalise": False}
    return tiny.recipe(place, **{"stages": ["sft", "ppo"], "rewards.sources": [source], **changes})


def test_a_classifier_scores_rows_before_anything_is_paid_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tiny.classifier(tmp_path / "judge")
    recipe = _judged_by(place, tmp_path)
    assert f"{place} scored 3 rows." in _rehearsed(recipe)
    monkeypatch.setattr(classifiers, "WHOLE", 0)
    assert f"Of {place}, one layer with random weights scored 3 rows." in _rehearsed(recipe)
    monkeypatch.setattr(classifiers, "TOO_LARGE", 0)
    assert f"{place} was not asked" in _rehearsed(recipe)
    assert "someone/judge is not on this machine yet" in _rehearsed(_judged_by("someone/judge", tmp_path))


ASKED = [{"role": "user", "content": "a?"}]


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ([{"role": "system", "content": "be brief"}, *ASKED], "not so"),
        ([*ASKED, {"role": "assistant", "content": "b."}, *ASKED], "not so"),
        ([{"role": "user", "content": "a" * 40}], "it reads 32"),
    ],
    ids=["of another kind", "of several turns", "the longest"],
)
def test_a_classifier_is_asked_about_the_longest_prompt_and_each_kind(
    last: list[dict[str, str]], told: str, tmp_path: Path
) -> None:
    place = tiny.classifier(tmp_path / "judge")
    words = AutoTokenizer.from_pretrained(place)
    words.chat_template = "{{ raise_exception('not so') if messages | length > 2 }}" + tiny.CHAT
    words.save_pretrained(place)
    config = place / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 32}))
    prompts = [[{"role": "user", "content": f"{letter}?"}] for letter in "bcdefghij"]
    rows = [{"prompt": prompt} for prompt in [*prompts, last]]
    path = tiny.write_rows(tmp_path / "prompts.jsonl", rows)
    recipe = _judged_by(place, tmp_path, **{"stages": ["ppo"], "data.prompts": Source(path=str(path)).model_dump()})
    with pytest.raises((ModelError, RewardError), match=told):
        _rehearsed(recipe)


@pytest.mark.parametrize("whole", [True, False])
def test_a_classifier_that_reads_less_than_a_row_is_told(
    whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tiny.classifier(tmp_path / "judge")
    config = place / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 3}))
    if not whole:
        monkeypatch.setattr(classifiers, "WHOLE", 0)
    with pytest.raises(RewardError, match="it reads 3") as raised:
        _rehearsed(_judged_by(place, tmp_path))
    assert (raised.value.problem.code, raised.value.problem.where) == ("rewards/too-long", str(place))


def test_a_classifier_whose_scores_are_no_numbers_is_told_unless_such_are_dropped(tmp_path: Path) -> None:
    place = tiny.classifier(tmp_path / "judge")
    weights = load_file(place / "model.safetensors")
    too_large = torch.full_like(weights["score.weight"], 3e38)  # each is a number, sums of them are none
    save_file(weights | {"score.weight": too_large}, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(RewardError) as raised:
        _rehearsed(_judged_by(place, tmp_path))
    assert raised.value.problem.code == "rewards/not-finite"
    assert "scored 3 rows" in _rehearsed(_judged_by(place, tmp_path, **{"rewards.on_bad_score": "drop"}))


def test_large_files_that_lack_a_weight_are_told_without_reading_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A language model in the place of a classifier has no score, and a base may have lost a layer."""
    monkeypatch.setattr(classifiers, "WHOLE", 0)
    monkeypatch.setattr(rehearsal, "SMALL", 0)
    judge, other = tiny.classifier(tmp_path / "judge"), tiny.recipe(tmp_path / "other", stages=["sft"])
    for place, name in ((judge, "score.weight"), (tmp_path / "other/base", "model.norm.weight")):
        weights = load_file(place / "model.safetensors")
        del weights[name]
        save_file(weights, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"its files lack score\.weight"):
        _rehearsed(_judged_by(judge, tmp_path))
    with pytest.raises(ModelError, match=r"its files lack model\.norm\.weight"):
        _rehearsed(other)


def test_a_variant_that_changes_more_than_a_number_is_rehearsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    run = rehearsal.run_stage
    monkeypatch.setattr(rehearsal, "run_stage", lambda stage, *rest: begun.append(stage.name) or run(stage, *rest))
    variants = {"far": {"ppo.kl.beta": 0.0, "ppo.updates": 900}, "apart": {"roles": "separate", "ppo.updates": 900}}
    _rehearsed(tiny.recipe(tmp_path, stages=["sft", "ppo"], variants=variants, **_SCORED))
    assert begun == ["sft", "sft-apart", "ppo", "ppo-apart"]


def test_it_computes_on_one_thread_and_leaves_the_others_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[int] = []
    run, before = rehearsal.run_stage, torch.get_num_threads()
    monkeypatch.setattr(rehearsal, "run_stage", lambda *given: inside.append(torch.get_num_threads()) or run(*given))
    torch.set_num_threads(3)
    try:
        _rehearsed(tiny.recipe(tmp_path, **{"stages": ["sft"], "compute.threads": 2}))
        assert (inside, torch.get_num_threads()) == ([1], 3)
    finally:
        torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore")
def test_a_copy_has_a_layer_of_each_kind(tmp_path: Path) -> None:
    sizes = HYBRID["qwen3_5_text"] | {
        "num_hidden_layers": 6,
        "layer_types": ["linear_attention"] * 2 + ["full_attention"] * 4,
    }
    with torch.random.fork_rng(devices=[]):
        figures.write_model("qwen3_5_text", sizes, tmp_path)
    assert layers_of_every_kind(outline_base(Base(path=str(tmp_path)), Compute(device="cpu")).model) == 3
