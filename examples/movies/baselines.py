"""How well simple rules tell which snippet of a pair people liked better: the figures a reward model must beat."""

from collections.abc import Callable, Sequence
from typing import Any

import judges
import numpy as np
from rows import Row
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from truing.functional import wilson_interval

Figures = dict[str, float | int | list[float]]
Judge = Callable[[Sequence[str], Sequence[str]], list[float]]
STRENGTHS = {"C": [0.1, 1.0, 10.0, 100.0, 1000.0]}


def baselines(train: Sequence[Row], heldout: Sequence[Row]) -> dict[str, Figures]:
    """Accuracy on the held-out pairs, by the name of the rule."""
    return {
        "tfidf": accuracy(tfidf_margins(train, heldout)),
        "vader": accuracy(margins(judges.vader, heldout)),
        "afinn": accuracy(margins(judges.afinn, heldout)),
        "longer_wins": accuracy(margins(lambda _, responses: [float(len(text)) for text in responses], heldout)),
    }


def margins(judge: Judge, rows: Sequence[Row]) -> np.ndarray:
    """The judge's score of each row's chosen side less that of its rejected side."""
    prompts = side(rows, "prompt")
    return np.subtract(judge(prompts, side(rows, "chosen")), judge(prompts, side(rows, "rejected")))


def tfidf_margins(train: Sequence[Row], heldout: Sequence[Row]) -> np.ndarray:
    """Margins of logistic regression on TF-IDF differences (words and word pairs), its strength chosen on ``train``."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    words.fit(side(train, "chosen") + side(train, "rejected"))

    def differences(rows: Sequence[Row]) -> Any:  # a sparse matrix, rows × terms
        return words.transform(side(rows, "chosen")) - words.transform(side(rows, "rejected"))

    # Every other difference is turned round, so that there are two classes to tell apart.
    signs = np.where(np.arange(len(train)) % 2, -1.0, 1.0)
    search = GridSearchCV(LogisticRegression(fit_intercept=False, max_iter=1000), STRENGTHS, cv=5)
    search.fit(differences(train).multiply(signs[:, None]).tocsr(), signs)
    return np.asarray(search.decision_function(differences(heldout)))


def side(rows: Sequence[Row], key: str) -> list[str]:
    """One text of every row."""
    return [str(row[key]) for row in rows]


def accuracy(margins: np.ndarray) -> Figures:
    """Share of positive margins, every other tie counted right, with its 95% Wilson interval."""
    ties = int((margins == 0).sum())
    right, pairs = int((margins > 0).sum()) + ties // 2, len(margins)
    return {"accuracy": right / pairs, "ci95": [*wilson_interval(right, pairs)], "pairs": pairs, "ties": ties}
