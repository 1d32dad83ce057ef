"""The report card of a role that has just learnt, on the rows of tokens that were held out from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from truing.core.records import Sample, Tokens
from truing.core.results import Check, PairCard
from truing.core.rows import PairRows, TokenRows
from truing.data.chat import TextFormat, decode_response, encode_response
from truing.data.endings import Endings
from truing.data.prepared import Split
from truing.rewards.sources import RewardFn
from truing.trust.bag_of_words import MOST_LEARNT, TextPairs
from truing.trust.card import Learning, report_checks
from truing.trust.pairs import Answers, ScoredPairs
from truing.trust.probes import to_probe

WORTH_PROBING = 32
"""Pairs that were learnt from, counted anew in each pass, for each answer that is probed. This takes nine forwards, and
a pair two forwards and two backwards, each worth two: probes take a twentieth of the time of learning."""


@dataclass(frozen=True)
class RowsReward:
    """What scores rows of tokens, and texts that were changed: these are encoded again, as its rows are."""

    source: RewardFn
    """Reads the tokens of samples"""
    endings: Endings
    """That it closes rows by"""
    form: TextFormat
    context: int
    """Tokens that the model reads; a text is cut where it would be longer"""
    chat: bool
    """Whether its rows are messages"""

    def score(self, samples: Sequence[Sample]) -> list[float]:
        return self.source.score([replace(sample, response_tokens=self._tokens(sample)) for sample in samples])

    def samples(self, rows: TokenRows) -> list[Sample]:
        """Rows as text; their prompts stay tokens."""
        return [
            Sample(
                prompt=() if self.chat else "",
                response=decode_response(self.form, prompt, response, self.chat),
                prompt_tokens=prompt,
                response_tokens=response,
                finished=response[-1] in self.endings.tokens,
            )
            for prompt, response in zip(rows.prompts, rows.responses, strict=True)
        ]

    def _tokens(self, sample: Sample) -> Tokens:
        tokens = encode_response(self.form, sample.response, self.chat)
        content, closing = self.endings.content(tokens), len(self.endings.closed((), self.chat))
        room = self.context - len(sample.prompt_tokens) - closing
        return content[:room] + (tokens[len(content) :] if sample.finished else ())


def checks_on_rows(
    reward: RowsReward,
    pairs: Split[PairRows],
    scores: tuple[Tensor, Tensor],
    card: PairCard,
    metrics: Sequence[Mapping[str, Any]],
    passes: int,
) -> list[Check]:
    """All questions.

    Args:
        reward: what learnt.
        pairs: that it learnt from, and those that it was measured on.
        scores: (N,) of the latter's chosen and rejected sides.
        card: the latter as a whole.
        metrics: of each step in which it learnt.
        passes: over its pairs.
    """
    heldout, first = pairs.heldout, pairs.train.rows(range(min(len(pairs.train), MOST_LEARNT)))
    chosen, rejected, *learnt = (
        reward.samples(side) for side in (heldout.chosen, heldout.rejected, first.chosen, first.rejected)
    )
    scored = ScoredPairs(
        Answers(_texts(chosen), heldout.chosen.response_lengths, scores[0].tolist()),
        Answers(_texts(rejected), heldout.rejected.response_lengths, scores[1].tolist()),
        heldout.chosen.prompts,
        heldout.sources,
    )
    return report_checks(
        scored,
        card,
        reward,
        to_probe(chosen, rejected, len(pairs.train) * passes // WORTH_PROBING),
        learning=Learning(TextPairs(*map(_texts, learnt)), metrics, passes),
    )


def _texts(samples: Sequence[Sample]) -> list[str]:
    return [sample.response for sample in samples]
