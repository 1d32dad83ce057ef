"""The adapters of a run load from any working directory, and say which base they belong to whatever its path is."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from truing.config.recipe import Recipe
from truing.pipeline.execute import run_pipeline
from truing.runs.progress import SilentProgress

STAGES = ["sft", "reward", "ppo"]
TOKENS = torch.tensor([[1, 2, 3, 9, 27]])


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """A run whose base and directory were both given from the working directory."""
    place = tmp_path_factory.mktemp("project")
    recipe = tiny.recipe(place, **{"ppo.updates": 1})
    assert recipe.base is not None
    near = recipe.model_copy(update={"base": recipe.base.model_copy(update={"path": "base"})})
    before = os.getcwd()
    os.chdir(place)
    try:
        run_pipeline(near, Path("runs/a"), SilentProgress())
    finally:
        os.chdir(before)
    return near, place


@torch.no_grad()
def _logits(model: torch.nn.Module) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=TOKENS).logits
    return logits


def _model(directory: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory)
    return model


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_an_adapter_loads_with_one_line_from_anywhere(
    stage: str, ran: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ran[1] / "runs" / "a"
    monkeypatch.chdir(tmp_path)
    found = AutoPeftModelForCausalLM.from_pretrained(run / stage / "adapter").eval()
    torch.testing.assert_close(_logits(found), _logits(_model(run / stage / "model")), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_that_of_a_reward_model_loads_as_its_backbone(
    ran: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ran[1] / "runs" / "a"
    monkeypatch.chdir(tmp_path)
    found = AutoPeftModelForCausalLM.from_pretrained(run / "reward" / "adapter").eval()
    whole = AutoModelForSequenceClassification.from_pretrained(run / "reward" / "model")
    ours, theirs = (model.base_model(TOKENS).last_hidden_state for model in (found.get_base_model(), whole))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_it_names_the_recipes_base_by_name_and_by_content(stage: str, ran: tuple[Recipe, Path]) -> None:
    adapter = ran[1] / "runs" / "a" / stage / "adapter"
    assert _config(adapter)["base_model_name_or_path"] == str(ran[1] / "base")
    card = (adapter / "README.md").read_text()
    content = hashlib.sha256((ran[1] / "base" / "model.safetensors").read_bytes()).hexdigest()
    assert f"| `model.safetensors` | `{content}` |" in card
    assert "belongs to `base`" in card
    assert ("AutoModelForSequenceClassification" in card) == (stage == "reward")
    assert ("The first 2 of its 4 ranks" in card) == (stage != "sft")
    assert str(ran[1]) not in card


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_the_code_on_its_card_runs(
    stage: str, ran: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a run that was moved; the second way works where the base has gone from where it was too."""
    run = shutil.copytree(ran[1] / "runs" / "a", tmp_path / "moved")
    base = shutil.copytree(ran[1] / "base", tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    adapter = run / stage / "adapter"
    one, two = re.findall(r"```python\n(.*?)```", (adapter / "README.md").read_text(), re.DOTALL)
    for code in (one, two):
        if code is two:
            gone = _config(adapter) | {"base_model_name_or_path": "/gone"}
            (adapter / "adapter_config.json").write_text(json.dumps(gone))
        names: dict[str, torch.nn.Module] = {}
        exec(code.replace("path/to/this/folder", str(adapter)).replace("path/to/the/base", str(base)), names)
        torch.testing.assert_close(
            _logits(names["model"].eval()), _logits(_model(run / stage / "model")), atol=1e-4, rtol=1e-4
        )


def test_at_another_path_every_file_of_it_is_the_same(
    ran: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, place = ran
    monkeypatch.chdir(place)
    run_pipeline(recipe, tmp_path / "other", SilentProgress())
    for stage in STAGES:
        for kind in ("adapter", "model"):
            one, other = (root / stage / kind for root in (place / "runs" / "a", tmp_path / "other"))
            assert {path.name: path.read_bytes() for path in one.iterdir()} == {
                path.name: path.read_bytes() for path in other.iterdir()
            }


def test_one_on_a_model_that_sft_trained_whole_names_no_base_and_says_how_it_loads(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "files", stages=["sft", "dpo"], **{"sft.method": "full"})
    run_pipeline(recipe, tmp_path / "run", SilentProgress())
    adapter = tmp_path / "run" / "dpo" / "adapter"
    assert _config(adapter)["base_model_name_or_path"] is None
    card = (adapter / "README.md").read_text()
    assert "belongs to `sft/model` of the same run" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names: dict[str, torch.nn.Module] = {}
    base = str(tmp_path / "run" / "sft" / "model")
    exec(code.replace("path/to/this/folder", str(adapter)).replace("path/to/the/base", base), names)
    expected = _logits(_model(tmp_path / "run" / "dpo" / "model"))
    torch.testing.assert_close(_logits(names["model"].eval()), expected, atol=1e-4, rtol=1e-4)


def test_one_above_rows_of_new_tokens_brings_them_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is in other layers than the one beneath: `lora.layers` is of policies alone."""
    recipe = tiny.chat_recipe(tmp_path / "files", stages=["sft", "dpo"], **{"lora.layers": 0.5})
    run_pipeline(recipe, tmp_path / "run", SilentProgress())
    monkeypatch.chdir(tmp_path)
    for stage in ("sft", "dpo"):
        found = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "run" / stage / "adapter").eval()
        expected = _logits(_model(tmp_path / "run" / stage / "model"))
        torch.testing.assert_close(_logits(found), expected, atol=1e-4, rtol=1e-4)


def _config(adapter: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_text())
    return config
