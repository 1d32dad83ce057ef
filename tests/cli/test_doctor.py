"""`truing doctor` says what there is and what a recipe needs; what is wrong ends with 2, as validate has it."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from truing.doctor import diagnosis


def test_without_a_recipe_the_machine_is_told(truing: Any) -> None:
    said = truing("doctor")
    assert said.code == 0
    for told in (f"torch {torch.__version__}", "device", "threads", "oneDNN", "extra quant"):
        assert told in said.out


def test_every_phase_is_told_with_peak_and_time(truing: Any, tmp_path: Path) -> None:
    said = truing("doctor", tiny.recipe_file(tmp_path, stages=["sft", "reward", "ppo", "dpo"]))
    assert said.code == 0
    rows = [line.split()[:2] for line in said.out.splitlines()]
    for row in (["sft", "learn"], ["reward", "rollout"], ["ppo", "score"], ["ppo", "learn"], ["dpo", "learn"]):
        assert row in rows
    assert "It fits." in said.out


def test_what_would_make_it_fit_is_named_as_it_is_typed(
    truing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "resident", lambda: 0)
    monkeypatch.setattr(diagnosis, "memory_of", lambda _: 1)
    said = truing("doctor", tiny.recipe_file(tmp_path, roles="separate"))
    assert said.code == 0
    assert "It does not fit. With --set" in said.out
    assert "roles=shared" in said.out
    assert "take a smaller base" in said.out


def test_what_validate_refuses_the_doctor_refuses(truing: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path)
    assert truing("doctor", recipe, "--set", "ppo.updates=none").code == 2
    assert truing("doctor", tmp_path / "no.yaml").code == 2
    assert truing("doctor", recipe, "--set", "base.path=no/such/directory").code == 2
    (tmp_path / "base" / "config.json").write_text('{"model_type": "no-such"}', encoding="utf-8")
    said = truing("doctor", recipe)
    assert said.code == 2
    assert "base" in said.err
