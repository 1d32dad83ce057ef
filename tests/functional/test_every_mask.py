"""What holds of every function that takes a mask, whatever it computes."""

import numpy as np
import pytest
import torch
from oracles.cases import MASKS, draw, mask_named, tensor

from truing import functional as F

SCORES = tensor(draw(9, 3))

# name: the tensors (B, R) it reads, and the call
FUNCTIONS = {
    "masked_mean": (1, lambda x, mask: F.masked_mean(x, mask)),
    "masked_mean by row": (1, lambda x, mask: F.masked_mean(x, mask, dim=-1)),
    "masked_whiten": (1, lambda x, mask: F.masked_whiten(x, mask)),
    "masked_whiten around its mean": (1, lambda x, mask: F.masked_whiten(x, mask, shift_mean=False)),
    "shape_rewards": (2, lambda a, b, mask: F.shape_rewards(SCORES.to(a.dtype), a, b, mask, 0.1)),
    "gae": (2, lambda a, b, mask: torch.stack(F.gae(a, b, mask))),
    "ppo_policy_loss": (3, lambda a, b, c, mask: F.ppo_policy_loss(a, b, c, mask)[0]),
    "ppo_value_loss": (3, lambda a, b, c, mask: F.ppo_value_loss(a, b, c, mask)[0]),
}
every_function = pytest.mark.parametrize("function", FUNCTIONS)
every_mask = pytest.mark.parametrize("name", MASKS)


def inputs_of(function, mask=None, off_mask=float("nan")):
    count = FUNCTIONS[function][0]
    return [tensor(draw(seed, 3, 4, scale=0.5), mask, off_mask).requires_grad_() for seed in range(count)]


def call(function, inputs, mask):
    return FUNCTIONS[function][1](*inputs, mask)


@every_function
@every_mask
@pytest.mark.parametrize("off_mask", [float("nan"), float("inf"), 1e4, -1e4])
def test_nothing_off_the_mask_reaches_a_result_or_a_gradient(function, name, off_mask):
    mask = mask_named(name)
    clean = inputs_of(function, mask, 0.0)
    vile = inputs_of(function, mask, off_mask)
    expected, actual = (call(function, inputs, torch.tensor(mask)) for inputs in (clean, vile))
    assert torch.isfinite(actual).all()
    assert torch.equal(actual, expected)
    for result in (expected, actual):
        result.square().sum().backward()
    for clean_input, vile_input in zip(clean, vile, strict=True):
        assert torch.equal(clean_input.grad, vile_input.grad)
        assert (vile_input.grad[torch.tensor(mask) == 0] == 0).all()


@every_function
@every_mask
def test_the_type_of_the_mask_does_not_matter(function, name):
    mask, inputs = torch.tensor(mask_named(name)), inputs_of(function)
    expected = call(function, inputs, mask.bool())
    for dtype in (torch.int64, torch.uint8, torch.float32, torch.float64):
        actual = call(function, inputs, mask.to(dtype))
        assert actual.dtype == torch.float64
        assert torch.equal(actual, expected)


@every_function
@every_mask
def test_single_precision_agrees_with_double(function, name):
    mask, inputs = torch.tensor(mask_named(name)), inputs_of(function)
    single = call(function, [x.detach().float() for x in inputs], mask)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, call(function, inputs, mask).detach(), rtol=1e-4, atol=1e-6)


# whitening one value, whose variance is 0, is too steep for finite differences: 1/√eps
@pytest.mark.parametrize(
    ("function", "name"), [(f, m) for f in FUNCTIONS for m in MASKS if "whiten" not in f or m != "one token"]
)
def test_gradients(function, name):
    mask = torch.tensor(mask_named(name))
    assert torch.autograd.gradcheck(lambda *inputs: call(function, inputs, mask), inputs_of(function))


@every_function
def test_a_batch_that_counts_nothing_is_zero_with_zero_gradient(function):
    mask = torch.zeros(3, 4)
    inputs = inputs_of(function, mask.numpy())
    result = call(function, inputs, mask)
    result.sum().backward()
    assert (result == 0).all()
    assert all((x.grad == 0).all() for x in inputs)


@every_function
def test_padding_added_on_the_right_changes_nothing(function):
    mask, inputs = torch.tensor(mask_named("ragged")), inputs_of(function)
    padded = [torch.nn.functional.pad(x, (0, 2), value=99.0) for x in inputs]
    expected, actual = call(function, inputs, mask), call(function, padded, torch.nn.functional.pad(mask, (0, 2)))
    np.testing.assert_allclose(
        actual[..., :4].detach() if actual.shape != expected.shape else actual.detach(), expected.detach(), rtol=1e-12
    )
