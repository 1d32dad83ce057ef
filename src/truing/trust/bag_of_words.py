"""The baseline of who counts words: logistic regression on the difference of two texts' weighted word counts.

scikit-learn, an extra of truing's, does it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

MISSING = "It was not asked, since scikit-learn is not installed: pip install 'truing[trust]'."
FOLDS = 5
MOST_LEARNT = 10_000
"""Pairs that it learns from: more make it slow and hardly better"""
_WORDS = r"\w+|[^\w\s]"
_STRENGTH = 10.0
"""Inverse of the penalty: of 0.1 to 1,000 by tens, the best by cross-validation on a thousand pairs of short texts"""


@dataclass(frozen=True)
class TextPairs:
    """Chosen and rejected texts of N pairs."""

    chosen: Sequence[str]
    rejected: Sequence[str]

    def rows(self, index: Sequence[int]) -> "TextPairs":
        """Some of them."""
        return TextPairs([self.chosen[row] for row in index], [self.rejected[row] for row in index])


def is_installed() -> bool:
    """Whether scikit-learn is."""
    return find_spec("sklearn") is not None


def word_margins(learnt: TextPairs, asked: TextPairs) -> Tensor:
    """(N,) by how much the chosen side of each pair that is asked about has the better words, by those of `learnt`.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    learnt = learnt.rows(range(min(len(learnt.chosen), MOST_LEARNT)))
    counts = TfidfVectorizer(token_pattern=_WORDS, sublinear_tf=True).fit([*learnt.chosen, *learnt.rejected])

    def differences(pairs: TextPairs) -> Any:  # a sparse matrix, pairs × words
        return counts.transform(pairs.chosen) - counts.transform(pairs.rejected)

    # Every other difference is turned round, so that there are two classes to tell apart.
    signs = torch.ones(len(learnt.chosen)).numpy()
    signs[1::2] = -1
    model = LogisticRegression(C=_STRENGTH, fit_intercept=False, max_iter=1000)
    model.fit(differences(learnt).multiply(signs[:, None]).tocsr(), signs)
    return torch.from_numpy(model.decision_function(differences(asked)))


def cross_validated_margins(pairs: TextPairs, prompts: Sequence[int]) -> Tensor:
    """(N,) the same where each fifth of the pairs is asked of a model of the other four, which has no prompt of it.

    prompts (N,): the number of each pair's prompt. Where there are fewer than five, one may be in several parts.
    """
    from sklearn.model_selection import GroupKFold, KFold

    several = len(set(prompts)) >= FOLDS
    folds = GroupKFold(FOLDS) if several else KFold(FOLDS, shuffle=True, random_state=0)
    margins = torch.zeros(len(prompts), dtype=torch.float64)
    for learnt, asked in folds.split(prompts, groups=prompts if several else None):
        margins[asked.tolist()] = word_margins(pairs.rows(learnt.tolist()), pairs.rows(asked.tolist()))
    return margins
