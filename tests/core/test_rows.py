"""Rows wait as they are and are padded on their way to a device; any part of them is a batch too."""

import pytest
import torch

from truing.core.rows import PairRows, TokenRows

CPU, PAD = torch.device("cpu"), 9
ROWS = TokenRows([(1, 2), (3,), (4, 5, 6)], [(7,), (7, 8, 7), (8, 8)], PAD, ["a:1", "a:2", "b:1"])


def test_counts_are_of_tokens_as_they_are_and_the_loss_counts_responses() -> None:
    assert len(ROWS) == 3
    assert ROWS.token_counts == [3, 4, 5]
    assert ROWS.response_lengths == [1, 3, 2]
    assert ROWS.count == 6


def test_on_their_way_to_a_device_they_are_padded_to_the_longest_of_them() -> None:
    sequences = ROWS.to(CPU)
    assert sequences.tokens.tolist() == [[1, 2, 7, 9, 9], [3, 7, 8, 7, 9], [4, 5, 6, 8, 8]]
    assert sequences.attention_mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert (sequences.prompt_lengths.tolist(), sequences.response_lengths.tolist()) == ([2, 1, 3], [1, 3, 2])
    assert ROWS.rows([1, 0]).to(CPU).tokens.tolist() == [[3, 7, 8, 7], [1, 2, 7, 9]]


def test_a_part_is_its_rows_in_the_order_that_was_asked_for() -> None:
    part = ROWS.rows([2, 0])
    assert (part.prompts, part.responses, part.names) == ([(4, 5, 6), (1, 2)], [(8, 8), (7,)], ["b:1", "a:1"])
    assert (part.token_counts, part.count) == ([5, 3], 3)
    assert part.to(CPU).names == ["b:1", "a:1"]


def test_rows_that_nobody_named_can_be_taken_apart() -> None:
    part = TokenRows(ROWS.prompts, ROWS.responses, PAD).rows([1])
    assert list(part.names) == []
    assert list(part.to(CPU).names) == []


def test_a_pair_counts_as_one_and_costs_the_tokens_of_both() -> None:
    rejected = TokenRows(ROWS.prompts, [(8,), (8,), (7, 7, 7, 7)], PAD, ROWS.names)
    pairs = PairRows(ROWS, rejected, [0.0, 0.5, 2.0], ["web", "books", ""])
    assert (len(pairs), pairs.count, pairs.token_counts) == (3, 3, [3 + 3, 4 + 2, 5 + 7])
    assert pairs.names == ["a:1", "a:2", "b:1"]
    assert pairs.rows([2, 1]).sources == ["", "books"]
    batch = pairs.rows([2, 1]).to(CPU)
    assert batch.margin.tolist() == [2.0, 0.5]
    assert batch.chosen.tokens.tolist() == [[4, 5, 6, 8, 8], [3, 7, 8, 7, 9]]
    assert batch.rejected.tokens.tolist() == [[4, 5, 6, 7, 7, 7, 7], [3, 8, 9, 9, 9, 9, 9]]


@pytest.mark.parametrize("rows", [ROWS, PairRows(ROWS, ROWS, [0.0] * 3)])
def test_every_cut_of_a_batch_counts_what_the_whole_does(rows: TokenRows | PairRows) -> None:
    parts = [rows.rows([0]), rows.rows([2, 1])]
    assert sum(part.count for part in parts) == rows.count
    assert sum(sum(part.token_counts) for part in parts) == sum(rows.token_counts)
