import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import distributions
from oracles.cases import draw, tensor

from truing.functional import kl_estimate, kl_exact

LOGITS, REF_LOGITS = draw(0, 2, 3, 5, scale=2.0), draw(1, 2, 3, 5, scale=2.0)
ESTIMATORS = {"k1": lambda d: d, "k2": lambda d: d * d / 2, "k3": lambda d: math.exp(-d) - 1 + d}


def test_exact_kl():
    expected = [[distributions.kl(LOGITS[b, t], REF_LOGITS[b, t]) for t in range(3)] for b in range(2)]
    np.testing.assert_allclose(kl_exact(tensor(LOGITS), tensor(REF_LOGITS)), expected)


def test_exact_kl_at_its_ends():
    sure_of_first, sure_of_second = torch.tensor([[[1e4, 0.0]]]), torch.tensor([[[0.0, 1e4]]])
    ruled_out = torch.tensor([[[0.0, -math.inf]]])
    assert kl_exact(sure_of_first, sure_of_first).item() == 0
    assert kl_exact(sure_of_first, sure_of_second).item() == 1e4
    assert kl_exact(ruled_out, ruled_out).item() == 0
    assert kl_exact(torch.zeros(1, 1, 2), ruled_out).item() == math.inf


def test_a_token_both_rule_out_leaves_the_gradient_finite():
    logits = torch.tensor([[[0.5, 1.0, -math.inf]]], requires_grad=True)
    kl_exact(logits, torch.tensor([[[1.0, 0.0, -math.inf]]])).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimates_are_their_formulas(estimator):
    logprobs, ref_logprobs = -abs(draw(2, 2, 3)), -abs(draw(3, 2, 3))
    expected = [[ESTIMATORS[estimator](logprobs[b, t] - ref_logprobs[b, t]) for t in range(3)] for b in range(2)]
    np.testing.assert_allclose(kl_estimate(tensor(logprobs), tensor(ref_logprobs), estimator), expected)


def test_k1_is_the_default_and_others_are_refused():
    assert kl_estimate(torch.tensor([[-1.0]]), torch.tensor([[-3.0]])).item() == 2
    with pytest.raises(Exception, match="k4"):
        kl_estimate(torch.zeros(1, 1), torch.zeros(1, 1), "k4")  # type: ignore[arg-type]


@given(st.integers(0, 10_000))
def test_k1_and_k3_average_to_the_exact_kl_over_the_whole_vocabulary(seed):
    logits, ref_logits = draw(seed, 6, scale=2.0), draw(seed + 1, 6, scale=2.0)
    p, q = distributions.softmax(logits), distributions.softmax(ref_logits)
    exact = kl_exact(tensor(logits)[None, None], tensor(ref_logits)[None, None]).item()
    for estimator in ("k1", "k3"):
        estimates = kl_estimate(tensor(np.log(p))[None], tensor(np.log(q))[None], estimator)
        assert float(p @ estimates[0].numpy()) == pytest.approx(exact, abs=1e-9)


def test_gradients():
    logits, ref_logits = tensor(LOGITS).requires_grad_(), tensor(REF_LOGITS).requires_grad_()
    assert torch.autograd.gradcheck(kl_exact, (logits, ref_logits))
    for estimator in ESTIMATORS:
        assert torch.autograd.gradcheck(lambda a, b, e=estimator: kl_estimate(a, b, e), (logits[0], ref_logits[0]))


def test_single_precision_agrees_with_double():
    logits, ref_logits = tensor(LOGITS), tensor(REF_LOGITS)
    np.testing.assert_allclose(kl_exact(logits.float(), ref_logits.float()), kl_exact(logits, ref_logits), rtol=1e-5)


def test_k3_keeps_its_digits_where_the_two_policies_nearly_agree():
    d = 1e-3  # e^(−d) − 1 + d in single precision would keep one digit
    estimate = kl_estimate(torch.tensor([[d]]), torch.tensor([[0.0]]), "k3").item()
    assert estimate == pytest.approx(d**2 / 2 - d**3 / 6, rel=1e-3)
