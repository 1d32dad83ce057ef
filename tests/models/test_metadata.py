"""A saved copy says beside its weights what its base says, and generates as the base does."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from truing.config.sections import Base, Compute
from truing.models.load import load_base
from truing.models.metadata import keep_metadata
from truing.models.save import save_policy
from truing.stages.reward import train_reward
from truing.stages.sft import train_sft

A, EOS = tiny.LETTERS.index("a"), len(tiny.LETTERS)
SETTINGS: dict[str, Any] = {
    "eos_token_id": [EOS, A],
    "do_sample": False,
    "temperature": 0.9,  # with do_sample false, transformers does not save it once anything was changed
    "top_p": 0.6,
    "pad_token_id": EOS + 1,
    "of_the_maker": {"no": "word of transformers"},
}


def _base(place: Path, settings: dict[str, Any] | None, pad: str | None = "<|pad|>") -> Path:
    tiny.directory(place, pad=pad)
    if settings is None:
        (place / "generation_config.json").unlink()
    else:
        (place / "generation_config.json").write_text(json.dumps(settings))
    return place


def _copy(source: Path, place: Path) -> Path:
    base = load_base(Base(path=str(source)), Compute())
    save_policy(base.model, base.tokenizer, place)
    keep_metadata(Base(path=str(source)), base.model, base.tokenizer, place)
    return place


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_settings_that_transformers_would_not_save_are_kept_byte_for_byte(tmp_path: Path) -> None:
    source = _base(tmp_path / "base", SETTINGS)
    changed = GenerationConfig.from_pretrained(source)
    changed.pad_token_id = 0
    with pytest.raises(ValueError, match="temperature"):
        changed.save_pretrained(tmp_path)
    copy = _copy(source, tmp_path / "copy")
    assert (copy / "generation_config.json").read_bytes() == (source / "generation_config.json").read_bytes()


def test_a_copy_stops_where_the_base_does(tmp_path: Path) -> None:
    """At a token of the list that is not the tokenizer's eos."""
    source = _base(tmp_path / "base", {"eos_token_id": [EOS, A]})
    copy = _copy(source, tmp_path / "copy")
    prompts = torch.arange(26)[:, None]
    ended = 0
    for one, other in zip(_generated(source, prompts), _generated(copy, prompts), strict=True):
        assert one == other
        ended += one[-1] == A
    assert ended > 0
    assert AutoModelForCausalLM.from_pretrained(copy).generation_config.eos_token_id == [EOS, A]


def _generated(directory: Path, prompts: torch.Tensor) -> list[list[int]]:
    model = AutoModelForCausalLM.from_pretrained(directory)
    return [model.generate(prompt[None], max_new_tokens=20, do_sample=False)[0].tolist() for prompt in prompts]


@pytest.mark.parametrize("ends", [[EOS, A], A])
def test_the_end_tokens_of_a_config_are_kept(ends: list[int] | int, tmp_path: Path) -> None:
    source = _base(tmp_path / "base", None)
    config = _json(source / "config.json") | {"eos_token_id": ends}
    (source / "config.json").write_text(json.dumps(config))
    copy = _copy(source, tmp_path / "copy")
    expected = ends if isinstance(ends, list) else [A, EOS]  # the tokenizer's own, with which responses are taught
    assert _json(copy / "config.json")["eos_token_id"] == expected
    assert AutoModelForCausalLM.from_pretrained(copy).generation_config.eos_token_id == expected


def test_a_pad_that_was_added_is_merged_and_all_else_stays(tmp_path: Path) -> None:
    settings = SETTINGS | {"pad_token_id": EOS}
    source = _base(tmp_path / "base", settings, pad=tiny.EOS)
    (source / "special_tokens_map.json").write_text(json.dumps({"eos_token": tiny.EOS, "pad_token": tiny.EOS}))
    (source / "added_tokens.json").write_text(json.dumps({tiny.EOS: EOS}))
    config = _json(source / "tokenizer_config.json") | {"add_bos_token": False, "model_max_length": 64}
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    copy = _copy(source, tmp_path / "copy")
    assert _json(copy / "generation_config.json") == settings | {"pad_token_id": EOS + 1}
    tokenizer = AutoTokenizer.from_pretrained(copy)
    assert (tokenizer.pad_token, tokenizer.pad_token_id, tokenizer.eos_token) == ("<|pad|>", EOS + 1, tiny.EOS)
    assert _json(copy / "special_tokens_map.json") == {"eos_token": tiny.EOS, "pad_token": "<|pad|>"}
    assert _json(copy / "added_tokens.json") == {tiny.EOS: EOS, "<|pad|>": EOS + 1}
    saved = _json(copy / "tokenizer_config.json")
    assert (saved["add_bos_token"], saved["model_max_length"]) == (False, 64)


def test_files_of_tokenizer_and_processor_are_those_of_the_base(tmp_path: Path) -> None:
    source = _base(tmp_path / "base", SETTINGS)
    config = _json(source / "tokenizer_config.json") | {"add_bos_token": True, "of_the_maker": 1}
    (source / "tokenizer_config.json").write_text(json.dumps(config, indent=3))
    (source / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}<|end|>{% endfor %}")
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}")
    for name in ("preprocessor_config.json", "tokenizer.model", "special_tokens_map.json", "LICENSE"):
        (source / name).write_text("{}")
    for name in ("README.md", "training_args.bin"):
        (source / name).write_text("of another model")
    copy = _copy(source, tmp_path / "copy")
    there = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    for name in there - {"config.json", "model.safetensors", "README.md", "training_args.bin"}:
        assert (copy / name).read_bytes() == (source / name).read_bytes(), name
    assert not {"README.md", "training_args.bin"} & {path.name for path in copy.iterdir()}


def test_a_link_out_of_the_base_is_not_followed_and_those_of_the_hubs_cache_are(tmp_path: Path) -> None:
    source = _base(tmp_path / "models--a--b" / "snapshots" / "0f", SETTINGS)
    (tmp_path / "secret").write_text("of the person")
    (source / "LICENSE").symlink_to(tmp_path / "secret")
    (tmp_path / "models--a--b" / "blobs").mkdir()
    (tmp_path / "models--a--b" / "blobs" / "77").write_text("of the model")
    (source / "NOTICE").symlink_to("../../blobs/77")
    copy = _copy(source, tmp_path / "copy")
    assert not (copy / "LICENSE").exists()
    assert (copy / "NOTICE").read_text() == "of the model"


def test_every_stage_keeps_them_and_hands_them_on(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    _base(tmp_path / "base", SETTINGS)
    train_sft(tiny.job(recipe, tmp_path, "sft"))
    then = recipe.model_copy(update={"base": Base(path=str(tmp_path / "sft" / "model"))})
    train_reward(tiny.job(then, tmp_path, "reward"))
    for stage in ("sft", "reward"):
        assert _json(tmp_path / stage / "model" / "generation_config.json") == SETTINGS
