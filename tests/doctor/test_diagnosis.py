"""A recipe that does not fit is told what would make it fit."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from truing.doctor.hints import changed

from truing.config.recipe import Recipe
from truing.config.sections import World
from truing.core.errors import ModelError
from truing.doctor import diagnosis
from truing.doctor.diagnosis import Diagnosis, diagnose
from truing.doctor.phase import Phase


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what the machine has, beside a process that takes nothing."""
    monkeypatch.setattr(diagnosis, "resident", lambda: 0)
    return lambda memory: monkeypatch.setattr(diagnosis, "memory_of", lambda _: memory)


def test_the_peak_is_the_worst_phase_and_activations_have_slack() -> None:
    phases = [Phase("ppo", "score", {"weights": 50.0}), Phase("ppo", "learn", {"weights": 50.0, "activations": 10.0})]
    found = Diagnosis(process=5, memory=100, phases=phases)
    assert found.peak == 5 + 50 + 10 * diagnosis.SLACK
    assert found.fits
    assert not Diagnosis(5, 70, phases).fits  # the system needs its share
    assert Diagnosis(5, None, phases).fits


def test_what_fits_is_left_as_it_is_and_timed(given: Any, tmp_path: Path) -> None:
    given(10**12)
    found = diagnose(tiny.recipe(tmp_path))
    assert found.changes == {}
    assert found.seconds is not None
    for phase, seconds in zip(found.phases, found.seconds, strict=True):
        assert (seconds is None) == (phase.name in ("checkpoint", "save"))


def test_what_recomputes_its_layers_is_named_where_that_lowers_the_peak(given: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, stages=["sft"], **{"compute.learn_tokens": 1})
    given(1)
    assert diagnose(recipe).changes["compute.gradient_checkpointing"] is True


def test_changes_are_named_that_make_it_fit(given: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, roles="separate", **{"sft.method": "full"})
    given(None)
    peak = diagnose(recipe).peak
    given(0.7 * peak)
    found = diagnose(recipe)
    assert not found.fits
    assert found.would_fit
    assert found.peak == peak
    document = changed(recipe, found.changes)
    assert document is not None
    given(None)
    assert diagnose(document).peak == pytest.approx(found.peak_changed)


def test_what_never_fits_is_said_with_the_lowest_peak(given: Any, tmp_path: Path) -> None:
    given(1)
    found = diagnose(tiny.recipe(tmp_path))
    assert not found.would_fit
    assert found.seconds is None
    assert found.peak_changed is not None
    assert found.peak_changed < found.peak


def test_on_a_device_that_is_not_the_cpu_nothing_is_said_of_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(diagnosis, "device_of", lambda _: torch.device("meta"))
    assert diagnose(tiny.recipe(tmp_path)).seconds is None


def test_a_recipe_on_the_embedded_world_is_examined_without_a_run(tmp_path: Path) -> None:
    world = World(demonstrations=40, preferences=40, prompts=100)
    names = [phase.stage for phase in diagnose(Recipe(world=world)).phases]
    assert list(dict.fromkeys(names)) == ["sft", "reward", "ppo"]


def test_a_base_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    (tmp_path / "base" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="no causal language model could be loaded from here"):
        diagnose(recipe)
