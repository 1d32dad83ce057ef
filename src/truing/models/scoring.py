"""Log-probabilities, values and scores of sequences, in forwards of a bounded number of tokens."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from truing.core.batches import Batch, Sequences
from truing.core.experience import Rollout
from truing.core.transfer import integers
from truing.models.logprobs import distribution_of, logprobs_of
from truing.models.roles import Role
from truing.processes import group


def response_hidden(role: Role, sequences: Sequences) -> Tensor:
    """(B, R, D) hidden state from which each response token is predicted: that of the token before it.

    So the last token is not read.
    """
    tokens, mask = sequences.tokens[:, :-1], sequences.attention_mask[:, :-1]
    lengths = sequences.lengths.clamp(max=tokens.shape[1]).tolist()
    hidden = role.hidden(tokens, mask, sequences.prefix_states, lengths)
    first = hidden.shape[1] * torch.arange(len(tokens), device=hidden.device)[:, None]
    return _picked(hidden, first + sequences.response_index - 1)


def response_logprobs(role: Role, sequences: Sequences, temperature: float = 1.0) -> Tensor:
    """(B, R) log π(token) of the response's tokens, nats; 0 off the mask."""
    hidden, tokens = _counted(sequences, response_hidden(role, sequences), sequences.response_tokens)
    return _in_place(logprobs_of(role, hidden, tokens, temperature), sequences)


def sequence_logprobs(role: Role, sequences: Sequences, average: bool = False) -> Tensor:
    """(B,) log π(response), nats: summed over its tokens, or their mean if `average`."""
    total = response_logprobs(role, sequences).sum(1)
    return total / sequences.response_mask.sum(1) if average else total


def response_values(role: Role, sequences: Sequences) -> Tensor:
    """(B, R) the critic's expectation just before each response token."""
    return role.scalar(response_hidden(role, sequences))


def end_scores(role: Role, sequences: Sequences) -> Tensor:
    """(B,) the scalar head on the last counted token, eos included where there is one."""
    hidden = role.hidden(sequences.tokens, sequences.attention_mask, lengths=sequences.token_counts)
    rows = torch.arange(len(sequences), device=hidden.device)
    return role.scalar(hidden[rows, sequences.attention_mask.sum(1) - 1])


def _counted(sequences: Sequences, *columns: Tensor) -> list[Tensor]:
    """(N, ...) the entries of (B, R, ...) columns that stand on response tokens; unlike by a mask, without waiting."""
    places = sequences.response_places
    return [_picked(column, places) for column in columns]


def _picked(column: Tensor, places: Tensor) -> Tensor:
    """(*places, ...) the entries of a (B, T, ...) column at these places of its rows laid end to end.

    Where all is to be deterministic, the backward of an index for each number, as `gather` takes it, would sort these.
    """
    picked = column.flatten(0, 1).index_select(0, places.flatten())
    return picked.view(*places.shape, *column.shape[2:])


def _in_place(values: Tensor, sequences: Sequences) -> Tensor:
    """(N,) values of the counted entries in their places of (B, R), 0 elsewhere."""
    mask = sequences.response_mask
    return values.new_zeros(mask.numel()).index_put((sequences.response_places,), values).view(mask.shape)


@torch.no_grad()
def forward_in_micro_batches(
    role: Role,
    batch: Batch[Sequences],
    token_budget: int,
    score: Callable[[Sequences, Sequence[int]], tuple[Tensor, ...]],
) -> tuple[Tensor, ...]:
    """Runs `score`, by the role, on parts of at most `token_budget` tokens and puts the rows together again.

    `score` takes some rows of the batch, on the role's device, and which they are, to tensors of shape (rows,) or
    (rows, R of these rows); the tensors returned are (B,) or (B, R), zero where a row is shorter.
    """
    parts: list[tuple[list[int], list[Tensor]]] = []
    for micro in role.micro_batches(batch.token_counts, token_budget):
        scored = score(batch.rows(micro.rows).to(role.model.device), micro.rows)
        if not micro.counts_elsewhere:
            parts.append((micro.rows, [_to_hand_over(column) for column in scored]))
    role.release()
    indices, scores = zip(*(part for share in group.gather_shares(parts) for part in share), strict=True)
    order = [row for index in indices for row in index]
    return tuple(_in_order(order, columns).to(role.model.device) for columns in zip(*scores, strict=True))


def _to_hand_over(column: Tensor) -> Tensor:
    """A copy, since a view takes its whole origin along; on the host where it goes to processes with other devices."""
    return column.clone() if group.size() == 1 else column.to("cpu", copy=True)


def _in_order(order: Sequence[int], parts: Sequence[Tensor]) -> Tensor:
    """(B,) or (B, R) from parts of such rows, one after the other in this order; 0 where a part is shorter."""
    if parts[0].dim() == 2:
        longest = max(part.shape[1] for part in parts)
        parts = [F.pad(part, (0, longest - part.shape[1])) for part in parts]
    joined = torch.cat([*parts])
    return torch.empty_like(joined).index_copy_(0, integers(order, joined.device), joined)


def distribution_metrics(
    policy: Role, reference: Role, rollout: Rollout, temperature: float, token_budget: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Reference log-probabilities, exact KL(π‖ref) and entropy of π before each response token, each (B, R), nats.

    The policy's distribution comes from the hidden states that its sampling left behind, so it costs no second
    forward; an engine that leaves none has the policy read the responses again.
    """

    def of_rows(sequences: Sequences, index: Sequence[int]) -> tuple[Tensor, ...]:
        tokens = sequences.response_tokens
        if rollout.states is None:
            hidden = response_hidden(policy, sequences)
        else:
            hidden = rollout.states.rows(index, tokens.shape[1]).hidden
        hidden, ref_hidden, drawn = _counted(sequences, hidden, response_hidden(reference, sequences), tokens)
        metrics = distribution_of(policy, reference, hidden, ref_hidden, drawn, temperature)
        return tuple(_in_place(part, sequences) for part in metrics)

    ref_logprobs, kl, entropy = forward_in_micro_batches(reference, rollout.sequences, token_budget, of_rows)
    return ref_logprobs, kl, entropy
