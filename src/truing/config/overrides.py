"""Changes to a recipe by dotted key: `--set ppo.kl.beta=0.1`."""

from dataclasses import replace
from typing import Any

from truing.config.dotted import NoSuchPlaceError, assign
from truing.config.moved import current_key, current_value
from truing.config.yaml_text import read_yaml
from truing.core.errors import Problem


def apply_override(document: dict[str, Any], text: str) -> tuple[str, list[Problem]]:
    """Sets one `a.b=value` in the document, its value read as YAML.

    Returns:
        The key as it was given, and what is wrong.
    """
    given, equals, value_text = text.partition("=")
    given, where = given.strip(), f"--set {text}"
    if not equals or not all(given.split(".")):
        what, hint = "is not of the form key=value.", "For example: --set ppo.kl.beta=0.1"
        return given, [Problem("recipe/bad-override", None, what, hint, where)]
    key, read = current_key(given), read_yaml(value_text)
    if read.problems:
        inner = [(one, f"{one.field}: " if one.field else "") for _, one in read.problems]
        return given, [replace(one, field=key, what=f"the value {at}{one.what}", where=where) for one, at in inner]
    try:
        assign(document, key, current_value(given, read.value))
    except NoSuchPlaceError as error:
        return given, [Problem("recipe/no-such-place", key, str(error), where=where)]
    return given, []
