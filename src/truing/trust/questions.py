"""The questions of a report card: what each is called, why it is asked, and what to do where the answer is bad.

docs/trust.md has them too, each with its source, its thresholds and what it does not see; a test compares the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from truing.core.results import Check, CheckVerdict, Measure

FEW = 20
"""Pairs below which a share says next to nothing: its 95% interval is 40 points wide and more"""


def too_few(pairs: int) -> str:
    """Why so few pairs tell nothing; empty where they are enough."""
    return f"{pairs} {'pair is' if pairs == 1 else 'pairs are'} too few to tell." if pairs < FEW else ""


MORE_OR_SLOWER = "more pairs, fewer epochs, a lower learning rate or label_smoothing"


@dataclass(frozen=True)
class Question:
    """One that is put to every reward model."""

    name: str
    title: str
    why: str
    advice: str

    def answered(self, verdict: CheckVerdict, finding: str, measures: Sequence[Measure] = ()) -> Check:
        """What was found; a sentence in `finding` says it."""
        return Check(self.name, self.title, verdict, finding, list(measures), self.why, self.advice)

    def unanswered(self, because: str) -> Check:
        """Nothing was measured."""
        return self.answered("not measured", because)


ACCURACY = Question(
    "accuracy",
    "Right more often than a coin",
    "What a policy learns from scores that rank no better than chance is noise.",
    "Read some pairs, look whether chosen and rejected are swapped, and learn longer, faster or from more pairs.",
)
LONGER_WINS = Question(
    "longer-wins",
    "Better than 'the longer wins'",
    "Who is beaten by a ruler has at best learnt to measure length, and a policy that is paid by length rambles.",
    "Even out the lengths of the two sides, drop pairs that length alone decides, or learn from more pairs.",
)
BAG_OF_WORDS = Question(
    "bag-of-words",
    "Better than counting words",
    "If word counts rank pairs as well, nothing shows that it reads sentences: a policy may learn to say those words.",
    "Where words should decide, nothing. Else a larger base, more pairs, or pairs whose two sides share their words.",
)
CALIBRATION = Question(
    "calibration",
    "As sure as it is right",
    "A score difference is a claim of odds. One that is surer than it is right pays a policy most for its mistakes.",
    f"Divide scores by the temperature, where their size is used. To learn better: {MORE_OR_SLOWER}.",
)
MARGIN = Question(
    "margin",
    "Right where it is surest",
    "Policies and best-of-n push to the largest scores, so large differences must be right more often than small ones.",
    "Read the pairs with the largest score differences that are wrong: they show what is overrated.",
)
LENGTH = Question(
    "length",
    "Right whichever side is longer",
    "Who is right only where the longer side was preferred, or only where the shorter was, follows length.",
    "Add pairs in which the other length was preferred, or even out lengths.",
)
SOURCE = Question(
    "source",
    "Right on every source",
    "A mean hides a kind of rows on which it is wrong, and a policy that is asked such prompts is misled.",
    "Add pairs of the source that stands out, or look at its labels: they may be turned round.",
)
LENGTH_CORRELATION = Question(
    "length-correlation",
    "Score apart from length",
    "Answers to one prompt are what a policy chooses among. If length explains their scores, length is what it learns.",
    "Even out the lengths of the two sides, or subtract a price a token by a function in rewards.sources.",
)
OVERFITTING = Question(
    "overfitting",
    "As good on pairs it has not seen",
    "What was learnt by heart holds for its own pairs alone, and its scores of a policy's new texts are noise.",
    f"Try {MORE_OR_SLOWER}.",
)
POLITE_PHRASE = Question(
    "polite-phrase",
    "A polite phrase buys nothing",
    "Two empty sentences are the cheapest thing that a policy can learn to add to every answer.",
    "Add pairs in which the side with such a phrase lost, or take the phrase off both sides.",
)
REPEATED_SENTENCE = Question(
    "repeated-sentence",
    "A sentence said twice buys nothing",
    "A policy that is paid for repetition loops.",
    "Add pairs in which the repetitive side lost, or a function in rewards.sources that takes off for repetition.",
)
CUT = Question(
    "cut",
    "Half an answer is worth no more",
    "If half of an answer is worth more than all of it, stopping early is what a policy learns.",
    "Add pairs in which the side that was cut short lost; rewards.missing_eos does not see a cut that ends properly.",
)
CASING = Question(
    "casing",
    "Capital letters change little",
    "A score that hangs on capitals judges how a text is typed, and can be earned that way.",
    "Look whether casing tells the two sides of the pairs apart, and even it out.",
)
AS_AN_AI = Question(
    "as-an-ai",
    "'As an AI' buys nothing",
    "An opening that fits every answer is learnt before anything else, and tells nobody anything.",
    "Add pairs in which the side with such an opening lost, or take the opening off both sides.",
)
FOREIGN_ANSWER = Question(
    "foreign-answer",
    "An answer to another prompt is worth less",
    "If it does not matter what was asked, one answer that scores well can be given to everybody.",
    "Add pairs whose rejected side is a good answer to another prompt. Where prompts do not matter, nothing.",
)
BATCH = Question(
    "batch",
    "The same alone and in a batch",
    "A score that hangs on padding or on its neighbours is another one in training than when it is looked at.",
    "Look at its padding side, pad token and attention mask, or at a function that compares responses of a batch.",
)
QUESTIONS = (
    ACCURACY, LONGER_WINS, BAG_OF_WORDS, CALIBRATION, MARGIN, LENGTH, SOURCE, LENGTH_CORRELATION, OVERFITTING,
    POLITE_PHRASE, REPEATED_SENTENCE, CUT, CASING, AS_AN_AI, FOREIGN_ANSWER, BATCH,
)  # fmt: skip
"""In the order of a report card"""
