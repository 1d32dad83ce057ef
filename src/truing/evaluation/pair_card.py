"""How good is a reward model, on pairs that it has not learnt from?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from truing.core.errors import DataError
from truing.core.results import CalibrationPoint, PairCard
from truing.functional import (
    bradley_terry_loss,
    calibration_bins,
    expected_calibration_error,
    pearson,
    wilson_interval,
)


def pair_card(
    chosen_scores: Sequence[float] | Tensor,
    rejected_scores: Sequence[float] | Tensor,
    chosen_lengths: Sequence[int] | Tensor,
    rejected_lengths: Sequence[int] | Tensor,
) -> PairCard:
    """Measures N held-out pairs by their scores and lengths (in tokens); all four arguments are (N,).

    `truing.core.metrics` defines each metric. Shares count ties half, and `_ci95` are Wilson's 95% intervals of them.
    The calibration is that of σ(|score difference|), from 0.5 to 1. The correlation is over all 2N responses, and None
    where scores or lengths do not vary.

    Raises:
        DataError: there is no pair, the four differ in shape, or a score is not finite.
    """
    chosen, rejected, longer, shorter = _columns(chosen_scores, rejected_scores, chosen_lengths, rejected_lengths)
    gaps = chosen - rejected
    correct = wins(gaps)
    confidences = torch.sigmoid(gaps.abs())
    longer_wins = wins(longer - shorter)
    return PairCard(
        heldout_accuracy=float(correct.mean()),
        heldout_accuracy_ci95=share_interval(correct),
        heldout_pairs=len(gaps),
        heldout_loss=float(bradley_terry_loss(chosen, rejected)),
        longer_wins_accuracy=float(longer_wins.mean()),
        longer_wins_ci95=share_interval(longer_wins),
        ece=expected_calibration_error(confidences, correct),
        calibration=_calibration(confidences, correct),
        score_gap_mean=float(gaps.mean()),
        reward_length_correlation=pearson(torch.cat([chosen, rejected]), torch.cat([longer, shorter])),
    )


def _columns(*columns: Sequence[float] | Sequence[int] | Tensor) -> list[Tensor]:
    tensors = [torch.as_tensor(column, dtype=torch.float64).detach().cpu() for column in columns]
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) != 1 or tensors[0].ndim != 1 or len(tensors[0]) == 0:
        what = f"A report card needs one score and one length for each side of a pair, not shapes {shapes}."
        raise DataError(what, code="data/unequal-shapes")
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        what = "A score of the reward model on the held-out pairs is not finite."
        raise DataError(what, code="data/scores-not-finite")
    return tensors


def wins(differences: Tensor) -> Tensor:
    """(N,) 1 where positive, ½ where zero, 0 where negative."""
    return (differences.sign() + 1) / 2


def share_interval(outcomes: Tensor) -> tuple[float, float]:
    """Wilson's interval of a share; half a success that ties leave over is rounded down."""
    return wilson_interval(int(outcomes.sum()), len(outcomes))


def _calibration(confidences: Tensor, correct: Tensor) -> list[CalibrationPoint]:
    return [
        CalibrationPoint(
            own.confidence, own.accuracy, wilson_interval(int(own.accuracy * own.count + 1e-6), own.count), own.count
        )
        for own in calibration_bins(confidences, correct)
    ]
