"""The adapters of a run load from any working directory, and say which base they belong to whatever its path is."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from truing.config.recipe import Recipe
from truing.pipeline.execute import run_pipeline
from truing.runs.progress import SilentProgress

STARTS = {"sft": "base", "reward": "sft/model", "ppo": "sft/model"}
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


@pytest.mark.parametrize("stage", STARTS)
def test_its_card_names_the_base_by_content(stage: str, ran: tuple[Recipe, Path]) -> None:
    run = ran[1] / "runs" / "a"
    card = (run / stage / "adapter" / "README.md").read_text()
    start = ran[1] / "base" if stage == "sft" else run / STARTS[stage]
    content = hashlib.sha256((start / "model.safetensors").read_bytes()).hexdigest()
    assert f"| `model.safetensors` | `{content}` |" in card
    assert f"belongs to `{STARTS[stage]}`" in card
    assert ("AutoModelForSequenceClassification" in card) == (stage == "reward")
    assert str(ran[1]) not in card


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_the_code_on_its_card_runs(
    stage: str, ran: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second way works where the base has gone from where it was."""
    run = tmp_path / "moved"
    shutil.copytree(ran[1] / "runs" / "a", run)
    shutil.copytree(ran[1] / "base", tmp_path / "base")
    adapter = run / stage / "adapter"
    one, two = re.findall(r"```python\n(.*?)```", (adapter / "README.md").read_text(), re.DOTALL)
    base = tmp_path / "base" if stage == "sft" else run / STARTS[stage]
    for code in (one, two):
        if code is two:
            config = json.loads((adapter / "adapter_config.json").read_text())
            (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "/gone"}))
        names: dict[str, torch.nn.Module] = {}
        exec(code.replace("path/to/this/folder", str(adapter)).replace("path/to/the/base", str(base)), names)
        torch.testing.assert_close(
            _logits(names["model"].eval()), _logits(_model(run / stage / "model")), atol=1e-4, rtol=1e-4
        )


def test_at_another_path_only_the_place_of_a_base_within_the_run_differs(
    ran: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, place = ran
    monkeypatch.chdir(place)
    run_pipeline(recipe, tmp_path / "other", SilentProgress())
    for stage in STARTS:
        one, other = (root / stage / "adapter" for root in (place / "runs" / "a", tmp_path / "other"))
        files = {path.name for path in one.iterdir()}
        assert files == {path.name for path in other.iterdir()}
        differing = {name for name in files if (one / name).read_bytes() != (other / name).read_bytes()}
        assert differing == (set() if stage == "sft" else {"adapter_config.json"})
        configs = [json.loads((adapter / "adapter_config.json").read_text()) for adapter in (one, other)]
        where = [config.pop("base_model_name_or_path") for config in configs]
        assert configs[0] == configs[1]
        if stage == "reward":
            cards = [(adapter.parent / "model" / "README.md").read_bytes() for adapter in (one, other)]
            assert cards[0] == cards[1]
        roots = [place, place] if stage == "sft" else [place / "runs" / "a", tmp_path / "other"]
        assert where == [str(root / STARTS[stage]) for root in roots]
