"""Argilla's records: as `records.to_json` writes them, or flat, as `records.to_datasets` does and `to_hub` uploads."""

from collections.abc import Mapping
from typing import Any

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
        Said(one.get("user_id"), question, one.get("value"))
        for question, responses in values["responses"].items()
        for one in responses or []
        if isinstance(one, dict)
    ]
    return judged(values["fields"], said)


def _of_flat(values: Mapping[str, Any]) -> list[Said]:
    said = []
    for name, responses in values.items():
        question = name.removesuffix(RESPONSES)
        if question == name or not responses:
            continue
        users = values.get(question + USERS) or range(len(responses))
        status = values.get(question + STATUS) or [None] * len(responses)
        said += [
            Said(person, question, value)
            for person, value, state in zip(users, responses, status, strict=False)
            if state in (None, "submitted")
        ]
    return said
