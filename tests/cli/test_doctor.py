"""`truing doctor` says what there is and what a recipe needs; what is wrong ends with 2, as validate has it."""

import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from truing.config.recipe import Recipe
from truing.estimate import estimator
from truing.estimate.dry_run import Usage
from truing.processes.speed import Speed


def test_without_a_recipe_the_machine_is_told(truing: Any) -> None:
    said = truing("doctor")
    assert said.code == 0
    for told in (f"torch {torch.__version__}", "device", "threads", "oneDNN", "extra quant"):
        assert told in said.out


def test_every_stage_is_told_with_peak_and_time(truing: Any, tmp_path: Path) -> None:
    stages = ["sft", "reward", "ppo", "dpo", "kto", "simpo", "orpo"]
    said = truing("doctor", tiny.recipe_file(tmp_path, stages=stages))
    assert said.code == 0
    rows = {line.split()[0]: line.split()[1:] for line in said.out.splitlines()}
    for stage in stages:
        assert [unit for unit in rows[stage] if unit.isalpha()] == ["GB", "GB", "s"]
    # 24 rows less those held out, by 8 in 2 passes; 2 updates.
    steps = {stage: int(cells[-2]) for stage, cells in rows.items() if stage in ("sft", "reward", "ppo")}
    assert steps == {"sft": 6, "reward": 6, "ppo": 2}
    assert "All steps of all stages: 0:00:" in said.out
    assert "All figures are those of one process that does the work alone." in said.out
    assert "It fits." in said.out


def test_what_would_make_it_fit_is_named_as_it_is_typed(
    truing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_up(recipe: Recipe, *_: object) -> dict[str, Usage]:
        return dict.fromkeys(recipe.stages, Usage(4e9 if recipe.roles == "separate" else 1e9, 0.5e9, 1.0))

    monkeypatch.setattr(estimator, "dry_run", made_up)
    recipe = tiny.recipe_file(tmp_path, roles="separate")
    monkeypatch.setattr(estimator, "memory_of", lambda _: int(2e9))
    said = truing("doctor", recipe)
    assert said.code == 0
    assert "It does not fit. With --set roles=shared the peak is 1.00 GB." in said.out
    monkeypatch.setattr(estimator, "memory_of", lambda _: int(0.5e9))
    assert (
        "--set roles=shared the peak is 1.00 GB, which does not fit either: take a smaller"
        in truing("doctor", recipe).out
    )


@pytest.mark.parametrize(
    ("ahead", "told"),
    [(0, "reads what it drew once more."), (2, "4 adapters of earlier updates come on top of the memory, and 2 on")],
)
def test_that_a_server_draws_is_said_beside_what_was_counted_without_it(
    truing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int, told: str
) -> None:
    monkeypatch.setattr(estimator, "dry_run", lambda recipe, *_: dict.fromkeys(recipe.stages, Usage(4e9, 1e9, 1.0)))
    changes = {"rollout.engine": "vllm", "rollout.max_staleness": ahead}
    assert told in truing("doctor", tiny.recipe_file(tmp_path, **changes)).out


def test_of_several_processes_each_is_told_and_which_launch_fits(
    truing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one process 4 GB were measured, and what the tiny model changes of that is below what is told.

    Libraries for several take 0.13 GB, which those with parts of weights save elsewhere (`estimate/launches.py`).
    """
    monkeypatch.setattr(estimator, "dry_run", lambda recipe, *_: dict.fromkeys(recipe.stages, Usage(4e9, 1e9, 1.0)))
    monkeypatch.setattr(estimator, "measured_speed", lambda *_: Speed(2e-4, 1e9, 1.25))
    monkeypatch.setattr("truing.preflight.launching.PROCESSES_PAY_FROM", 1)
    recipe = tiny.recipe_file(tmp_path, shape="llama-in-groups", roles="separate")
    monkeypatch.setattr(estimator, "memory_of", lambda _: int(10e9))
    said = truing("doctor", recipe, "--processes", "4", "--tp", "2")
    assert said.code == 0
    rows = re.findall(r"^(one process|--processes.*?) {2,}([0-9.]+ GB) +(yes|no) +[0-9:]+ *$", said.out, re.MULTILINE)
    assert set(rows) == {
        ("--processes 4", "4.13 GB", "no"),
        ("--processes 4 --set compute.shard=true", "4.00 GB", "no"),
        ("--processes 4 --pp 2", "4.00 GB", "no"),
        ("--processes 4 --tp 2", "4.00 GB", "no"),
        ("--processes 2", "4.13 GB", "yes"),
        ("--processes 2 --set compute.shard=true", "4.00 GB", "yes"),
        ("--processes 2 --pp 2", "4.00 GB", "yes"),
        ("--processes 2 --tp 2", "4.00 GB", "yes"),
        ("one process", "4.00 GB", "yes"),
    }
    assert "times 1.25 since the others" in said.out
    assert "what is exchanged at 1 GB/s and 0.2 ms a message, as was measured here" in said.out
    assert "Slower than one process" not in said.out
    monkeypatch.setattr(estimator, "measured_speed", lambda *_: None)
    assert "1 GB/s and 0.3 ms a message, which is assumed;" in truing("doctor", recipe, "--processes", "2").out
    assert "There is 10.00 GB for all of them. Take --processes 2." in said.out
    monkeypatch.setattr(estimator, "memory_of", lambda _: int(1e9))
    assert "None fits. Take more processes" in truing("doctor", recipe, "--processes", "4").out


@pytest.mark.parametrize(
    ("shape", "options", "what"),
    [
        (
            "llama",
            ["--processes", "3", "--tp", "2"],
            "2 slices of each layer need 2 processes",
        ),
        ("llama-in-groups", ["--processes", "3", "--tp", "3"], "which 3 processes cannot share out"),
        ("gpt2", ["--processes", "2", "--tp", "2"], "has no plan in transformers"),
        ("llama", ["--processes", "4", "--pp", "4"], "has 2 layers, which cannot be cut into 4 stages"),
        ("llama-in-groups", ["--processes", "2", "--tp", "2", "--set", "compute.shard=true"], "--tp has cut already"),
    ],
)
def test_a_launch_that_run_refuses_the_doctor_refuses(
    truing: Any, tmp_path: Path, shape: str, options: list[str], what: str
) -> None:
    recipe = tiny.recipe_file(tmp_path, shape=shape)
    said = truing("doctor", recipe, *options)
    assert said.code == 2
    assert what in said.err


def test_what_cannot_even_be_tried_is_said(truing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimator, "memory_of", lambda _: 1)
    said = truing("doctor", tiny.recipe_file(tmp_path))
    assert said.code == 0
    assert "Peak more than there is" in said.out
    assert "no change of the recipe would help: take a smaller base" in said.out


def test_what_validate_refuses_the_doctor_refuses(truing: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path)
    assert truing("doctor", recipe, "--set", "ppo.updates=none").code == 2
    assert truing("doctor", tmp_path / "no.yaml").code == 2
    assert truing("doctor", recipe, "--set", "base.path=no/such/directory").code == 2
    (tmp_path / "base" / "config.json").write_text('{"model_type": "no-such"}', encoding="utf-8")
    said = truing("doctor", recipe)
    assert said.code == 2
    assert "base" in said.err
