"""What a function takes by keyword beside prompts and responses: columns of their rows, tokens, whole conversations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from truing.core.errors import RewardError
from truing.core.records import Sample, Text
from truing.core.text import nearest
from truing.data.columns import Taken, parsed

Made = Mapping[str, Callable[[], list[Any]]]
"""What is made for a function that names it, a value a sample"""


@dataclass(frozen=True)
class Keywords:
    """Arguments of a function behind its first two."""

    needed: tuple[str, ...] = ()
    """Without a default"""
    optional: tuple[str, ...] = ()
    others: bool = False
    """Whether it takes what it does not name, by `**columns`"""
    own: tuple[str, ...] = ()
    """The names of its first two, which no column can be given by"""

    @classmethod
    def told(cls, answer: Mapping[str, Any]) -> "Keywords":
        """As the function's process says it in JSON."""
        made: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in answer.items()
        }
        return cls(**made)

    @property
    def taken(self) -> Taken:
        """Columns that it is given where rows have them."""
        return Taken(frozenset((*self.needed, *self.optional)), self.others)

    def given(self, rows: Sequence[str], made: Made, name: str) -> dict[str, list[Any]]:
        """By keyword, a value for each sample.

        Args:
            rows: the further columns of each sample's row, as JSON.
            made: what there is besides, for a function that names it.
            name: of the function.

        Raises:
            RewardError: the function needs what is not there, or what is made and a column have one name.
        """
        columns = [parsed(row) for row in rows]
        for argument in (*self.needed, *self.optional):
            if argument in columns[0] and argument in made:
                raise _two_of_one_name(name, argument)
        there = [*columns[0], *made]
        missing = next((needed for needed in self.needed if needed not in there), None)
        if missing is not None:
            raise _refusal(name, missing, there)
        named = [key for key in (*self.needed, *self.optional) if key in there]
        named += [key for key in columns[0] if self.others and key not in (*named, *self.own)]
        return {key: [row[key] for row in columns] if key in columns[0] else made[key]() for key in named}


def of_samples(samples: Sequence[Sample]) -> Made:
    """What is made of samples; tokens are there where a policy said them, and not for texts alone."""
    made: dict[str, Callable[[], list[Any]]] = {"messages": lambda: [_conversation(sample) for sample in samples]}
    if any(sample.response_tokens for sample in samples):
        made["prompt_tokens"] = lambda: [list(sample.prompt_tokens) for sample in samples]
        made["response_tokens"] = lambda: [list(sample.response_tokens) for sample in samples]
    return made


def as_plain(prompt: Text) -> Any:
    """A prompt as a user's function sees it: a string, or a list of {role, content} and what else its messages have."""
    return prompt if isinstance(prompt, str) else [message.turn for message in prompt]


def _conversation(sample: Sample) -> list[dict[str, Any]]:
    """Prompt and response as messages; a prompt of plain text is the user's."""
    asked = [{"role": "user", "content": sample.prompt}] if isinstance(sample.prompt, str) else as_plain(sample.prompt)
    answer = sample.answer
    said = [{"role": "assistant", "content": answer}] if isinstance(answer, str) else as_plain(answer)
    return [*asked, *said]


def _two_of_one_name(name: str, column: str) -> RewardError:
    what = f"takes `{column}`, which rows have as a column and truing makes for functions: which is meant is not known."
    hint = "Give the column another name."
    return RewardError(what, code="rewards/two-of-one-name", where=name, hint=hint)


def _refusal(name: str, missing: str, there: Sequence[str]) -> RewardError:
    listed = ", ".join(f"`{column}`" for column in there)
    meant = nearest(missing, there)
    hint = f"Did you mean `{meant}`?" if meant else "Give the rows such a column, or the argument a default."
    what = f"takes `{missing}`, and no row has a column of that name; there are {listed}."
    return RewardError(what, code="rewards/no-column", where=name, hint=hint)
