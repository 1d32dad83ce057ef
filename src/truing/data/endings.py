"""What ends a response: one notion for encoding, sampling, scoring and saving.

A model may close its turn with another token than the tokenizer's eos: Gemma with `<end_of_turn>`, Llama 3 with
`<|eot_id|>`. It says so in its generation config, and its chat template writes the token behind the assistant's turn.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from truing.core.records import Tokens
from truing.data.templates import ANY_DATE, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ANSWER = "\ufdd2"
"""Stands for an answer in a conversation that is rendered to see what comes around it; no text may use it"""
_QUESTION = {"role": "user", "content": "a"}
_PROBES = ([_QUESTION], [{"role": "system", "content": "a"}, _QUESTION])
"""Conversations of which a template renders at least one"""


@dataclass(frozen=True)
class Endings:
    """The tokens that end a response, for one base, and the text that its template writes around an answer."""

    tokens: Tokens
    """Any of them ends a response that is sampled"""
    text: Tokens
    """The one that closes rows of plain text; none in a classifier whose tokenizer has no eos"""
    turn: Tokens
    """The one that closes rows of messages: with it the chat template closes the assistant's turn"""
    written: Tokens
    """All that the template writes from there on, often a line break too; none where it writes ordinary text alone"""
    before: str = ""
    """What the template writes between its generation prompt and an answer, such as a space"""
    after: str = ""
    """Ordinary text that it writes between an answer and `turn`"""

    def closed(self, response: Tokens, chat: bool) -> Tokens:
        """A response that has ended, as a reward model reads it: a chat to the end of what its template writes."""
        return self.content(response) + (self.written if chat else self.text)

    def content(self, response: Tokens) -> Tokens:
        """A response without the token that ends it."""
        return response[:-1] if response and response[-1] in self.tokens else response


def endings_of(tokenizer: "PreTrainedTokenizerBase", declared: Sequence[Iterable[int]] = ()) -> Endings:
    """What ends a response of a model with this tokenizer.

    Args:
        tokenizer: with its chat template, where it has one.
        declared: the ids that each of the model's configs calls eos. They count where one of them is the tokenizer's
            eos or is written behind an answer; others are a library's default that was never meant.

    Returns:
        It, without a token where nothing ends a response: such a tokenizer is a classifier's, or refused.
    """
    eos = tokenizer.eos_token_id
    before, behind = _around_an_answer(tokenizer) or ("", None)
    tokens = tuple(tokenizer.encode(behind or "", add_special_tokens=False, verbose=False))
    known = [eos] if isinstance(eos, int) else []
    own = tokenizer.added_tokens_decoder
    for ids in map(set, declared):
        if not known or eos in ids or ids.intersection(tokens):
            known += [token for token in sorted(ids) if token in own and token not in known]
    place = _closing(tokens, tokenizer, known)
    written = tokens[place:] if place is not None else ()
    text = tuple(known[:1]) or written[:1]
    if behind is None:  # a template that fails on plain questions: rows fail on it too, and are told
        return Endings(tuple(sorted(known)), text, text, text)
    after = behind.partition(own[written[0]].content)[0] if written else behind
    return Endings(tuple(sorted({*known, *written[:1]})), text, written[:1] or text, written, before, after)


def _around_an_answer(tokenizer: "PreTrainedTokenizerBase") -> tuple[str, str] | None:
    """What the chat template writes before an answer, where a generation prompt has ended, and behind it."""
    for asked in _PROBES:
        try:
            beginning = render(tokenizer, asked, ANY_DATE, add_generation_prompt=True)
            answered = [*asked, {"role": "assistant", "content": _ANSWER}]
            whole = render(tokenizer, answered, ANY_DATE, add_generation_prompt=False)
        except Exception:  # a template is a program: it raises what it likes
            continue
        if _ANSWER in whole:
            start, _, behind = whole.rpartition(_ANSWER)
            return (start.removeprefix(beginning) if start.startswith(beginning) else ""), behind
    return None


def _closing(tokens: Tokens, tokenizer: "PreTrainedTokenizerBase", known: Sequence[int]) -> int | None:
    """Where a turn is closed in what is written behind an answer: at a known end, else at the first marker there.

    A marker is a special token, or else one that was added to the vocabulary and is no white space.
    """
    own = tokenizer.added_tokens_decoder
    special = {token for token, one in own.items() if one.special}
    added = {token for token, one in own.items() if one.content.strip()}
    places = (place for kind in (known, special, added) for place, token in enumerate(tokens) if token in kind)
    return next(places, None)
