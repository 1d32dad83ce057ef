"""Talking to the models of a run."""

from dataclasses import dataclass, field

from truing.core.records import Message
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

    def answer(self, prompt: str) -> str:
        """Its response to a prompt."""
        self._turns.append(Message("user", prompt))
        asked = tuple(self._turns) if self.model.in_messages else prompt
        (answer,) = self.model.answers([asked], [self._answers], self.sampling, self.model.recipe.seed, "chat")
        self._answers += 1
        self._turns.append(Message("assistant", answer.response))
        return answer.response


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
