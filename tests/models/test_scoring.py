"""Scores do not change with padding or with what is scored beside them, and are read at the right token."""

from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from truing.core.batches import Sequences
from truing.core.experience import Rollout
from truing.models.heads import scalar_head
from truing.models.roles import Role
from truing.models.scoring import (
    distribution_metrics,
    end_scores,
    forward_in_micro_batches,
    response_hidden,
    response_logprobs,
    response_values,
)
from truing.rollout.engine import Sampling

PAD = len(tiny.LETTERS) + 1
EOS = len(tiny.LETTERS)
PROMPTS = [[1, 2, 3], [4], [5, 6, EOS, 8, 9], [10, 11]]
RESPONSES = [[12, EOS], [13, 14, 15, 16, 17, EOS], [18], [19, 20, 21]]


def _role(shape: str) -> Role:
    model = tiny.model(shape)
    return Role(model, head=scalar_head(model, seed=1, bias=False))


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_each_figure_is_that_of_the_row_alone(shape: str) -> None:
    role, batch = _role(shape), Sequences.collate(PROMPTS, RESPONSES, PAD)
    with torch.no_grad():
        logprobs, values, scores = (f(role, batch) for f in (response_logprobs, response_values, end_scores))
        for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            whole = torch.tensor([prompt + response])
            output = role.model(input_ids=whole, output_hidden_states=True)
            hidden = role.hidden(whole, torch.ones_like(whole))[0]
            per_token = output.logits[0].log_softmax(-1)
            for t, token in enumerate(response):
                before = len(prompt) + t - 1
                assert float(logprobs[row, t]) == pytest.approx(float(per_token[before, token]), abs=1e-5)
                assert float(values[row, t]) == pytest.approx(float(role.scalar(hidden[before])), abs=1e-5)
            assert float(scores[row]) == pytest.approx(float(role.scalar(hidden[-1])), abs=1e-5)


@pytest.mark.parametrize("budget", [1, 12, 1000])
def test_parts_are_put_together_again_in_order(budget: int) -> None:
    role, batch = _role("llama"), Sequences.collate(PROMPTS, RESPONSES, PAD)
    scores, logprobs = forward_in_micro_batches(
        role, batch, budget, lambda rows, _: (end_scores(role, rows), response_logprobs(role, rows))
    )
    with torch.no_grad():
        torch.testing.assert_close(scores, end_scores(role, batch), atol=1e-5, rtol=0)
        mask = batch.response_mask
        torch.testing.assert_close(logprobs[mask], response_logprobs(role, batch)[mask], atol=1e-5, rtol=0)


def test_kl_and_entropy_from_the_samplers_hidden_states_are_the_full_distributions() -> None:
    policy, reference, temperature = Role(tiny.model(seed=0)), Role(tiny.model(seed=1)), 0.8
    rollout: Rollout = tiny.sample(policy, PROMPTS, Sampling(6, temperature, (EOS,), PAD, 64), 0, "test", range(4))
    ref_logprobs, kl, entropy = distribution_metrics(policy, reference, rollout, temperature, token_budget=16)
    for row in range(4):
        start, end = int(rollout.sequences.prompt_lengths[row]), int(rollout.sequences.lengths[row])
        tokens = rollout.sequences.tokens[row : row + 1, :end]
        with torch.no_grad():
            p = (policy.model(tokens).logits[0].double() / temperature).softmax(-1)
            q = (reference.model(tokens).logits[0].double() / temperature).softmax(-1)
        for t in range(end - start):
            one, other = p[start + t - 1], q[start + t - 1]
            assert float(kl[row, t]) == pytest.approx(float((one * (one / other).log()).sum()), abs=1e-4)
            assert float(entropy[row, t]) == pytest.approx(float(-(one * one.log()).sum()), abs=1e-4)
            assert float(ref_logprobs[row, t]) == pytest.approx(float(other[tokens[0, start + t]].log()), abs=1e-4)


class Indices(TorchDispatchMode):
    """Inside, the most places that one operation picks, puts or adds at."""

    most = 0

    def __torch_dispatch__(self, operation: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in operation.name() for word in ("gather", "scatter", "index")):
            places = [
                one.numel() for one in tree_leaves(args) if isinstance(one, torch.Tensor) and one.dtype == torch.long
            ]
            self.most = max([self.most, *places])
        return operation(*args, **(kwargs or {}))


def test_hidden_states_are_picked_by_their_place_not_number_by_number() -> None:
    """CUDA sorts places where all is to be deterministic, forward or back."""
    hidden = torch.randn(4, 9, 16, requires_grad=True)
    role: Any = SimpleNamespace(hidden=lambda *_: hidden[:, :-1])
    batch, indices = Sequences.collate(PROMPTS, RESPONSES, PAD), Indices()
    with indices:
        found = response_hidden(role, batch)
        found.square().sum().backward()
    assert found.shape == (4, 6, 16)
    assert indices.most <= 4 * 9
