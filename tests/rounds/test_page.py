"""What stands below the drawings of the page over all rounds."""

import pytest

from truing.rounds.page import TICKS, apart


@pytest.mark.parametrize(
    ("places", "written"),
    [
        ([0], [0]),
        ([0, 100, 200, 300, 400], [0, 100, 200, 300, 400]),
        ([0, 100, 127, 227, 327], [0, 127, 227, 327]),  # a round of 27 labels
        ([*range(0, 2100, 100)], [*range(200, 2001, 300)]),  # 20 rounds
        ([0, 100, 100], [0, 100]),  # a round in which nothing could be asked
    ],
)
def test_numbers_of_labels_do_not_run_into_each_other(places: list[int], written: list[int]) -> None:
    assert apart(places) == written
    assert len(written) <= TICKS + 1
