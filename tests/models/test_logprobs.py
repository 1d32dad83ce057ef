"""Log-probabilities through the vocabulary: the formula, its gradient, and never all logits at once."""

from typing import Any

import pytest
import tiny
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedConfig

from truing.core.batches import Sequences
from truing.functional import token_logprobs
from truing.kernels import vocabulary
from truing.kernels.vocabulary import LOGIT_POSITIONS, LogitTransform
from truing.models.logprobs import logprobs_of
from truing.models.roles import Role
from truing.models.scoring import response_logprobs

PAD, EOS = len(tiny.LETTERS) + 1, len(tiny.LETTERS)
BATCH = Sequences.collate([[1, 2, 3], [4], [5, 6, EOS, 8]], [[12, EOS], [13, 14, 15, 16, EOS], [18]], PAD)


class _Head(nn.Module):
    """A model of nothing but a projection to its vocabulary, with or without a cap."""

    def __init__(self, projection: nn.Linear, cap: float | None) -> None:
        super().__init__()
        self.lm_head, self.config = projection, PreTrainedConfig(final_logit_softcapping=cap)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("bias", [True, False])
def test_value_and_gradients_are_the_formulas(
    cap: float | None, temperature: float, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "LOGIT_POSITIONS", 2)
    random = torch.Generator().manual_seed(0)
    projection = nn.Linear(3, 7, bias=bias).double()
    role = Role(_Head(projection, cap))  # type: ignore[arg-type]
    hidden = torch.randn(5, 3, dtype=torch.float64, generator=random).requires_grad_()
    tokens = torch.tensor([0, 3, 6, 1, 2])

    def found(states: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return logprobs_of(role, states, tokens, temperature)

    logits = projection(hidden)
    expected = token_logprobs(cap * torch.tanh(logits / cap) if cap else logits, tokens, temperature)
    torch.testing.assert_close(found(hidden), expected)
    assert torch.autograd.gradcheck(found, (hidden, *projection.parameters()))


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_rows_in_the_place_of_the_last_have_the_values_and_gradients_of_a_weight_that_has_them(
    cap: float | None, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "LOGIT_POSITIONS", 2)
    random = torch.Generator().manual_seed(0)
    hidden, weight, rows = (torch.randn(n, 3, dtype=torch.float64, generator=random) for n in (5, 7, 2))
    tokens = torch.tensor([0, 3, 6, 5, 2])

    def found(states: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        return vocabulary.token_logprobs(states, weight, None, tokens, temperature, LogitTransform(cap=cap), own)

    logits = hidden @ torch.cat([weight[:5], rows]).t()
    expected = token_logprobs(cap * torch.tanh(logits / cap) if cap else logits, tokens, temperature)
    torch.testing.assert_close(found(hidden, rows), expected)
    assert torch.autograd.gradcheck(found, (hidden.requires_grad_(), rows.requires_grad_()))


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_parts_of_the_logits_have_the_gradient_of_the_whole(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    role = Role(tiny.model(shape))

    def gradients(positions: int) -> list[torch.Tensor]:
        monkeypatch.setattr(vocabulary, "LOGIT_POSITIONS", positions)
        role.model.zero_grad()
        response_logprobs(role, BATCH, temperature=0.7).square().sum().backward()
        return [weight.grad.clone() for weight in role.model.parameters()]

    for whole, parts in zip(gradients(1000), gradients(3), strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_the_gradient_is_that_of_the_models_own_logits(shape: str) -> None:
    model = tiny.model(shape)
    mask = BATCH.response_mask
    response_logprobs(Role(model), BATCH, temperature=0.7)[mask].square().sum().backward()
    ours = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    logits = model(input_ids=BATCH.tokens, attention_mask=BATCH.attention_mask).logits
    before = (BATCH.response_index - 1)[..., None].expand(-1, -1, logits.shape[-1])
    per_token = (logits.gather(1, before) / 0.7).log_softmax(-1)
    per_token.gather(2, BATCH.response_tokens[..., None])[..., 0][mask].square().sum().backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(ours[name], weight.grad, atol=1e-4, rtol=1e-3)


class _Largest(TorchDispatchMode):
    """Notes the number of entries of the largest tensor that anything makes."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves(made) if isinstance(x, torch.Tensor)]
        self.entries = max([self.entries, *(x.numel() for x in tensors)])
        return made


def _wide(words: int) -> Role:
    config = LlamaConfig(
        vocab_size=words, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Role(LlamaForCausalLM(config))


def test_the_logits_of_a_batch_never_exist_at_once_however_large_the_vocabulary() -> None:
    """8 responses of 128 tokens over 150,000 words would be 154 million logits; 64 positions are 10 million."""
    words, rows, length = 150_000, 8, 128
    role = _wide(words)
    batch = Sequences.collate([[1, 2]] * rows, [[3] * length] * rows, 0)
    role.model.requires_grad_(False)
    role.model.model.layers.requires_grad_(True)
    with _Largest() as largest:
        response_logprobs(role, batch).sum().backward()
    assert largest.entries == LOGIT_POSITIONS * words < rows * length * words / 10


@pytest.mark.parametrize("bias", [True, False])
def test_many_parts_add_up_in_single_precision_where_the_weights_are_narrower(bias: bool) -> None:
    """The same numbers in float64 are the oracle; what is left is the rounding of parts, not of a growing sum."""
    random = torch.Generator().manual_seed(0)
    count, width, words = 100 * LOGIT_POSITIONS, 8, 16
    hidden = (torch.randn(count, width, generator=random) + 1).bfloat16()  # a mean that makes the sums grow
    tokens = torch.randint(3, (count,), generator=random)
    projection = nn.Linear(width, words, bias=bias).bfloat16()
    exact = nn.Linear(width, words, bias=bias).double()
    exact.load_state_dict(projection.state_dict())
    for head in (projection, exact):
        logprobs_of(Role(_Head(head, None)), hidden.to(head.weight.dtype).requires_grad_(), tokens).sum().backward()  # type: ignore[arg-type]
    for found, wanted in zip(projection.parameters(), exact.parameters(), strict=True):
        assert found.grad is not None
        assert wanted.grad is not None
        assert found.grad.dtype == torch.bfloat16
        error = (found.grad.double() - wanted.grad).norm() / wanted.grad.norm()
        assert error < 2**-8
