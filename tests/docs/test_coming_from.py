"""docs/coming-from.md: every option of truing that it names exists, and has the default that it says."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from docs.code_links import ROOT

from truing.config.recipe import Recipe
from truing.config.sections import Section

PAGE = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([a-z_]+(?:\.[a-z_]+)+)(?:: [^`]*)?`")


def fields(section: type[Section], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every option by its dotted key, with its default where it has one of its own."""
    for name, field in section.model_fields.items():
        yield prefix + name, field.get_default(call_default_factory=True)
        for inside in sections_in(field.annotation):
            yield from fields(inside, f"{prefix}{name}.")


def sections_in(annotation: Any) -> set[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return {annotation}
    return {found for part in get_args(annotation) for found in sections_in(part)}


OPTIONS = dict(fields(Recipe))


def ours() -> Iterator[tuple[str, str]]:
    """What stands under "truing" in each row of a table, and under the default beside it."""
    place = None
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line[1:-1].split("|")] if line.startswith("|") else []
        if "truing" in cells:
            place = cells.index("truing")
        elif place is not None and len(cells) > place:
            yield cells[place], cells[place + 1] if len(cells) > place + 1 else ""


def test_every_option_of_ours_exists() -> None:
    named = {name for name in NAMED.findall(PAGE) if name.split(".")[0] in Recipe.model_fields}
    assert len(named) > 60
    assert named - OPTIONS.keys() == set()


def test_every_row_says_what_there_is_of_it_here() -> None:
    rows = [cell for cell, _ in ours()]
    known = re.compile(r"`([a-z_]+)")
    silent = [cell for cell in rows if "nothing" not in cell and not {*known.findall(cell)} & {*Recipe.model_fields}]
    assert len(rows) > 80
    assert [cell for cell in silent if cell != "---"] == []


@pytest.mark.parametrize(("cell", "default"), [row for row in ours() if re.fullmatch(r"[\d., ;*×]+", row[1])])
def test_defaults_are_those_of_the_recipe(cell: str, default: str) -> None:
    """Where there is a number for each option; one for all is that of each."""
    names = NAMED.findall(cell)
    said = [float(number) for number in re.findall(r"[\d.]+", default)]
    has = [OPTIONS[name] for name in names]
    assert len(said) in (1, len(names)), "a default for each option, or one for all"
    told = said * len(names) if len(said) == 1 else said
    assert has == told
