import math

import numpy as np
import pytest
import torch
from oracles import distributions
from oracles.cases import draw, tensor

from truing.functional import token_entropy, token_logprobs

LOGITS = draw(0, 2, 3, 5, scale=2.0)
TOKENS = np.array([[0, 4, 2], [1, 1, 3]])


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2])
def test_logprobs_are_of_the_token_in_its_own_place(temperature):
    expected = [
        [math.log(distributions.softmax(LOGITS[b, t] / temperature)[TOKENS[b, t]]) for t in range(3)] for b in range(2)
    ]
    np.testing.assert_allclose(token_logprobs(tensor(LOGITS), torch.tensor(TOKENS), temperature), expected)


def test_entropy():
    expected = [[distributions.entropy(LOGITS[b, t]) for t in range(3)] for b in range(2)]
    np.testing.assert_allclose(token_entropy(tensor(LOGITS)), expected)


def test_entropy_at_its_ends():
    certain, even = torch.tensor([[[1e4, -1e4, 0.0, 0.0]]]), torch.zeros(1, 1, 4)
    assert token_entropy(certain).item() == 0
    assert token_entropy(even).item() == pytest.approx(math.log(4))


def test_a_token_ruled_out_leaves_entropy_and_its_gradient_finite():
    logits = torch.tensor([[[0.5, 0.5, -math.inf]]], requires_grad=True)
    entropy = token_entropy(logits)
    entropy.sum().backward()
    assert entropy.item() == pytest.approx(math.log(2))
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_logits_of_ten_thousand_do_not_overflow():
    logits = torch.tensor([[[1e4, 0.0, -1e4]]], requires_grad=True)
    logprobs = [token_logprobs(logits, torch.tensor([[token]])) for token in range(3)]
    torch.stack(logprobs).sum().backward()
    assert [value.item() for value in logprobs] == [0.0, -1e4, -2e4]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_gradients():
    logits = tensor(LOGITS).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: token_logprobs(x, torch.tensor(TOKENS), 0.7), logits)
    assert torch.autograd.gradcheck(token_entropy, logits)


def test_single_precision_agrees_with_double():
    logits, tokens = tensor(LOGITS), torch.tensor(TOKENS)
    np.testing.assert_allclose(token_logprobs(logits.float(), tokens), token_logprobs(logits, tokens), rtol=1e-5)
    np.testing.assert_allclose(token_entropy(logits.float()), token_entropy(logits), rtol=1e-5)
    assert token_logprobs(logits.float(), tokens).dtype == torch.float32


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperature_must_be_above_zero(temperature):
    with pytest.raises(ValueError, match="temperature"):
        token_logprobs(tensor(LOGITS), torch.tensor(TOKENS), temperature)
