"""A language model as a judge: it scores responses by a rubric, or says in both orders which of two is better."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from truing.config.recipe import Recipe
from truing.core.errors import RewardError
from truing.core.records import Sample, Text, readable
from truing.data.columns import Taken, parsed
from truing.processes import group
from truing.rewards.answers import Answers, digest
from truing.rewards.chat_server import SHOWN, ChatServer, Messages, NoReply
from truing.rewards.rubrics import PAIR_FORM, PAIRS, SCORE_FORM, SCORES, better_in, columns_named, filled, score_in
from truing.rewards.rubrics import template_of as read_template

MADE = {SCORES: ("prompt", "response"), PAIRS: ("prompt", "first", "second")}
"""What a template may name beside columns"""
HOPELESS = 3
"""Questions in a row without an answer that can be used, before there was any, after which no more is borne"""


@dataclass
class LlmQuestions:
    """What both kinds of questions have in common: whom they are put to, and what becomes of answers."""

    server: ChatServer
    template: str
    read: Callable[[str], float | None]
    form: str
    """Of the line that `read` looks for"""
    answers: Answers
    drops: bool
    """Whether a question without an answer is left out"""
    _failed: int = field(default=0, init=False)
    _answered: bool = field(default=False, init=False)

    @classmethod
    def of(cls, name: str, recipe: Recipe, usual: str, answers: Answers | None = None) -> "LlmQuestions":
        """Of the recipe's judge of this name; `usual` is SCORES or PAIRS. RewardError where its rubric is of no use."""
        settings = recipe.llm_judges[name]
        template = group.broadcast(lambda: read_template(settings.rubric, usual))
        read, form = (score_in, SCORE_FORM) if usual == SCORES else (better_in, PAIR_FORM)
        drops = recipe.rewards.on_bad_score == "drop"
        return cls(ChatServer(name, settings), template, read, form, answers or Answers(), drops)

    @property
    def place(self) -> str:
        """Where its template is, for messages."""
        return self.server.settings.rubric or f"llm_judges.{self.server.name}"

    def ask(self, values: Sequence[dict[str, object]], about: Sequence[str], pairs: Sequence[str]) -> list[float]:
        """What each answer says; NaN for one that is to be dropped.

        Args:
            values: for the names in the template, one a question.
            about: what to tell of a question that went wrong.
            pairs: which two responses a question is about; empty for one.

        Raises:
            RewardError: a question has no answer that says anything, and that ends the run.
        """
        texts = [filled(self.template, one, self.place) for one in values]
        asked = [[{"role": "user", "content": text}] for text in texts]
        ids = [digest(self.server.settings.base_url, self.server.body(one)) for one in asked]
        new = {name: place for place, name in enumerate(ids) if name not in self.answers}
        silent = self._ask_new(
            [asked[place] for place in new.values()], [*new], [pairs[place] for place in new.values()]
        )
        return [self._said(name, silent.get(name), what) for name, what in zip(ids, about, strict=True)]

    def _ask_new(self, asked: Sequence[Messages], ids: Sequence[str], pairs: Sequence[str]) -> dict[str, str]:
        """Asks, and keeps what is answered; why others have no answer."""
        silent: dict[str, str] = {}
        for number, found in self.server.replies(asked):
            if isinstance(found, NoReply):
                silent[ids[number]] = f"{found.reason}, at {found.calls} attempts"
            else:
                self.answers.add(ids[number], self.server.name, found, self.read(found.text), pairs[number])
        return silent

    def _said(self, asked: str, silent: str | None, about: str) -> float:
        said = None if silent else self.read(self.answers.text(asked))
        if said is not None:
            self._answered = True
            return said
        self._failed += 1
        if self.drops and (self._answered or self._failed < HOPELESS):
            return math.nan
        told = silent or f"answered {self.answers.text(asked)[-SHOWN:]!r}"
        hint = f"It must end with a line as `{self.form}`; raise max_tokens if it is cut off, or drop such responses."
        if silent:
            hint = (
                "Start the server, or raise seconds or attempts; the same command goes on, with all that was answered."
            )
        raise RewardError(f"{told}, about {about}.", code="rewards/llm-judge-fails", where=self.server.place, hint=hint)


@dataclass(frozen=True)
class LlmReward:
    """Scores responses from 1 to 10."""

    questions: LlmQuestions

    @classmethod
    def load(cls, name: str, recipe: Recipe, answers: Answers | None = None) -> "LlmReward":
        """The recipe's judge of this name. RewardError as `LlmQuestions.of`."""
        return cls(LlmQuestions.of(name, recipe, SCORES, answers))

    @property
    def taken(self) -> Taken:
        """Columns that its rubric names."""
        return Taken(frozenset(columns_named(self.questions.template, MADE[SCORES])))

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """One number a sample, NaN for one that is to be dropped. RewardError as `LlmQuestions.ask`."""
        values = [_values(one.prompt, one.columns) | {"response": one.response} for one in samples]
        about = [f"the response {one.response[:80]!r}" for one in samples]
        return group.broadcast(lambda: self.questions.ask(values, about, [""] * len(samples)))

    def end(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class LlmPairs:
    """Says which of two responses is better, asked in both orders."""

    questions: LlmQuestions

    @classmethod
    def load(cls, name: str, recipe: Recipe, answers: Answers | None = None) -> "LlmPairs":
        """The recipe's judge of this name. RewardError as `LlmQuestions.of`."""
        return cls(LlmQuestions.of(name, recipe, PAIRS, answers))

    @property
    def taken(self) -> Taken:
        """Columns that its rubric names."""
        return Taken(frozenset(columns_named(self.questions.template, MADE[PAIRS])))

    def shares(
        self, prompts: Sequence[tuple[Text, str]], pairs: Sequence[tuple[str, str]], ids: Sequence[str]
    ) -> list[float]:
        """Of each pair 1 where the first is better, 0 for the second, the mean of both orders; NaN to be dropped.

        Args:
            prompts: with the further columns of their rows.
            pairs: of responses.
            ids: of the pairs.
        """
        both = [(prompt, pair) for prompt, pair in zip(prompts, pairs, strict=True) for pair in (pair, pair[::-1])]
        values = [_values(*prompt) | {"first": first, "second": second} for prompt, (first, second) in both]
        about = [f"the responses {first[:80]!r} and {second[:80]!r}" for _, (first, second) in both]
        said = self.questions.ask(values, about, [name for name in ids for _ in range(2)])
        return [(one + 1 - turned) / 2 for one, turned in zip(said[::2], said[1::2], strict=True)]


def _values(prompt: Text, columns: str) -> dict[str, object]:
    return parsed(columns) | {"prompt": readable(prompt)}
