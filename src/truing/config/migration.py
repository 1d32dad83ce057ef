"""A recipe's file rewritten for the schema of now, entry by entry where that can be done, so that its comments stay."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from truing.config.dotted import NoSuchPlaceError, value_at
from truing.config.loading import completed, document_of_now, recipe_text
from truing.config.moved import MOVED, bring_up_to_date
from truing.config.recipe import Recipe
from truing.config.schema import KEY, SCHEMA, stated_schema
from truing.config.yaml_lines import has, insert, prepend, take_out, write_over
from truing.config.yaml_text import read_yaml, write_yaml

_COMMENT = re.compile(r"(?:^|\s)(#.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Migrated:
    """What a recipe's file says, in the keys of now."""

    text: str
    notes: list[str]
    """What moved, a sentence each"""
    lost: list[str]
    """Comments of the older text that this one has no place for"""


def migrate_recipe(path: Path) -> Migrated:
    """The text of a recipe's file as it would be written now.

    Raises:
        RecipeError: it holds no recipe, or something both by its older name and by that of today.
    """
    old = recipe_text(path)
    document, notes = document_of_now(path)
    try:
        text = _with_schema(_moved(old, document) if notes else old)
    except NoSuchPlaceError:
        text = ""
    if not _says(text, document):
        text = stated_schema(write_yaml(document))
    return Migrated(text, notes, list(_lost(old, text)))


def _moved(text: str, document: dict[str, Any]) -> str:
    """The text with each entry at an older key put where it belongs now."""
    for _, old, new in MOVED:
        if not has(text, old):
            continue
        text, entry = take_out(text, old)
        if has(text, new):  # two keys that became one
            continue
        value, name = value_at(document, new), new.rpartition(".")[2]
        kept = read_yaml("\n".join(entry)).value == {old.rpartition(".")[2]: value}
        text = insert(text, new, entry if kept else write_yaml({name: value}).splitlines())
    if has(text, "variants") and not _says(text, document):  # keys have moved in them
        text, _ = take_out(text, "variants")
        text = insert(text, "variants", write_yaml({"variants": document["variants"]}).splitlines())
    return text


def _with_schema(text: str) -> str:
    """The text with the schema of now stated, where it was stated or else before its first key."""
    return write_over(text, KEY, str(SCHEMA)) if has(text, KEY) else prepend(text, f"{KEY}: {SCHEMA}")


def _says(text: str, document: dict[str, Any]) -> bool:
    """Whether a text, in keys of now alone, says what a document of now does."""
    read = read_yaml(text)
    if not isinstance(read.value, dict) or read.problems:
        return False
    read.value.pop(KEY, None)
    notes, problems = bring_up_to_date(read.value)
    default = Recipe().model_dump()
    return not notes and not problems and completed(default, read.value) == completed(default, document)


def _lost(old: str, new: str) -> Iterator[str]:
    """Each comment as often as only the older text has it."""
    yield from (Counter(_COMMENT.findall(old)) - Counter(_COMMENT.findall(new))).elements()
