import pytest
from hypothesis import given
from hypothesis import strategies as st

from truing.core.errors import DataError
from truing.core.records import Demonstration, Preference
from truing.data.encode import EncodedRow
from truing.data.split import overlap, split_by_prompt


def rows(prompts: list[int]) -> list[EncodedRow]:
    """A row of each of these prompts."""
    return [
        EncodedRow(f"f:{index}", (prompt,), {"completion": (index,)}, prompt) for index, prompt in enumerate(prompts)
    ]


PROMPTS = st.lists(st.integers(0, 12), min_size=2, max_size=60).filter(lambda prompts: len(set(prompts)) > 1)
SHARE = st.floats(0.01, 0.99)


@given(PROMPTS, SHARE, st.integers(0, 5))
def test_every_row_is_on_one_side_in_order_and_no_prompt_on_both(prompts: list[int], share: float, seed: int) -> None:
    records = rows(prompts)
    kept, held = split_by_prompt(records, share, seed, "rows")
    assert kept
    assert held
    assert not {row.prompt_index for row in kept} & {row.prompt_index for row in held}
    assert sorted(kept + held, key=records.index) == records
    assert kept == [row for row in records if row in kept]
    assert held == [row for row in records if row in held]


@given(PROMPTS, SHARE)
def test_no_more_is_held_out_than_asked_unless_it_is_one_prompt(prompts: list[int], share: float) -> None:
    _, held = split_by_prompt(rows(prompts), share, 0, "rows")
    fewest = min(prompts.count(prompt) for prompt in prompts)
    assert len(held) <= max(round(share * len(prompts)), fewest)


def test_rows_of_different_prompts_are_held_out_to_the_row() -> None:
    for share, count in ((0.1, 10), (0.5, 50), (0.005, 1), (0.999, 99)):
        assert len(split_by_prompt(rows(list(range(100))), share, 0, "rows")[1]) == count


def test_the_split_is_a_function_of_seed_and_name() -> None:
    records = rows(list(range(100)))
    split = split_by_prompt(records, 0.2, 1, "pairs")
    assert split == split_by_prompt(records, 0.2, 1, "pairs")
    assert split != split_by_prompt(records, 0.2, 2, "pairs")
    assert split != split_by_prompt(records, 0.2, 1, "demonstrations")


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_prompts_cannot_be_split(count: int) -> None:
    records = rows([7] * 3 * count)
    with pytest.raises(DataError, check=lambda error: error.code == "data/none-to-hold-out"):
        split_by_prompt(records, 0.5, 0, "prompts")


def test_held_out_rows_that_are_learnt_from_are_refused_though_they_stand_elsewhere() -> None:
    trained = [Demonstration(f"prompt {row}", f"answer {row}", f"f:{row}") for row in range(2)]
    (refused,) = overlap([Demonstration("prompt 1", "answer 1", "own:9"), trained[0]], trained, "x")
    assert str(refused).startswith("own:9: 2 of 2 held-out x are learnt from as well, this one at f:1. Take")
    assert overlap([Demonstration("prompt 1", "another answer", "own:9")], trained, "x") == []
    pairs = [Preference("p", "yes", "no", "f:1", source="web"), Preference("p", "yes", "no", "own:1", source="books")]
    assert len(overlap(pairs[1:], pairs[:1], "x")) == 1
