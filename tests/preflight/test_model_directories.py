"""What a recipe names and no run could load is told before anything is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.config.recipe import Recipe
from truing.config.sections import Base
from truing.core.errors import InputError, ModelError
from truing.preflight.model_directories import check_layout, model_problems

MODEL: dict[str, Any] = {"kind": "model", "path": "{place}/judge"}
FUNCTION: dict[str, Any] = {"kind": "function", "path": "{place}/own.py:score"}


def _faults(place: Path, **changes: Any) -> list[str]:
    """What is told of a tiny recipe; `{place}` in its changes is where it lies."""
    changes = json.loads(json.dumps(changes).replace("{place}", str(place)))
    return [str(fault) for fault in model_problems(tiny.recipe(place, **changes))]


def _damaged(place: Path, name: str, content: str) -> list[InputError]:
    """What is told of a base with one file written over."""
    recipe: Recipe = tiny.recipe(place)
    (place / "base" / name).write_text(content)
    return list(model_problems(recipe))


@pytest.mark.parametrize("path", ["a" * 300, "/" + "a" * 300, "a/" * 5000, "nul\0"])
def test_a_path_that_can_be_none_is_told(path: str, tmp_path: Path) -> None:
    (told,) = _faults(tmp_path, **{"base.path": path})
    assert told == f"base.path: {path}: is no directory. Give a model's directory or a Hub id."


def test_a_gguf_file_whose_name_is_too_long_is_told(tmp_path: Path) -> None:
    (told,) = _faults(tmp_path, **{"base.gguf_file": "a" * 300})
    assert "holds no aaa" in told


@pytest.mark.parametrize("config", ["[" * 100_000, "[]", '{"a": ' + "9" * 5000 + "}", "\0"])
def test_a_config_that_is_none_is_told(config: str, tmp_path: Path) -> None:
    (fault,) = _damaged(tmp_path, "config.json", config)
    assert fault.what == "has no config.json that can be read, so it holds no model."


def test_an_adapter_is_told_as_that(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    (tmp_path / "base" / "adapter_config.json").write_text("{}")
    (tmp_path / "base" / "config.json").unlink()
    assert [fault.code for fault in model_problems(recipe)] == ["model/adapter-alone"]


@pytest.mark.parametrize("settings", ["{", "[]"])
def test_settings_of_generation_that_are_none_are_told(settings: str, tmp_path: Path) -> None:
    (fault,) = _damaged(tmp_path, "generation_config.json", settings)
    assert fault.code == "model/unreadable-settings"
    assert "generation_config.json" in fault.what


def test_weights_that_cannot_be_read_are_told_with_file_and_hint(tmp_path: Path) -> None:
    (fault,) = _damaged(tmp_path, "model.safetensors", "version https://git-lfs.github.com/spec/v1\n")
    assert fault.where == f"base.path: {tmp_path / 'base'}"
    assert fault.what == "model.safetensors cannot be read (it is a Git LFS pointer)."
    assert fault.hint == "Fetch that file again; where it is a Git LFS pointer, with `git lfs pull`."


@pytest.mark.parametrize(
    ("labels", "count"),
    [
        ({"id2label": {"0": "bad", "1": "good", "2": "best"}}, 3),
        ({"id2label": None}, 2),
        ({"id2label": None, "num_labels": 4}, 4),
    ],
)
def test_a_reward_model_of_several_labels_is_told(labels: dict[str, Any], count: int, tmp_path: Path) -> None:
    config = tiny.classifier(tmp_path / "judge") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | labels))
    (told,) = _faults(tmp_path, **{"rewards.sources": [MODEL]})
    assert told.startswith(
        f"rewards.sources.0.path: {tmp_path}/judge: the model has {count} labels; a reward model has one."
    )


@pytest.mark.parametrize("labels", [{}, {"id2label": None, "num_labels": 1}])
def test_a_reward_model_of_one_label_is_sound(labels: dict[str, Any], tmp_path: Path) -> None:
    config = tiny.classifier(tmp_path / "judge") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | labels))
    assert _faults(tmp_path, **{"rewards.sources": [MODEL]}) == []


def test_rewards_of_variants_are_told_by_their_own_keys_and_shared_ones_once(tmp_path: Path) -> None:
    tiny.classifier(tmp_path / "two", labels=2)
    two = {"kind": "model", "path": "{place}/two"}
    variants = {"other": {"rewards.sources": [two]}, "free": {"ppo.kl.beta": 0.0}}
    shared, own = _faults(tmp_path, **{"rewards.sources": [FUNCTION], "variants": variants})
    assert shared.startswith("rewards.sources.0.path: ")
    assert own.startswith(f"variants.other.rewards.sources.0.path: {tmp_path}/two: the model has 2 labels")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"rewards.sources": [FUNCTION]}, "rewards.sources.0.path"),
        (
            {"variants": {"other": {"rewards.sources": [{"kind": "stage"}, FUNCTION]}}},
            "variants.other.rewards.sources.1.path",
        ),
        ({"evaluation.judges": {"own": FUNCTION["path"]}}, "evaluation.judges.own"),
    ],
)
def test_a_function_whose_file_is_missing_is_told(changes: dict[str, Any], key: str, tmp_path: Path) -> None:
    (told,) = _faults(tmp_path, **changes)
    assert told.startswith(f"{key}: {tmp_path}/own.py:score: there is no file {tmp_path}/own.py. Paths start ")
    (tmp_path / "own.py").write_text("raise SystemExit('run')")
    assert _faults(tmp_path, **changes) == []


def test_functions_of_modules_are_left_to_the_run(tmp_path: Path) -> None:
    rewards = [{"kind": "function", "path": "no.such.module:score"}]
    assert _faults(tmp_path, **{"rewards.sources": rewards, "evaluation.judges": {"own": "nor.this:one"}}) == []


def test_rewards_that_no_stage_asks_for_are_left_alone(tmp_path: Path) -> None:
    assert _faults(tmp_path, stages=["sft"], **{"rewards.sources": [MODEL]}) == []
    assert len(_faults(tmp_path, stages=["sft", "dpo"], **{"rewards.sources": [MODEL]})) == 1


@pytest.mark.parametrize(
    ("config", "tensor", "pipeline", "told"),
    [
        ({"num_hidden_layers": 2}, 1, 3, "has 2 layers, which cannot be cut into 3 stages"),
        ({"n_layer": 2}, 1, 3, "has 2 layers, which cannot be cut into 3 stages"),
        ({"text_config": {"num_hidden_layers": 2}}, 1, 3, "has 2 layers, which cannot be cut into 3 stages"),
        ({"num_attention_heads": 9, "num_key_value_heads": 3}, 2, 1, "has 9 heads, which 2 processes cannot share out"),
        ({"num_attention_heads": 4, "num_key_value_heads": 1}, 2, 1, "has 1 heads of keys and values"),
    ],
)
def test_a_layout_that_the_counts_of_a_config_do_not_allow_is_refused(
    config: dict[str, Any], tensor: int, pipeline: int, told: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=told):
        check_layout(Base(path=str(tmp_path)), tensor, pipeline)


@pytest.mark.parametrize(
    ("config", "tensor", "pipeline", "told"),
    [
        ({"num_attention_heads": 4}, 3, 1, "Give --tp 2 or 4, or leave --tp out; "),
        ({"num_attention_heads": 24, "num_key_value_heads": 12}, 5, 1, "Give --tp 2, 3, 4, 6 or 12, or leave --tp "),
        ({"num_attention_heads": 9, "num_key_value_heads": 3}, 2, 1, "Give --tp 3, or leave --tp out; "),
        ({"num_attention_heads": 4, "num_key_value_heads": 1}, 2, 1, "Leave --tp out; "),
        ({"num_hidden_layers": 3}, 1, 4, "Give --pp 2 to 3, or leave --pp out; "),
        ({"num_hidden_layers": 1}, 1, 2, "Leave --pp out; "),
    ],
)
def test_numbers_that_would_do_are_named(
    config: dict[str, Any], tensor: int, pipeline: int, told: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as caught:
        check_layout(Base(path=str(tmp_path)), tensor, pipeline)
    assert (caught.value.problem.hint or "").startswith(told)


@pytest.mark.parametrize("config", [{}, {"num_attention_heads": 6, "num_hidden_layers": 3}, {"num_hidden_layers": "?"}])
def test_a_layout_that_they_allow_or_say_nothing_of_is_left_to_what_loads(
    config: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    check_layout(Base(path=str(tmp_path)), 3, 3)
