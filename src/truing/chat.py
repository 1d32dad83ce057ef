"""Talking to the models of a run."""

from dataclasses import dataclass, field

from truing.core.records import Message, Sample, Text
from truing.results import LanguageModel, open_result, open_start
from truing.rollout.engine import Sampling
from truing.runs.directory import RunDirectory


@dataclass
class ChatModel:
    """One model in a conversation, asked as it was trained; where that was on messages, it remembers its own turns."""

    model: LanguageModel
    sampling: Sampling
    _turns: list[Message] = field(default_factory=list)
    _answers: int = 0

    @property
    def name(self) -> str:
        """Its stage, or `start`."""
        return self.model.name

    @property
    def place(self) -> str:
        """Its directory or Hub id."""
        return self.model.place

    @property
    def remembers(self) -> bool:
        """Whether something was said that it reads before the next prompt."""
        return self.model.in_messages and bool(self._turns)

    def refuse_unanswerable(self, prompt: str) -> None:
        """DataError where it cannot answer a prompt, which counts what was said before; nothing is remembered then."""
        self.model.refuse_unanswerable([("", self._asked(prompt))], self.sampling.max_new_tokens, "")

    def answer(self, prompt: str) -> Sample:
        """Its response to a prompt that it can answer."""
        asked = [self._asked(prompt)]
        (answer,) = self.model.answers(asked, [self._answers], self.sampling, self.model.recipe.seed, "chat")
        self._answers += 1
        self._turns += [Message("user", prompt), Message("assistant", answer.response)]
        return answer

    def _asked(self, prompt: str) -> Text:
        return (*self._turns, Message("user", prompt)) if self.model.in_messages else prompt


def open_models(
    run: RunDirectory, stage: str, max_new_tokens: int, temperature: float, trust_remote_code: bool = False
) -> list[ChatModel]:
    """The model that a stage of the run began with, and the one it made.

    Nothing is fetched, and no code runs that these models bring along, unless the caller trusts that of the result:
    then it runs, and copies of it in the start do.

    Raises:
        ModelError: a model cannot be loaded so.
    """
    result = open_result(run, stage, trust_remote_code)
    start = open_start(run, stage, trust_remote_code)
    return [ChatModel(model, model.sampling(max_new_tokens, temperature)) for model in (start, result)]
