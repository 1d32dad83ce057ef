"""The clipped objective with each ratio and average, against loops over counted tokens."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from oracles.cases import MASKS, draw, mask_named, tensor
from oracles.episodes import counted_positions, mean

from truing.functional import (
    clipped_policy_loss,
    constant_mean,
    masked_mean,
    mean_ratio,
    response_mean,
    token_ratio,
    whole_ratio,
)

LONGEST = 7
RATIOS = {"token": token_ratio, "mean": mean_ratio, "whole": whole_ratio}
AVERAGES = {"tokens": masked_mean, "responses": response_mean, "constant": partial(constant_mean, length=LONGEST)}
LOW, HIGH = 0.1, 0.3


def log_ratios(row: np.ndarray, positions: list[int], ratio: str) -> dict[int, float]:
    """Of each counted token of a row."""
    own = {t: float(row[t]) for t in positions}
    if ratio == "token":
        return own
    whole = sum(own.values())
    return dict.fromkeys(own, whole / max(len(own), 1) if ratio == "mean" else whole)


def averaged(of_rows: list[list[float]], average: str) -> float:
    if average == "tokens":
        return mean([value for row in of_rows for value in row])
    if average == "responses":
        return sum(mean(row) for row in of_rows) / len(of_rows)
    return sum(sum(row) for row in of_rows) / LONGEST / len(of_rows)


def expected(now, old, advantages, mask, ratio: str, average: str) -> dict[str, float]:
    losses, clipped, squares, deviations = [], [], [], [0.0]
    for b, positions in counted_positions(mask):
        logs = log_ratios(now[b] - old[b], positions, ratio)
        rho = {t: math.exp(value) for t, value in logs.items()}
        bound = {t: min(rho[t], 1 + HIGH) if advantages[b, t] >= 0 else max(rho[t], 1 - LOW) for t in positions}
        losses.append([-bound[t] * advantages[b, t] for t in positions])
        clipped.append([float(bound[t] != rho[t]) for t in positions])
        squares.append([(now[b, t] - old[b, t]) ** 2 / 2 for t in positions])
        deviations += [abs(math.exp(now[b, t] - old[b, t]) - 1) for t in positions]
    share = "tokens" if average == "tokens" else "responses"
    return {
        "loss": averaged(losses, average),
        "clip_fraction": averaged(clipped, share),
        "approx_kl": averaged(squares, share),
        "ratio_max_deviation": max(deviations),
    }


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("name", MASKS)
def test_each_ratio_and_average(ratio: str, average: str, name: str) -> None:
    mask = mask_named(name)
    now, old, advantages = (draw(seed, 3, 4, scale=0.3) for seed in range(3))
    loss, stats = clipped_policy_loss(
        *(tensor(x, mask, float("nan")) for x in (now, old, advantages)),
        torch.tensor(mask),
        (LOW, HIGH),
        ratio=RATIOS[ratio],
        average=AVERAGES[average],
    )
    found = {"loss": float(loss)} | {key: float(value) for key, value in stats.items()}
    assert found == pytest.approx(expected(now, old, advantages, mask, ratio, average), abs=1e-12)


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_first_step_is_reinforce(ratio: str) -> None:
    """At a ratio of one, the gradient of a response's log π is its advantage, whoever's ratio is clipped."""
    mask = torch.ones(3, 4)
    old, advantages = tensor(draw(1, 3, 4)), tensor(draw(2, 3, 1)).expand(3, 4)
    now = old.clone().requires_grad_()
    loss, _ = clipped_policy_loss(now, old, advantages, mask, ratio=RATIOS[ratio], average=response_mean)
    loss.backward()
    tokens = 1 if ratio == "whole" else 4  # the ratio of the whole response has the sum of log π, the others its mean
    torch.testing.assert_close(now.grad, -advantages / tokens / 3)


def test_weights_scale_what_a_token_gains() -> None:
    mask = torch.ones(3, 4)
    now, old, advantages, weights = (tensor(draw(seed, 3, 4)) for seed in range(4))
    weighed, _ = clipped_policy_loss(now, old, advantages, mask, weights=weights.abs())
    plain, _ = clipped_policy_loss(now, old, advantages * weights.abs(), mask)
    torch.testing.assert_close(weighed, plain)
