"""Sampling from a policy: the one place where responses are generated for training.

Top-k, top-p and a minimum length are absent on purpose: the log-probabilities must be those of the distribution that
was sampled, or the KL to the reference is no KL any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from truing import draws
from truing.experience import Rollout, Sequences
from truing.functional import token_logprobs
from truing.models.roles import Role


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn."""

    max_new_tokens: int
    temperature: float
    eos: int
    pad: int
    rows: int
    """Responses sampled side by side; changes speed and memory, not what is drawn"""


@dataclass(frozen=True)
class _Responses:
    """What a group of rows said, right-padded."""

    tokens: Tensor
    logprobs: Tensor
    hidden: Tensor
    lengths: Tensor


@torch.no_grad()
def sample(
    role: Role,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    seed: int,
    purpose: str,
    ids: Sequence[int],
) -> Rollout:
    """One response to each prompt: `prompts` are B token lists, each at least one token; `ids` B sample ids.

    The draws of a response depend on (seed, purpose, id) and on nothing else.
    """
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    groups = [order[start : start + sampling.rows] for start in range(0, len(order), sampling.rows)]
    longest = sampling.max_new_tokens
    tokens = torch.full((len(prompts), longest), sampling.pad)
    logprobs = torch.zeros(len(prompts), longest)
    lengths = torch.zeros(len(prompts), dtype=torch.long)
    hidden: Tensor | None = None
    for group in groups:
        uniforms = np.stack([draws.uniform(seed, purpose, ids[row], count=longest) for row in group])
        said = _sample_group(role, [prompts[row] for row in group], torch.from_numpy(uniforms), sampling)
        if hidden is None:
            hidden = torch.zeros(len(prompts), longest, said.hidden.shape[-1], dtype=said.hidden.dtype)
        for part, whole in ((said.tokens, tokens), (said.logprobs, logprobs), (said.hidden, hidden)):
            whole[group, : part.shape[1]] = part.cpu()
        lengths[group] = said.lengths.cpu()
    return _as_rollout(prompts, tokens, logprobs, hidden, lengths, sampling, role.model.device)


def _as_rollout(
    prompts: Sequence[Sequence[int]],
    tokens: Tensor,
    logprobs: Tensor,
    hidden: Tensor | None,
    lengths: Tensor,
    sampling: Sampling,
    device: torch.device,
) -> Rollout:
    responses = [row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)]
    longest = int(lengths.max())
    assert hidden is not None
    return Rollout(
        sequences=Sequences.collate(prompts, responses, sampling.pad).to(device),
        logprobs=logprobs[:, :longest].to(device),
        hidden=hidden[:, :longest].to(device),
        finished=torch.tensor([response[-1] == sampling.eos for response in responses], device=device),
    )


def _sample_group(role: Role, prompts: list[Sequence[int]], uniforms: Tensor, sampling: Sampling) -> _Responses:
    """Decodes rows side by side with a key-value cache; a row that is finished leaves the batch at once."""
    device = role.model.device
    uniforms = uniforms.to(device)
    tokens, mask = left_padded(prompts, sampling.pad, device)
    rows = len(prompts)
    said = torch.full((rows, sampling.max_new_tokens), sampling.pad, device=device)
    logprobs = torch.zeros(rows, sampling.max_new_tokens, device=device)
    hidden: list[tuple[Tensor, Tensor]] = []
    alive = torch.arange(rows, device=device)
    cache = None
    for step in range(sampling.max_new_tokens):
        output = role.forward(tokens, mask, cache=cache, use_cache=True)
        cache, state = output.past_key_values, output.last_hidden_state[:, -1]
        logits = role.logits(state)
        token = draw_tokens(logits / sampling.temperature, uniforms[alive, step])
        said[alive, step] = token
        logprobs[alive, step] = token_logprobs(logits, token, temperature=sampling.temperature)
        hidden.append((alive, state))
        going = token != sampling.eos
        if not going.any():
            break
        if not going.all():
            keep = going.nonzero().squeeze(1)
            alive, token, mask = alive[keep], token[keep], mask[keep]
            cache.batch_select_indices(keep)
        tokens = token[:, None]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
    return _gathered(said, logprobs, hidden)


def _gathered(said: Tensor, logprobs: Tensor, hidden: list[tuple[Tensor, Tensor]]) -> _Responses:
    states = hidden[0][1].new_zeros(len(said), len(hidden), hidden[0][1].shape[-1])
    lengths = torch.zeros(len(said), dtype=torch.long, device=said.device)
    for step, (alive, state) in enumerate(hidden):
        states[alive, step] = state
        lengths[alive] += 1
    return _Responses(said[:, : len(hidden)], logprobs[:, : len(hidden)], states, lengths)


def draw_tokens(logits: Tensor, uniforms: Tensor) -> Tensor:
    """(B,) tokens with probability softmax(logits) (B, V), by inversion of one uniform (B,) each."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    # The last entry can fall short of 1 by rounding; scaled by it, no draw lands past the vocabulary.
    threshold = uniforms.double()[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True).squeeze(1).clamp(max=logits.shape[-1] - 1)


def left_padded(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, P) tokens and (B, P) mask with every prompt ending in the last column."""
    longest = max(len(prompt) for prompt in prompts)
    tokens = torch.full((len(prompts), longest), pad, device=device)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = torch.tensor(prompt, device=device)
        mask[row, longest - len(prompt) :] = 1
    return tokens, mask
