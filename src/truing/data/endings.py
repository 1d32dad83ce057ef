"""What ends a response: one notion for encoding, sampling, scoring and saving.

A model may close its turn with another token than the tokenizer's eos: Gemma with `<end_of_turn>`, Llama 3 with
`<|eot_id|>`. It says so in its generation config, and its chat template writes the token behind the assistant's turn.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from truing.data.templates import ANY_DATE, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = tuple[int, ...]
_ANSWER = "\ufdd2"
"""Stands for an answer in a conversation that is rendered to see what comes behind it; no text may use it"""


@dataclass(frozen=True)
class Endings:
    """The tokens that end a response, for one base."""

    tokens: Tokens
    """Any of them ends a response that is sampled"""
    text: Tokens
    """The one that closes rows of plain text; none in a classifier whose tokenizer has no eos"""
    turn: Tokens
    """The one that closes rows of messages: with it the chat template closes the assistant's turn"""
    written: Tokens
    """All that the template writes there: `turn` and often a line break; none where it writes ordinary text alone"""

    def closed(self, response: Tokens, chat: bool) -> Tokens:
        """A response that has ended, as a reward model reads it: a chat to the end of what its template writes."""
        return self.content(response) + (self.written if chat else self.text)

    def content(self, response: Tokens) -> Tokens:
        """A response without the token that ends it."""
        return response[:-1] if response and response[-1] in self.tokens else response


def endings_of(tokenizer: "PreTrainedTokenizerBase", declared: Iterable[int] = ()) -> Endings:
    """What ends a response of a model with this tokenizer.

    Args:
        tokenizer: with its chat template, where it has one.
        declared: the ids that the model's configs call eos. One that is an ordinary piece of text is a library's
            default that was never meant, and does not count.

    Returns:
        It, without a token where nothing ends a response: such a tokenizer is a classifier's, or refused.
    """
    own = set(tokenizer.added_tokens_decoder)
    eos = tokenizer.eos_token_id
    known = [token for token in (eos, *declared) if isinstance(token, int) and (token == eos or token in own)]
    written = _written(tokenizer, own)
    turn = (written or ())[:1]
    text = tuple(known[:1]) or turn
    return Endings(tuple(sorted({*known, *turn})), text, turn or text, text if written is None else written)


def _written(tokenizer: "PreTrainedTokenizerBase", own: set[int]) -> Tokens | None:
    """What the chat template writes behind an answer, from the first token that is no ordinary text.

    None where it fails on a plain question: then rows fail on it too, and are told.
    """
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _ANSWER}]
    try:
        _, _, behind = render(tokenizer, turns, ANY_DATE, add_generation_prompt=False).rpartition(_ANSWER)
    except Exception:  # a template is a program: it raises what it likes
        return None
    tokens = tuple(tokenizer.encode(behind, add_special_tokens=False, verbose=False))
    return next((tokens[place:] for place, token in enumerate(tokens) if token in own), ())
