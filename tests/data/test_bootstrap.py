"""A bootstrap sample has as many prompts as there are, and all rows of each as often as it was drawn."""

import pytest

from truing.data.bootstrap import bootstrap_counts


def test_rows_of_a_prompt_count_alike_and_the_prompts_count_as_many_as_there_are() -> None:
    prompts = [(row % 7, 1) for row in range(20)]
    counts = bootstrap_counts(prompts, 3, seed=5)
    assert counts == [counts[row % 7] for row in range(20)]
    assert [sum(own) for own in zip(*counts[:7], strict=True)] == [7, 7, 7]
    assert len({tuple(own) for own in zip(*counts, strict=True)}) == 3


def test_a_draw_is_one_of_many_with_replacement() -> None:
    """Of n draws a prompt has k with a chance of about exp(-1)/k!, at n = 4,000 to within 0.03."""
    counts = [own for (own,) in bootstrap_counts(range(4000), 1, seed=2)]
    assert [counts.count(k) / 4000 for k in range(4)] == pytest.approx([0.368, 0.368, 0.184, 0.061], abs=0.03)


def test_it_is_the_seed_s_and_the_member_s_alone() -> None:
    three, two = bootstrap_counts("abcdefgh", 3, seed=1), bootstrap_counts("abcdefgh", 2, seed=1)
    assert [own[:2] for own in three] == two
    assert bootstrap_counts("abcdefgh", 2, seed=2) != two
