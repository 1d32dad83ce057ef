"""Losses over pairs of which one was preferred."""

from torch.nn.functional import logsigmoid

from truing.functional.shapes import Number, Scalar, Values


def bradley_terry_loss(
    chosen: Values, rejected: Values, margin: Values | Number | None = None, label_smoothing: Number = 0.0
) -> Scalar:
    """Negative log-likelihood that the chosen response wins.

        h = r_chosen − r_rejected − margin      L = mean −(1 − ε)·log σ(h) − ε·log σ(−h)

    Bradley & Terry 1952; Ouyang et al. 2022 (arXiv:2203.02155), equation 1; the margin is that of Touvron et al. 2023
    (arXiv:2307.09288), equation 2; ε is the share of labels taken to be flipped.

    chosen, rejected (B,) scores; margin (B,) or one number. Returns a scalar.
    """
    h = chosen - rejected
    if margin is not None:
        h = h - margin
    return -((1 - label_smoothing) * logsigmoid(h) + label_smoothing * logsigmoid(-h)).mean()
