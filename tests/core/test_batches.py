"""What stands where in a padded batch, and that a part of it is what a batch of these rows alone would be."""

from dataclasses import replace

import numpy as np
import torch
from oracles.cases import draw

from truing.core.batches import Sequences
from truing.core.experience import Experience, LocalStates, Rollout

PROMPTS, RESPONSES, PAD = [[1, 2], [3], [4, 5, 6]], [[7], [7, 8, 7], [8, 8]], 9
MASK = np.array([[1, 0, 0], [1, 1, 1], [1, 1, 0]], dtype=bool)


def _sequences() -> Sequences:
    states = [torch.full((length - 1, 2), float(row)) for row, length in enumerate((3, 4, 5))]
    return Sequences.collate(PROMPTS, RESPONSES, PAD, ["a:1", "a:2", "b:1"], states)


def _tensor(seed: int, *more: int) -> torch.Tensor:
    """(3, 3, ...) numbers, NaN off the mask."""
    numbers = draw(seed, 3, 3, *more)
    numbers[~MASK] = np.nan
    return torch.tensor(numbers)


def _rollout() -> Rollout:
    states = LocalStates(_tensor(1, 4))
    return Rollout(_sequences(), _tensor(0), torch.tensor([True, False, True]), torch.tensor([5, 6, 6]), states)


def _experience() -> Experience:
    rest = [_tensor(seed) for seed in range(2, 6)]
    return Experience(_sequences(), rest[0], rest[1], torch.tensor([5, 6, 6]), rest[2], rest[3])


def test_responses_are_found_where_they_stand_behind_their_prompts() -> None:
    sequences = _sequences()
    assert sequences.tokens.tolist() == [[1, 2, 7, 9, 9], [3, 7, 8, 7, 9], [4, 5, 6, 8, 8]]
    assert sequences.response_mask.tolist() == MASK.tolist()
    assert [row[keep].tolist() for row, keep in zip(sequences.response_tokens, MASK, strict=True)] == RESPONSES
    where = [row[keep].tolist() for row, keep in zip(sequences.response_index, MASK, strict=True)]
    assert where == [[2], [1, 2, 3], [3, 4]]
    assert sequences.response_index.max() < sequences.tokens.shape[1]
    assert (sequences.prompts, sequences.responses) == (PROMPTS, RESPONSES)
    assert sequences.attention_mask.sum(1).tolist() == sequences.token_counts == [3, 4, 5]
    assert (len(sequences), sequences.count) == (3, 6)


def test_a_part_of_sequences_is_what_they_would_be_alone() -> None:
    part = _sequences().rows([1, 0])
    alone = Sequences.collate([PROMPTS[1], PROMPTS[0]], [RESPONSES[1], RESPONSES[0]], PAD)
    assert torch.equal(part.tokens, alone.tokens)
    assert torch.equal(part.response_mask, alone.response_mask)
    assert part.names == ["a:2", "a:1"]
    assert part.prefix_states is not None
    assert part.prefix_states[:, :, 0].tolist() == [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]


def test_a_part_of_a_rollout_keeps_its_groups_and_states_and_is_trimmed() -> None:
    whole = _rollout()
    part = whole.rows([2, 0])
    assert part.states is not None
    assert whole.states is not None
    assert (part.logprobs.shape, part.states.hidden.shape) == ((2, 2), (2, 2, 4))
    assert torch.equal(part.states.hidden[0], whole.states.hidden[2, :2])
    assert torch.equal(part.states.hidden[1, 0], whole.states.hidden[0, 0])
    assert torch.equal(part.logprobs[0], whole.logprobs[2, :2])
    assert (part.groups.tolist(), part.finished.tolist()) == ([6, 5], [True, True])
    assert replace(whole, states=None).rows([1]).states is None


def test_the_kl_of_a_sequence_is_over_its_response_tokens_alone() -> None:
    whole = replace(_rollout(), logprobs=_tensor(0).nan_to_num(1e9))
    ref = _tensor(7).nan_to_num(-1e9)
    difference = (whole.logprobs - ref).numpy()
    expected = [sum(difference[row, t] for t in range(len(RESPONSES[row]))) for row in range(3)]
    np.testing.assert_allclose(whole.kl(ref).numpy(), expected)


def test_a_part_of_an_experience_has_what_the_whole_has() -> None:
    whole = _experience()
    part = whole.rows([2, 0])
    for name in ("old_logprobs", "advantages", "old_values", "returns"):
        assert torch.equal(getattr(part, name)[0], getattr(whole, name)[2, :2])
    assert (len(part), part.count, part.token_counts, part.groups.tolist()) == (2, 3, [5, 3], [6, 5])
    assert part.names == ["b:1", "a:1"]
    without = replace(whole, old_values=None, returns=None).rows([1, 2])
    assert (without.old_values, without.returns) == (None, None)


def test_an_experience_moves_whole() -> None:
    meta = torch.device("meta")
    moved = replace(_experience(), returns=None).to(meta)
    tensors = (moved.sequences.tokens, moved.sequences.prefix_states, moved.advantages, moved.groups, moved.old_values)
    assert all(tensor is not None and tensor.device == meta for tensor in tensors)
    assert moved.returns is None
    assert moved.names == ["a:1", "a:2", "b:1"]
    here = _experience()
    assert here.to(torch.device("cpu")) is here
