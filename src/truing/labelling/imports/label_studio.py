"""Label Studio's export in the format JSON: tasks, each with its data and with what every person annotated."""

from collections.abc import Iterator, Mapping
from typing import Any

from truing.data.fields import FieldError
from truing.labelling.imports.judged import Judged, Said, judged

VALUES = {"pairwise": "selected", "choices": "choices", "rating": "rating"}
"""What a control of each type says, and under which key of `value`"""


def is_task(values: Mapping[str, object]) -> bool:
    """Whether a row has the shape of a task."""
    return isinstance(values.get("data"), dict) and isinstance(values.get("annotations"), list)


def read_task(values: Mapping[str, Any]) -> Judged | None:
    """What people said of a task; what they skipped does not count. FieldError as `judged`, or for another shape."""
    results = list(_results(values["annotations"]))
    sides = next((_names(result) for _, result in results if result.get("type") == "pairwise"), [])
    named = sides if len(sides) == 2 else []  # the editor names the control itself, for it is of no tag alone
    return judged(values["data"], [_said(person, result) for person, result in results], named)


def _results(annotations: list[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """With the number of who annotated: an export may leave out their names."""
    for person, annotation in enumerate(annotations):
        result = annotation.get("result") if isinstance(annotation, dict) else None
        if not isinstance(result, list) or not all(isinstance(one, dict) for one in result):
            hint = "Export in the format JSON, with annotations in full."
            raise FieldError(f"annotations[{person}]", "has no list `result`", hint, code="data/no-result")
        if not annotation.get("was_cancelled"):
            yield from ((person, one) for one in result if str(one.get("type")) in VALUES)


def _said(person: int, result: dict[str, Any]) -> Said:
    """A control's tag is named in `to_name`, and by habit as the column of data that it shows."""
    content, question = result.get("value"), str(result.get("from_name"))
    value = content.get(VALUES[result["type"]]) if isinstance(content, dict) else None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return Said(person, question, value, next(iter(_names(result)), None))


def _names(result: dict[str, Any]) -> list[str]:
    names = result.get("to_name")
    listed = names.split(",") if isinstance(names, str) else names
    return [str(name).strip() for name in listed] if isinstance(listed, list) else []
