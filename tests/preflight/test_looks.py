"""A guard that looks too late, or has few judgements a look, is told of before anything is learnt."""

from typing import Any

import pytest

from truing.config import with_changes
from truing.config.recipe import Recipe
from truing.preflight.looks import looks_remarks, people_remarks

JUDGED = {"mode": "rollback", "look_every": 5, "labels": 159}


def _said(guard: dict[str, Any], **changes: Any) -> list[str]:
    return looks_remarks(with_changes(Recipe(), {"ppo.updates": 46, "guard": guard} | changes))


def test_few_judgements_a_look_are_told_with_how_many_there_should_be() -> None:
    (sentence,) = _said(JUDGED)  # ten looks: nine each five updates, and one after the last
    assert sentence.startswith("ppo: 159 judgements are 15.9 a look, and 16 let most turns pass")
    assert "raise guard.labels to 160 or more, or guard.look_every" in sentence


def test_a_guard_that_looks_after_the_last_update_alone_is_told_whoever_judges() -> None:
    (sentence,) = _said({"mode": "warn", "judge": {"kind": "none"}, "look_every": 47})
    assert sentence.startswith("ppo: guard.look_every (47) is more than ppo.updates (46), so the guard looks once")


@pytest.mark.parametrize(
    "guard", [{"labels": 160}, {"mode": "off"}, {"judge": {"kind": "none"}}, {"look_every": 46, "labels": 16}]
)
def test_nothing_is_said_where_they_are_enough_or_nobody_is_asked(guard: dict[str, Any]) -> None:
    assert _said(JUDGED | guard) == []


def test_a_variant_has_looks_of_its_own() -> None:
    changes = {"guard.labels": 160, "variants": {"long": {"ppo.updates": 51}}}
    (sentence,) = _said(JUDGED, **changes)
    assert sentence.startswith("ppo-long: 160 judgements are 14.5 a look")


@pytest.mark.parametrize(
    ("page", "end"),
    [
        (None, "; at each the run writes them into a file and ends with exit code 75."),
        ({}, ", on a page; at each the run waits, until 60 minutes have passed without a vote."),
        (
            {"people": 3, "each": 2, "wait_minutes": 0},
            ", on a page, 2 of 3 people for each; at each the run ends with exit code 75, "
            "to go on with the same command once they have judged.",
        ),
    ],
)
def test_people_are_said_to_be_asked_how_often_and_when(page: dict[str, Any] | None, end: str) -> None:
    """46 updates and a look each five: ten looks, of 15 of the 159 judgements."""
    guard = JUDGED | {"labels": 159, "judge": {"kind": "people", "page": page}}
    (sentence,) = people_remarks(with_changes(Recipe(), {"ppo.updates": 46, "guard": guard}))
    begin = "ppo: people will be asked for up to 159 judgements, 15 at a look, of which there are 10, the first after "
    assert sentence == f"{begin}update 5{end}"


def test_nobody_is_said_to_be_asked_where_a_function_judges() -> None:
    guard = JUDGED | {"judge": {"kind": "pairs", "path": "a:b"}}
    assert people_remarks(with_changes(Recipe(), {"guard": guard})) == []
