"""Special tokens that a text spells out: they get stand-ins before a chat template writes those that are meant.

So what a message says of `<|im_end|>` is read as ordinary text, and what the template writes is the token.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BEFORE, BEHIND = "\ufdd0", "\ufdd1"
"""Around the number of a stand-in: code points that no text may use"""
_STAND_IN = re.compile(f"{BEFORE}([0-9]+){BEHIND}")


@dataclass(frozen=True)
class StandIns:
    """Of one tokenizer, whatever the number of its special tokens: a real one may have thousands."""

    literals: tuple[str, ...]
    """How special tokens are spelt, the longest first"""

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase") -> "StandIns":
        """Those of a tokenizer to which no more tokens are added."""
        added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        return cls(tuple(sorted(added | set(tokenizer.all_special_tokens), key=lambda token: (-len(token), token))))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Of any special token; of nothing where there are none."""
        return re.compile("|".join(map(re.escape, self.literals)) or r"(?!)")

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {literal: number for number, literal in enumerate(self.literals)}

    def put_into(self, value: Any) -> Any:
        """A text with stand-ins for the special tokens that it spells out, or a value with all texts in it so."""
        if isinstance(value, dict):
            return {key: self.put_into(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.put_into(item) for item in value]
        if isinstance(value, str):
            return self.pattern.sub(lambda found: f"{BEFORE}{self._numbers[found[0]]}{BEHIND}", value)
        return value

    def as_spelt(self, text: str) -> str:
        """A text whose stand-ins are the special tokens again."""
        return _STAND_IN.sub(lambda found: self.literals[int(found[1])], text) if BEFORE in text else text

    def pieces(self, text: str) -> Iterator[tuple[str, bool]]:
        """What a text is made of that has stand-ins, in order, and whether it is a special token that was spelt out."""
        for place, piece in enumerate(_STAND_IN.split(text) if BEFORE in text else [text]):
            spelt = place % 2 == 1
            if piece:
                yield (self.literals[int(piece)] if spelt else piece), spelt

    def first_in(self, text: str, longer_than: int) -> str | None:
        """A special token that a text spells out and that has more characters than that."""
        found = (one for one in self.pattern.findall(text) if len(one) > longer_than)
        return next(found, None)
