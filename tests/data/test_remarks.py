"""What rows say against each other."""

from truing.core.records import Preference, Rating
from truing.data.remarks import opposites


def test_pairs_and_ratings_that_contradict_each_other_are_told() -> None:
    assert opposites([Preference("p", "a", "b", "f:1"), Preference("p", "b", "a", "f:2")]) == [
        "f:2: says the opposite of f:1."
    ]
    ratings = [Rating("p", "a", True, "f:1"), Rating("p", "b", False, "f:2"), Rating("p", "a", False, "f:3")]
    assert opposites(ratings) == ["f:3: says the opposite of f:1."]


def test_what_is_said_twice_or_of_another_prompt_is_no_contradiction() -> None:
    assert (
        opposites([Rating("p", "a", True, "f:1"), Rating("p", "a", True, "f:2"), Rating("q", "a", False, "f:3")]) == []
    )
