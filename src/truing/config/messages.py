"""What pydantic objects to in a recipe, in words for the person who wrote it."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from truing.config.recipe import Recipe
from truing.config.sections import Section
from truing.core.errors import Problem
from truing.core.text import nearest

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a section",
    "model_type": "a section",
    "finite_number": "a finite number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "too_short": "at least one entry",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-', beginning with a letter or digit",
}
_YES_NO = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def problems_of(error: ValidationError, document: Any) -> list[Problem]:
    """One for each key that pydantic refused in a document."""
    by_key: dict[str, list[ErrorDetails]] = {}
    for details in error.errors():
        by_key.setdefault(".".join(place_of(details, document)), []).append(details)
    # A union that fails deep inside one member also fails, less to the point, at the top of the others.
    telling = [key for key in by_key if not any(other.startswith(f"{key}.") for other in by_key)]
    return [_problem(key, by_key[key]) for key in telling]


def place_of(details: ErrorDetails, document: Any) -> list[str]:
    """Where in the document an error lies: pydantic's location without the names of union members."""
    path = []
    here = document
    for part in details["loc"]:
        known = part in here if isinstance(here, dict) else isinstance(here, list) and isinstance(part, int)
        if known:
            here = here[part]
        if known or (details["type"] == "missing" and part == details["loc"][-1]):
            path.append(str(part))
    return path


def shown(value: Any) -> str:
    """A value as a reader of YAML would name it, kept short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 60 else f"the text {value[:60]!r}..."
    if isinstance(value, list | dict):
        return ("a list" if value else "an empty list") if isinstance(value, list) else "a section"
    return str(value)


def _problem(key: str, errors: list[ErrorDetails]) -> Problem:
    """What is wrong with one key. Several errors are those of a union's members: any of them would do."""
    first = errors[0]
    kind = first["type"]
    if kind == "extra_forbidden":
        hint = _unknown_key_hint(key, str(first["loc"][-1]))
        return Problem("recipe/unknown-key", key, "there is no such key.", hint)
    if kind == "missing":
        section, _, name = key.rpartition(".")
        hint = f"It means: {_section_at(section).model_fields[name].description}"
        return Problem("recipe/missing-key", key, "is missing.", hint)
    if kind == "value_error":
        return Problem("recipe/contradiction", key, f"{first['ctx']['error']}.")
    expected = [_EXPECTED[e["type"]].format(**e.get("ctx", {})) for e in errors if e["type"] in _EXPECTED]
    what = f"expected {' or '.join(expected)}, got {shown(first['input'])}." if expected else f"{first['msg']}."
    code = "recipe/wrong-type" if kind.endswith("_type") else "recipe/wrong-value"
    return Problem(code, key, what, _hint(kind, key, first))


def _hint(kind: str, key: str, details: ErrorDetails) -> str | None:
    """What to write instead, where that can be guessed."""
    value = details["input"]
    if kind == "literal_error":
        close = nearest(str(value), details["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", "))
        return f"Did you mean {close}?" if close else None
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f'Put it in quotes: "{shown(value)}".'
    if kind == "bool_type" and str(value).lower() in _YES_NO:
        return f"Write {_YES_NO[str(value).lower()]}."
    if kind in ("int_type", "float_type"):
        number = _number_meant(value)
        if number is None:
            return _file_hint(key)
        return f"Write {number}." if kind == "float_type" or number.isdigit() else None
    if kind == "list_type" and isinstance(value, str):
        return f"Write [{value}]."
    if kind == "model_type":
        fields = _section_at(key).model_fields
        name = key.rpartition(".")[2]
        if isinstance(value, str) and "path" in fields and not name.isdecimal():
            kinds = get_args(fields["kind"].annotation) if "kind" in fields else ()
            return f"Write {name}: {{{'kind' if value in kinds else 'path'}: {value}}}."
        return f"Its keys are {', '.join(fields)}."
    return None


def _file_hint(key: str) -> str | None:
    """Where a file goes that was given for a number: keys that go on from this one's name and have a path."""
    section, _, name = key.rpartition(".")
    fields = _section_at(section).model_fields
    longer = {other: section_in(fields[other].annotation) for other in fields if other.startswith(f"{name}_")}
    takers = [f"{section}.{other}" for other, inner in longer.items() if inner and "path" in inner.model_fields]
    return f"A file goes into {' or '.join(takers)}, as {{path: FILE}}." if takers else None


def _number_meant(value: Any) -> str | None:
    """'0.1', '10_000' and 100.0 as one would write them."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value.replace("_", "")) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e15 else f"{number!r}"


def _unknown_key_hint(key: str, name: str) -> str:
    """The known key most likely meant: alike in the same section, or of the same name in another."""
    if "." in name:
        return "Keys with dots belong to --set; in a file, nest the sections."
    known = list(_section_at(key.removesuffix(name)).model_fields)
    close = nearest(name, known)
    if close:
        return f"Did you mean {close}?"
    namesakes = [other for other in _all_keys(Recipe) if other.rpartition(".")[2] == name]
    if namesakes:
        top = key.partition(".")[0]
        return f"Did you mean {next((k for k in namesakes if k.startswith(f'{top}.')), namesakes[0])}?"
    return f"The keys here are {', '.join(known)}."


def _section_at(key: str) -> type[Section]:
    """The section that a dotted key names; list indices lead to what they hold."""
    section: type[Section] = Recipe
    for part in key.split("."):
        if part in section.model_fields:
            section = section_in(section.model_fields[part].annotation) or section
    return section


def section_in(annotation: Any) -> type[Section] | None:
    """The section in an annotation such as `Base | None` or `list[RewardSource]`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(section_in, get_args(annotation))), None)


def _all_keys(section: type[Section], prefix: str = "") -> Iterator[str]:
    for name, info in section.model_fields.items():
        yield prefix + name
        inner = section_in(info.annotation)
        if inner:
            yield from _all_keys(inner, f"{prefix}{name}.")
