"""What is chosen for what a recipe leaves out, against the table of docs/defaults.md."""

import math
import re
from itertools import pairwise, takewhile
from pathlib import Path

import pytest

from truing.config.defaults import (
    RATES,
    Circumstances,
    Rates,
    choices,
    few_steps,
    in_words,
    learning_rate,
    with_choices,
)
from truing.config.recipe import Recipe
from truing.config.stages import STAGES
from truing.config.variants import with_changes

PAGE = Path(__file__).parents[2] / "docs" / "defaults.md"
SMALL = Circumstances(260_000, 450)


PAGES = {"supervised": 0, "online": 1, "preferences": 2}
"""Which of the tables of the page that are by size"""


@pytest.mark.parametrize("table", [table for tables in RATES.values() for table in tables])
def test_rates_are_those_of_the_table_and_straight_on_a_log_scale_between(table: Rates) -> None:
    def rate(size: float) -> float:
        return learning_rate(table, int(size))

    for size, known in table:
        assert rate(size) == pytest.approx(known)
    for (below, high), (above, low) in pairwise(table):
        assert rate(math.sqrt(below * above)) == pytest.approx(math.sqrt(high * low), rel=1e-4)
    assert rate(1) == table[0][1]
    assert rate(1e15) == table[-1][1]


def _tables(first: str) -> list[list[list[str]]]:
    """The cells of each table of docs/defaults.md whose first column is headed so."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else [] for line in lines]
    heads = [place for place, row in enumerate(cells) if row[:1] == [first]]
    return [list(takewhile(bool, cells[head + 2 :])) for head in heads]


def _sizes(words: str) -> list[float]:
    units = {"M": 1e6, "B": 1e9}
    return [float(number) * units[unit] for number, unit in re.findall(r"([0-9.]+)([MB])", words)]


@pytest.mark.parametrize("kind", RATES)
def test_the_rates_of_the_page_are_those_that_are_chosen(kind: str) -> None:
    tables = _tables("base")
    assert len(tables) == len(RATES)
    for base, *rates, _ in tables[PAGES[kind]]:
        for size in _sizes(base):
            for table, rate in zip(RATES[kind], rates, strict=True):
                if rate:
                    assert learning_rate(table, int(size)) == pytest.approx(float(rate), rel=1e-3), (base, rate)


def test_the_passes_and_batches_of_the_page_are_those_that_are_chosen() -> None:
    limits = {"fewer than 1,000": 999, "fewer than 2,000": 1999, "fewer than 4,000": 3999, "fewer than 10,000": 9999}
    (table,) = _tables("rows to learn from")
    for words, epochs, batch in table:
        chosen = choices(Recipe(), STAGES["reward"], Circumstances(260_000, limits.get(words, 10_000)))
        assert (chosen["reward.epochs"], chosen["reward.batch_size"]) == (int(epochs), int(batch)), words


def test_small_bases_and_few_rows_learn_fast_and_often() -> None:
    assert choices(Recipe(), STAGES["reward"], SMALL) == {
        "reward.optimiser.learning_rate": 3e-3,
        "reward.epochs": 3,
        "reward.batch_size": 8,
        "compute.threads": 1,
    }


def test_large_bases_and_many_rows_learn_as_the_papers_have_it() -> None:
    recipe = with_changes(Recipe(), {"roles": "separate", "sft.method": "full"})
    many = Circumstances(7_000_000_000, 200_000)
    assert choices(recipe, STAGES["sft"], many) == {
        "sft.optimiser.learning_rate": 1e-5,
        "sft.epochs": 1,
        "sft.batch_size": 32,
    }
    assert choices(Recipe(), STAGES["sft"], many)["sft.optimiser.learning_rate"] == 2e-4  # adapters


def test_what_a_recipe_names_is_obeyed() -> None:
    recipe = with_changes(Recipe(), {"reward.optimiser.learning_rate": 0.5, "reward.epochs": 9})
    chosen = with_choices(recipe, STAGES["reward"], SMALL).reward
    assert (chosen.optimiser.learning_rate, chosen.epochs, chosen.batch_size) == (0.5, 9, 32)
    recipe = with_changes(Recipe(), {"reward.epochs": 9})
    chosen = with_choices(recipe, STAGES["reward"], SMALL).reward
    assert (chosen.optimiser.learning_rate, chosen.epochs, chosen.batch_size) == (3e-3, 9, 8)


def test_beside_a_rate_that_is_named_batches_and_passes_are_what_they_always_were() -> None:
    recipe = with_changes(Recipe(), {"sft.optimiser.learning_rate": 1e-3, "compute.threads": 2})
    assert choices(recipe, STAGES["sft"], SMALL) == {"sft.epochs": 1, "sft.batch_size": 32}


def test_a_stage_that_samples_has_only_its_rate_chosen() -> None:
    found = Circumstances(2_000_000, None)
    assert list(choices(Recipe(), STAGES["ppo"], found)) == ["ppo.optimiser.learning_rate"]
    assert with_choices(Recipe(), STAGES["ppo"], found).ppo.epochs == 4


def test_threads_share_the_products_of_larger_bases_alone() -> None:
    recipe = Recipe()
    assert choices(recipe, STAGES["ppo"], Circumstances(499_999, None))["compute.threads"] == 1
    assert "compute.threads" not in choices(recipe, STAGES["ppo"], Circumstances(500_000, None))
    named = with_changes(recipe, {"compute.threads": 2})
    assert with_choices(named, STAGES["ppo"], Circumstances(1, None)).compute.threads == 2


def test_choices_are_told_in_words() -> None:
    chosen = choices(Recipe(), STAGES["reward"], SMALL)
    assert in_words(chosen, Recipe(), STAGES["reward"], SMALL) == (
        "learning rate 0.003, 3 epochs, batches of 8, 1 thread, by default for adapters on a base of 260K parameters "
        "and 450 rows"
    )


@pytest.mark.parametrize(
    ("rows", "epochs", "batch", "said"),
    [(270, 1, 32, True), (270, 3, 32, False), (640, 1, 32, False), (99, 1, 32, False)],
)
def test_few_steps_are_told_with_what_makes_more(rows: int, epochs: int, batch: int, said: bool) -> None:
    recipe = with_changes(Recipe(), {"sft.epochs": epochs, "sft.batch_size": batch})
    sentences = few_steps(recipe, STAGES["sft"], Circumstances(1, rows))
    assert bool(sentences) == said  # 9, 27, 20 and 4 steps, the last as a trial
    assert not said or sentences[0].startswith("9 optimiser steps on 270 rows teach little: raise sft.epochs")
