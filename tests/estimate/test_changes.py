"""A change is only named if a run would take the recipe with it."""

from pathlib import Path

import pytest
import tiny

from truing.config.recipe import Recipe
from truing.config.sections import World
from truing.core.errors import RecipeError
from truing.estimate import changes
from truing.estimate.changes import candidates, changed


def test_what_checks_between_sections_refuse_is_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(changes, "check_quantisation", lambda _: None)
    recipe = tiny.recipe(tmp_path, roles="separate", **{"sft.method": "full"})
    assert changed(recipe, {"base.quantize": "nf4"}) is None
    assert changed(recipe, {"base.quantize": "nf4", "roles": "shared"}) is None
    made = changed(recipe, {"base.quantize": "nf4", "roles": "shared", "sft.method": "lora"})
    assert made is not None
    assert made.base is not None
    assert made.base.quantize == "nf4"


def test_four_bits_are_for_machines_that_compute_in_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(_: object) -> None:
        raise RecipeError("not here.")

    monkeypatch.setattr(changes, "check_quantisation", refuse)
    assert changed(tiny.recipe(tmp_path), {"base.quantize": "nf4"}) is None


def test_what_changes_no_result_comes_first_and_what_is_set_already_is_not_proposed(tmp_path: Path) -> None:
    budgets = [("learn_tokens", 2048), ("score_tokens", 2048), ("rollout_rows", 64)]
    named = list(candidates(tiny.recipe(tmp_path, roles="separate", **{"sft.method": "full"})))
    assert named[:6] == [(f"compute.{key}", value // divisor) for divisor in (4, 16) for key, value in budgets]
    assert named[6:] == [
        ("compute.gradient_checkpointing", True),
        ("compute.pack_weights", False),
        ("roles", "shared"),
        ("sft.method", "lora"),
        ("base.quantize", "nf4"),
        ("lora.layers", 0.5),
        ("lora.layers", 0.34),
    ]
    least = {"compute.learn_tokens": 1, "compute.score_tokens": 1, "compute.rollout_rows": 1, "lora.layers": 0.2}
    spared = {"compute.gradient_checkpointing": True, "compute.pack_weights": False}
    assert [key for key, _ in candidates(tiny.recipe(tmp_path, **least | spared))] == ["base.quantize"]


def test_the_embedded_world_makes_its_own_base_which_is_not_quantised() -> None:
    assert "base.quantize" not in dict(candidates(Recipe(world=World())))
