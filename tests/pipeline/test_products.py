"""By which products a run computes is measured once a machine, recorded, and kept whatever is measured later."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from faults.killed import left_behind

from truing.core.errors import RunError
from truing.kernels.cpu import linear
from truing.kernels.cpu.products import Products
from truing.pipeline import products as module
from truing.pipeline.execute import run_pipeline
from truing.pipeline.products import products_of_machine, products_of_run
from truing.runs.lineage import Lineage
from truing.runs.progress import SilentProgress
from truing.training.learner import Learner

OTHER = Products(small=None, large=None, small_packed=64, large_packed=8)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Products]:
    """What the machine gives when it is measured, the next time first; nothing is timed."""
    found = [OTHER, Products(small=8), Products(large=8)]
    monkeypatch.setattr(module, "measure_products", lambda: found.pop(0))
    return found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "products.json"


def test_a_machine_is_measured_once_for_each_number_of_threads(measured: list[Products], cache: Path) -> None:
    assert [products_of_machine(threads) for threads in (2, 2, 1, 2)] == [OTHER, OTHER, Products(small=8), OTHER]
    assert len(measured) == 1


def test_another_processor_and_another_torch_are_measured_anew(
    measured: list[Products], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert products_of_machine(2) == OTHER
    monkeypatch.setattr(module, "processor", lambda: "another")
    assert products_of_machine(2) == Products(small=8)
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert products_of_machine(2) == Products(large=8)


def test_what_another_measurement_found_is_measured_anew(
    measured: list[Products], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And stays for the version of truing that found it."""
    assert products_of_machine(2) == OTHER
    with monkeypatch.context() as later:
        later.setattr(module, "MEASUREMENT", module.MEASUREMENT + 1)
        assert [products_of_machine(2), products_of_machine(2)] == [Products(small=8)] * 2
    assert products_of_machine(2) == OTHER


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "7", '{"x": {"small": "many"}}', '{"x": NaN}', '{"x": {"small": 1e999}}', "\0"]
)
def test_a_damaged_cache_is_written_anew(text: str, measured: list[Products], cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text(text)
    assert [products_of_machine(2), products_of_machine(2)] == [OTHER, OTHER]


def test_a_damaged_entry_is_measured_anew(measured: list[Products], cache: Path) -> None:
    products_of_machine(2)
    kept = json.loads(cache.read_text())
    cache.write_text(json.dumps({key: {"small": "many"} for key in kept}))
    assert products_of_machine(2) == Products(small=8)


@pytest.mark.parametrize("place", ["", os.devnull])
def test_what_cannot_be_kept_is_not_measured(
    place: str, measured: list[Products], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUING_CACHE", place)
    assert products_of_machine(2) == Products()
    assert len(measured) == 3


@pytest.mark.parametrize("cache_is_named", [False, True])
def test_a_user_without_a_home_has_a_cache_only_where_one_is_named(
    cache_is_named: bool, measured: list[Products], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TRUING_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if cache_is_named:
        monkeypatch.setenv("TRUING_CACHE", str(tmp_path))
    monkeypatch.setattr(os.path, "expanduser", str)  # as it is of a number that no user has
    assert products_of_machine(2) == (OTHER if cache_is_named else Products())


def _lineage(place: Path, recipe: Any) -> Lineage:
    return Lineage.create(place / "run.json", recipe)


def test_a_run_goes_on_with_what_it_has_on_record(tmp_path: Path, measured: list[Products], cache: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    assert products_of_run(_lineage(tmp_path, recipe), recipe, 2) == (OTHER, [])
    cache.unlink()
    lineage = Lineage.read(tmp_path / "run.json")
    assert products_of_run(lineage, recipe, 2) == (OTHER, [])
    assert products_of_run(lineage, recipe, 1) == (Products(small=8), [])  # on another number of threads, its own
    assert lineage.facts["products"]["2"]["one_dnn_from_rows"] == asdict(OTHER)


def test_another_machine_computes_as_the_first_did_and_says_so(
    tmp_path: Path, measured: list[Products], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path)
    lineage = _lineage(tmp_path, recipe)
    products_of_run(lineage, recipe, 2)
    there = module.processor()
    monkeypatch.setattr(module, "processor", lambda: "another")
    found, (said,) = products_of_run(lineage, recipe, 2)
    assert found == OTHER
    assert said == f"products are chosen as for {there}, where the run began; this is another"


def test_a_run_of_an_older_version_goes_on_as_it_was(tmp_path: Path, measured: list[Products], cache: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    _lineage(tmp_path, recipe)
    record = json.loads((tmp_path / "run.json").read_text())
    del record["products"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    lineage = Lineage.read(tmp_path / "run.json")
    assert products_of_run(lineage, recipe, 2) == (Products(), [])
    assert "products" not in lineage.facts


@pytest.mark.parametrize("entry", [7, {}, {"processor": "x", "one_dnn_from_rows": {"small": "many"}}])
def test_a_record_that_was_edited_is_refused(tmp_path: Path, entry: Any) -> None:
    recipe = tiny.recipe(tmp_path)
    lineage = _lineage(tmp_path, recipe)
    lineage.record_products(2, entry)
    with pytest.raises(RunError) as refused:
        products_of_run(lineage, recipe, 2)
    assert refused.value.problem.code == "run/products-unknown"


def test_half_precision_asks_nothing_of_the_machine(tmp_path: Path, measured: list[Products], cache: Path) -> None:
    recipe = tiny.recipe(tmp_path, **{"compute.dtype": "bfloat16"})
    assert products_of_run(_lineage(tmp_path, recipe), recipe, 2) == (Products(), [])
    assert len(measured) == 3


def test_a_run_that_was_killed_ends_with_the_same_bytes_whatever_is_measured_by_then(
    tmp_path: Path, measured: list[Products], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "MIN_WEIGHTS", 1)
    monkeypatch.setattr(linear, "MIN_PACKED", 1)
    recipe = tiny.recipe(tmp_path, **{"stages": ["sft"], "checkpoints.every_steps": 1})
    whole = left_behind(run_pipeline(recipe, tmp_path / "whole", SilentProgress()).root)
    with monkeypatch.context() as killed:
        killed.setattr(Learner, "step", _dying_at(3, Learner.step))
        with pytest.raises(_KilledError):
            run_pipeline(recipe, tmp_path / "killed", SilentProgress())
    cache.unlink()
    again = run_pipeline(recipe, tmp_path / "killed", SilentProgress())
    assert left_behind(again.root) == whole
    assert measured == [Products(small=8), Products(large=8)]  # the resumed run did not ask
    other = run_pipeline(recipe, tmp_path / "other", SilentProgress())  # what is measured by then gives other bytes
    assert left_behind(other.root) != whole


class _KilledError(Exception):
    pass


def _dying_at(number: int, step: Any) -> Any:
    left = [None] * number

    def dying(learner: Learner) -> float:
        left.pop()
        if not left:
            raise _KilledError
        return float(step(learner))

    return dying
