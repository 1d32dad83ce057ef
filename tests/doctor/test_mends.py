"""A change is only named if a run would take the recipe with it."""

from pathlib import Path

import pytest
import tiny
from truing.doctor.hints import candidates, changed

from truing.core.errors import RecipeError
from truing.doctor import hints
from truing.doctor.phase import Phase


def test_what_checks_between_sections_refuse_is_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hints, "check_quantisation", lambda _: None)
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

    monkeypatch.setattr(hints, "check_quantisation", refuse)
    assert changed(tiny.recipe(tmp_path), {"base.quantize": "nf4"}) is None


def test_budgets_that_bind_come_first_and_what_changes_the_result_last(tmp_path: Path) -> None:
    learn = Phase("sft", "learn", {}, row_counts=frozenset({10, 5}))
    named = list(candidates(tiny.recipe(tmp_path), [learn]))
    assert named[:3] == [("compute.learn_tokens", size) for size in (5, 2, 1)]
    assert [key for key, _ in named[3:]] == [
        "compute.gradient_checkpointing",
        "compute.pack_weights",
        "roles",
        "sft.method",
        "base.quantize",
        "lora.layers",
        "lora.layers",
    ]
