"""Argilla's records: as `records.to_json` writes them, or flat, as `records.to_datasets` does and `to_hub` uploads."""

from collections.abc import Mapping
from typing import Any

from truing.data.fields import FieldError, kind
from truing.labelling.imports.judged import Judged, Said, judged

RESPONSES, USERS, STATUS = ".responses", ".responses.users", ".responses.status"
"""Behind the name of a question, in flat records"""


def is_record(values: Mapping[str, object]) -> bool:
    """Whether a row has the shape of a record, nested or flat."""
    nested = isinstance(values.get("fields"), dict) and isinstance(values.get("responses"), dict)
    return nested or any(name.endswith(RESPONSES) for name in values)


def read_record(values: Mapping[str, Any]) -> Judged | None:
    """What people said of a record; suggestions are nobody's, and drafts are not counted where they are told apart.

    FieldError as `judged`.
    """
    if not isinstance(values.get("fields"), dict):
        return judged(values, _of_flat(values))
    said = [
        Said(_person(one.get("user_id"), place), question, one.get("value"))
        for question, responses in values["responses"].items()
        for place, one in enumerate(_list(question, responses))
        if isinstance(one, dict)
    ]
    return judged(values["fields"], said)


def _of_flat(values: Mapping[str, Any]) -> list[Said]:
    said = []
    for name, value in values.items():
        question = name.removesuffix(RESPONSES)
        if question == name or not value:
            continue
        responses = _list(question, value)
        users, status = (_list(question + end, values.get(question + end)) for end in (USERS, STATUS))
        if any(len(told) not in (0, len(responses)) for told in (users, status)):
            hint = "Export it once more: each response has its user and its status."
            raise _unread(name, f"has {len(responses)}, and not as many users or statuses", hint)
        said += [
            Said(_person(users[place] if users else None, place), question, response)
            for place, response in enumerate(responses)
            if not status or status[place] == "submitted"
        ]
    return said


def _person(user: object, place: int) -> object:
    """Their id, or their place where none is told."""
    return place if user is None else str(user)


def _list(question: str, value: object) -> list[Any]:
    if value is None or isinstance(value, list):
        return value or []
    hint = "Of Argilla, export records.to_json, or records.to_datasets as JSON, JSONL or Parquet."
    raise _unread(question, f"is {kind(value)}, not a list of responses", hint)


def _unread(field: str, what: str, hint: str) -> FieldError:
    return FieldError(field, what, hint, code="data/no-responses")
