"""Which library computes a product is a pure function of a table, and changes nothing but rounding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from truing.config import load_recipe, recipe_shelf
from truing.kernels.cpu import products
from truing.kernels.cpu.fused_decoding import _SideBySide, fused_step
from truing.kernels.cpu.linear import OneDnnLinear, use_onednn_linears
from truing.kernels.cpu.products import (
    LARGE,
    SMALL,
    Products,
    computed_by,
    crossing,
    measure_products,
    product,
    products_in_force,
)
from truing.worlds.reviews import write_world

TABLE = Products(small=64, large=2, small_packed=8, large_packed=None)
RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("rows", "weights", "packed", "by_one_dnn"),
    [
        (64, SMALL, False, True),
        (63, SMALL, False, False),
        (63, 1, False, False),
        (8, SMALL, True, True),
        (7, SMALL, True, False),
        (2, LARGE, False, True),
        (1, LARGE, False, False),
        (2, 100 * LARGE, False, True),
        (512, LARGE, True, False),
        (2, 1 << 17, False, True),  # in the middle of the two sizes, on a scale of factors
        (63, (1 << 17) - 1, False, False),
    ],
)
def test_the_table_decides(rows: int, weights: int, packed: bool, by_one_dnn: bool) -> None:
    assert TABLE.by_one_dnn(rows, weights, packed) is by_one_dnn


def test_one_dnn_computes_all_but_what_is_small_where_nothing_was_measured() -> None:
    assert products_in_force() == Products()
    for packed in (True, False):
        assert Products().by_one_dnn(1, LARGE, packed)
        assert Products().by_one_dnn(64, SMALL, packed)
        assert not Products().by_one_dnn(63, SMALL, packed)


def test_a_table_is_in_force_in_its_block_alone() -> None:
    with computed_by(TABLE):
        assert products_in_force() == TABLE
    assert products_in_force() == Products()


@pytest.mark.parametrize(
    ("seconds", "rows"),
    [
        ({1: (1.0, 2.0), 8: (1.0, 0.9), 64: (1.0, 0.5)}, 8),
        ({1: (1.0, 0.5), 8: (1.0, 2.0), 64: (1.0, 0.5)}, 64),  # one that wins now and then is not trusted below
        ({1: (1.0, 0.5), 8: (1.0, 0.5), 64: (1.0, 2.0)}, None),
        ({1: (1.0, 1.04), 8: (1.0, 1.0), 64: (1.0, 1.04)}, 1),  # noise
        ({64: (1.0, 1.0), 1: (1.0, 1.06), 8: (1.0, 1.0)}, 8),
    ],
)
def test_the_crossing_is_where_one_dnn_stays_ahead(seconds: dict[int, tuple[float, float]], rows: int | None) -> None:
    assert crossing(seconds) == rows


@pytest.mark.parametrize(
    ("found", "taken"),
    [([8, 1, 1], 1), ([1, 1], 1), ([8, 1, 64, 1, 64], 64)],
    ids=["noise first", "none", "noise alone"],
)
def test_it_is_measured_until_it_comes_out_twice_in_a_row(
    found: list[int], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [Products(large=rows) for rows in found]
    monkeypatch.setattr(products, "_measured", lambda: tables.pop(0))
    assert measure_products() == Products(large=taken)
    assert tables == []


def test_what_is_measured_becomes_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that says of each way what it took: 2 of PyTorch's own, 3 as the weight lies, 1 packed."""
    monkeypatch.setattr(products, "_seconds", lambda ways, rows: dict(zip(ways, (2.0, 3.0, 1.0), strict=True)))
    assert measure_products() == Products(small=None, large=None, small_packed=1, large_packed=1)


def test_a_machine_is_measured_in_seconds() -> None:
    measured = measure_products()
    assert {measured.small, measured.large, measured.small_packed, measured.large_packed} <= {1, 8, 64, 256, None}


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("table", [Products(1, 1, 1, 1), Products(None, None, None, None)])
def test_either_library_gives_the_formula(table: Products, pack: bool) -> None:
    rows, weight, bias = (RANDOM.normal(size=shape) for shape in [(3, 5, 7), (4, 7), (4,)])
    given = [torch.tensor(part, dtype=torch.float32) for part in (rows, weight, bias)]
    with computed_by(table):
        found = product(*given, packed=products.reordered(given[1]) if pack else None)
        of_rows = product(torch.tensor(rows @ weight.T, dtype=torch.float32), given[1].t())
    np.testing.assert_allclose(found, rows @ weight.T + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_rows, rows @ weight.T @ weight, rtol=1e-4, atol=1e-4)


def test_the_table_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "one_dnn", lambda *_: "oneDNN's")
    rows, weight = torch.ones(8, 256), torch.ones(256, 256)
    with computed_by(TABLE):
        assert isinstance(product(rows, weight), torch.Tensor)
        assert product(rows, weight, packed=weight) == "oneDNN's"


def test_the_quickstart_meets_no_product_that_is_measured(tmp_path: Path) -> None:
    """So its weights are the same bytes wherever PyTorch's own products round alike."""
    recipe = load_recipe(recipe_shelf()["quickstart"], ["world={demonstrations: 8, preferences: 8, prompts: 8}"])
    assert recipe.world is not None
    model = AutoModelForCausalLM.from_pretrained(write_world(recipe.world, recipe.seed, tmp_path).base)
    use_onednn_linears(model)
    assert not any(isinstance(module, OneDnnLinear) for module in model.modules())
    with computed_by(Products(1, 1, 1, 1)), fused_step(model, None, None, reads_prompts=True) as step:
        layers = step._backbone._layers
        products = [part for layer in layers for part in vars(layer).values() if isinstance(part, _SideBySide)]
    assert len(products) == 4 * len(layers)
    assert not any(product._prepacked for product in products)
