"""The schema of a recipe: which keys it may have. A new one begins with the first key that moves after a release."""

from typing import Any

from truing import __version__
from truing.core.errors import Problem

SCHEMA = 2
"""That of now"""
RELEASES = {1: "0.1", 2: "0.2"}
"""Each schema and the version of truing that brought it"""
KEY = "schema"
"""Where a file states that of its keys. It stands beside the options and is none: a run depends on what they say"""
NEWER = "recipe/newer-schema"
"""The problem of a file that only a newer truing reads"""
DESCRIPTION = f"Which keys this file has: {SCHEMA} is that of now; `truing migrate` rewrites a file of an older one."


def take_schema(document: dict[str, Any]) -> tuple[int | None, list[Problem]]:
    """What a document states of its schema, which is then gone from it, and what is wrong with that."""
    stated = document.pop(KEY, None)
    if stated is None:
        return None, []
    known = f"truing {__version__} reads schemas 1 to {SCHEMA}"
    if not isinstance(stated, int) or isinstance(stated, bool) or stated < 1:
        hint = f"Write {KEY}: {SCHEMA}, or leave it out."
        return None, [Problem("recipe/wrong-schema", KEY, f"is no schema; {known}.", hint)]
    if stated > SCHEMA:
        what = f"is {stated}, and {known}: it was written by or for a newer one."
        hint = 'Install the newest, or of a run the one that its run.json has below "versions".'
        return None, [Problem(NEWER, KEY, what, hint)]
    return stated, []


def stated_schema(text: str) -> str:
    """The text of a recipe of now, with its schema as the first line."""
    return f"{KEY}: {SCHEMA}\n{text}"


def older_note(stated: int | None, path: object) -> list[str]:
    """What the owner of a file should know that states an older schema."""
    if stated is None or stated == SCHEMA:
        return []
    return [
        f"it is of schema {stated}, that of truing {RELEASES[stated]}, and is read as of schema {SCHEMA}; "
        f"`truing migrate {path}` rewrites it."
    ]
