"""A role is asked about changed texts in the tokens that its rows have, and about no more than it reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tiny

from truing.core.records import Sample, Tokens
from truing.core.rows import TokenRows
from truing.data.chat import encode_completion, encode_prompt
from truing.trust.rows import RowsReward

FORM = tiny.text_format(tiny.tokenizer())
PROMPT = encode_prompt(FORM, "how?")
ANSWER = encode_completion(FORM, "how?", "so. and so.")


@dataclass
class Role:
    """Remembers what it is asked."""

    endings: Any = FORM.endings
    asked: list[Tokens] = field(default_factory=list)

    def score(self, samples: Sequence[Sample]) -> list[float]:
        self.asked = [sample.response_tokens for sample in samples]
        return [0.0 for _ in samples]


def reward(role: Role, context: int = 64) -> RowsReward:
    return RowsReward(role, FORM.endings, FORM, context, chat=False)


def test_rows_read_as_text_are_encoded_as_they_were() -> None:
    role = Role()
    rows = TokenRows([PROMPT, PROMPT], [ANSWER, ANSWER[:5]], pad=0)
    samples = reward(role).samples(rows)
    assert [(sample.response, sample.finished) for sample in samples] == [("so. and so.", True), ("so. a", False)]
    reward(role).score(samples)
    assert role.asked == [ANSWER, ANSWER[:5]]


def test_a_changed_answer_is_cut_to_what_the_model_reads_and_still_ends() -> None:
    role = Role()
    (sample,) = reward(role).samples(TokenRows([PROMPT], [ANSWER], pad=0))
    reward(role, context=10).score([replace(sample, response="a" * 50)])
    assert role.asked == [(*[0] * 5, ANSWER[-1])]  # 4 of the prompt, 5 times 'a', the end
