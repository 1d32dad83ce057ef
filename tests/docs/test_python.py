"""Every block of docs/python.md runs, in the page's order, and its loop is the run's own."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
from docs.code_links import ROOT
from transformers import AutoModelForCausalLM

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGE = ROOT / "docs" / "python.md"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the blocks of the page leave behind."""
    place = tmp_path_factory.mktemp("page")
    tiny.recipe_file(place).rename(place / "my.yaml")
    names: dict[str, Any] = {"__name__": "page"}
    text = PAGE.read_text(encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for found in BLOCK.finditer(text):
            before = "\n" * text.count("\n", 0, found.start(1))  # so that a traceback names the page's own line
            exec(compile(before + found[1], str(PAGE), "exec"), names)
    return names | {"place": place}


def test_the_loop_is_that_of_the_run(told: dict[str, Any]) -> None:
    metrics: pd.DataFrame = told["run"].metrics
    logged = metrics[(metrics.stage == "ppo") & (metrics.step > 0)]
    assert told["scores"] == pytest.approx(logged.score.tolist(), abs=1e-5)
    assert len(told["scores"]) == 3


def test_what_it_leaves_behind_is_what_the_page_says(told: dict[str, Any]) -> None:
    place, run = told["place"], told["run"]
    assert run.stages == {"sft": "done", "reward": "done", "ppo": "done"}
    assert (place / "score.svg").read_text().startswith("<svg ")
    assert isinstance(told["model"], torch.nn.Module)
    assert told["start"].loaded.place == str(Path("runs") / "mine" / "sft" / "model")
    assert AutoModelForCausalLM.from_pretrained(place / "mine") is not None


def test_dpos_loss_is_its_formula(told: dict[str, Any]) -> None:
    gap = (told["chosen"] - told["ref_chosen"]) - (told["rejected"] - told["ref_rejected"])
    assert told["loss"].item() == pytest.approx(-torch.nn.functional.logsigmoid(0.1 * gap).item(), abs=1e-6)
    assert any(weight.grad is not None for weight in told["policy"].parameters())
