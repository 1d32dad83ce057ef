"""What an environment says to a policy's turn, as the tokens that follow that turn.

The policy's own tokens stay as they were drawn: nothing of them is written and tokenised again. What is added is what
the chat template writes behind an assistant's turn that ends, for the messages that follow it.
"""

import json
from collections.abc import Sequence
from typing import Any

from truing.core.errors import ModelError
from truing.core.records import Message, Text, Tokens
from truing.data.chat import TextFormat, goes_on_with, write_turns
from truing.data.templates import decoded
from truing.data.tool_calls import CALLING

_ANSWER, _CALL = Message("assistant", "a"), Message("assistant", "", json.dumps(CALLING))
"""Stand for the policy's turn, of which nothing is taken: whatever it said, no template fails on that"""


def calls_in(form: TextFormat, response: Tokens) -> list[dict[str, Any]]:
    """The calls of tools in a turn, each a `name` and `arguments`; none where the template writes none that is read."""
    if form.call_form is None:
        return []
    return form.call_form.calls(decoded(form.tokenizer, form.endings.content(response), special=True))


def observation_tokens(form: TextFormat, prompt: Text, said: Sequence[Message], called: bool = False) -> Tokens:
    """The tokens between a turn that has ended and the one that answers what was `said`.

    Args:
        form: how text becomes tokens.
        prompt: of the episode.
        said: the environment's turns; to a prompt of plain text, that text alone.
        called: whether the policy's turn called a tool.

    Raises:
        ModelError: the template fails on these turns, or writes earlier ones in another way once they are there.
    """
    if isinstance(prompt, str):
        return goes_on_with(form, "".join(message.content for message in said))
    answered = (*prompt, _CALL if called else _ANSWER)
    asked, head = write_turns(form, prompt, True), write_turns(form, answered, False)
    whole = write_turns(form, (*answered, *said), True)
    ends = [place for place, token in enumerate(head) if token in form.endings.tokens and place >= len(asked)]
    begun = head[: ends[-1] + 1] if ends else head
    for beginning in (begun, asked + _without_opening(form, begun[len(asked) :])):
        if whole[: len(beginning)] == beginning:
            return whole[len(beginning) :]
    what = "the chat template writes a turn in another way once something follows it."
    hint = "Take a template that leaves earlier turns as they were, or one environment turn (turns: 1)."
    raise ModelError(what, code="model/template-changes-turns", where=form.tokenizer.name_or_path, hint=hint)


def _without_opening(form: TextFormat, turn: Tokens) -> Tokens:
    """A turn less what the template writes before any answer, such as the empty thought that Qwen 3 has in the last."""
    parts = (count for count in range(len(turn)) if decoded(form.tokenizer, turn[:count]) == form.endings.before)
    return turn[next(parts, 0) :]
