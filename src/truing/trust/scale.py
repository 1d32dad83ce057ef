"""What do the sizes of scores say: as sure as it is right, and apart from length?"""

import math

import torch

from truing.core.results import Check, CheckVerdict, Measure, PairCard
from truing.evaluation.pair_card import wins
from truing.functional import (
    best_temperature,
    bradley_terry_loss,
    correlation_interval,
    expected_calibration_error,
    pearson,
    within_groups,
)
from truing.trust.pairs import ScoredPairs
from truing.trust.questions import CALIBRATION, LENGTH_CORRELATION, too_few

CHANCE_LOSS = math.log(2.0)
TOO_SURE = 1.5
"""A temperature at which what is said with 90% is right 81% of the time"""
LIKELIHOOD_RATIO = 3.84
"""Twice the gain in log-likelihood, over all pairs, that chance reaches once in twenty where T = 1 is right"""
QUARTER, HALF = 0.5, 0.5**0.5
"""Correlations at which length explains a quarter, and half, of what scores of answers to one prompt differ by"""
ROUNDING = 1e-9
"""Deviations that a mean of equal scores may be off by"""


def calibration(pairs: ScoredPairs, card: PairCard, log_odds: bool) -> Check:
    """Of σ(score difference) as the probability that people prefer the side that scores higher.

    `log_odds`: whether scores claim to be that, as those of a model that learnt from pairs do.
    """
    if not log_odds:
        return CALIBRATION.unanswered("Scores of a function are no log-odds, so they claim no probability.")
    few = too_few(len(pairs))
    if few:
        return CALIBRATION.unanswered(few)
    loss, temperature = card.heldout_loss or 0.0, best_temperature(pairs.gaps)
    measures = [Measure("calibration error", card.ece or 0.0, None, len(pairs))]
    finding = f"Its confidence is off by {card.ece or 0.0:.1%} on average (calibration error)."
    too_sure = True
    if temperature is None:
        finding += " No temperature mends that: its score differences do not tell the preferred side."
    else:
        cooled = pairs.gaps / temperature
        mended = expected_calibration_error(torch.sigmoid(cooled.abs()), pairs.right)
        gain = 2 * len(pairs) * (loss - float(bradley_terry_loss(cooled, torch.zeros_like(cooled))))
        too_sure = temperature >= TOO_SURE and gain > LIKELIHOOD_RATIO
        finding += f" Divided by {temperature:.2f}, scores are off by {mended:.1%}."
        measures += [Measure("temperature", temperature), Measure("calibration error at it", mended)]
    if loss > CHANCE_LOSS:
        finding = f"The pair loss, {loss:.2f}, is above that of a coin (0.69): it is surer than it is right. {finding}"
    verdict: CheckVerdict = "fail" if loss > CHANCE_LOSS else "warn" if too_sure else "pass"
    return CALIBRATION.answered(verdict, finding, measures)


def length_correlation(pairs: ScoredPairs, card: PairCard) -> Check:
    """Of score and length among the answers to one prompt, beside that over all answers."""
    few = too_few(len(pairs))
    if few:
        return LENGTH_CORRELATION.unanswered(few)
    prompts = pairs.groups.repeat(2)
    scores = within_groups(torch.tensor([*pairs.chosen.scores, *pairs.rejected.scores], dtype=torch.float64), prompts)
    lengths = torch.tensor([*pairs.chosen.lengths, *pairs.rejected.lengths], dtype=torch.float64)
    found = pearson(scores, within_groups(lengths, prompts))
    alike = float(scores.abs().max()) <= ROUNDING * pairs.scale
    if found is None or alike or not bool((pairs.longer != 0).any()):
        return LENGTH_CORRELATION.unanswered("Scores, or lengths, of the answers to one prompt do not differ.")
    independent = len(prompts) - int(prompts.max()) - 1
    low, high = correlation_interval(found, independent + 1)
    clear = low > 0 or high < 0
    verdict: CheckVerdict = (
        "fail" if clear and abs(found) >= HALF else "warn" if clear and abs(found) >= QUARTER else "pass"
    )
    apart, overall = pairs.longer != 0, card.reward_length_correlation
    own, people = (float(wins(one[apart]).mean()) for one in (pairs.gaps * pairs.longer, pairs.longer))
    measures = [
        Measure("within a prompt", found, (low, high), independent),
        *([] if overall is None else [Measure("over all", overall)]),
        Measure("model prefers the longer", own),
        Measure("people prefer the longer", people),
    ]
    finding = (
        f"Correlation of score and length within a prompt: {found:.2f} [{low:.2f}, {high:.2f}]. The longer side "
        f"scores higher in {own:.0%} of the pairs; people preferred it in {people:.0%}."
    )
    return LENGTH_CORRELATION.answered(verdict, finding, measures)
