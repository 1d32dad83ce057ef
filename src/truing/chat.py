"""Talking to the models of a run."""

from dataclasses import dataclass, field
from pathlib import Path

from truing.config.plan import Planned
from truing.config.sections import Base, Compute
from truing.core.errors import ModelError, RunError
from truing.core.records import Message
from truing.data.chat import TextFormat, decode_response, encode_prompt
from truing.data.prepared import chats_of
from truing.models.fetched import directory_of
from truing.models.load import LoadedBase, load_base
from truing.models.own_code import code_elsewhere, foreign_code
from truing.pipeline.execute import start_of
from truing.pipeline.world import on_files
from truing.rollout.engine import Sampling
from truing.rollout.local import LocalEngine
from truing.runs.directory import RunDirectory
from truing.runs.received import received_plan


@dataclass
class ChatModel:
    """One model in a conversation, asked as it was trained; where that was on messages, it remembers its own turns."""

    name: str
    place: str
    """Its directory or Hub id"""
    base: LoadedBase
    form: TextFormat
    in_messages: bool
    sampling: Sampling
    seed: int
    _turns: list[Message] = field(default_factory=list)
    _answers: int = 0

    def answer(self, prompt: str) -> str:
        """Its response to a prompt."""
        self._turns.append(Message("user", prompt))
        tokens = encode_prompt(self.form, tuple(self._turns) if self.in_messages else prompt)
        engine = LocalEngine(self.base.role())
        (completion,) = engine.generate([tokens], [self._answers], self.sampling, self.seed, "chat")
        self._answers += 1
        response = decode_response(self.form, tokens, tuple(completion.tokens.tolist()), self.in_messages)
        self._turns.append(Message("assistant", response))
        return response


def open_models(
    run: RunDirectory, stage: str, max_new_tokens: int, temperature: float, trust_remote_code: bool = False
) -> list[ChatModel]:
    """The model that a stage of the run began with, and the one it made.

    Nothing is fetched, and no code runs that these models bring along, unless the caller trusts that of the result:
    then it runs, and copies of it in the start do.

    Raises:
        ModelError: a model cannot be loaded so.
    """
    planned = _planned(run, stage)
    start, learnt_from = start_of(planned, run), (*planned.spec.datasets, "prompts")[0]
    chats, recipe = chats_of(run.prepared), planned.recipe
    result = Base(path=str(run.stage(stage).model), quantize=start.quantize)
    if trust_remote_code:
        _refuse_code_elsewhere(run.stage(stage).model)
    models = []
    for name, place in {"start": start, stage: result}.items():
        trusted = trust_remote_code and _is_copy(place, run.stage(stage).model)
        base = load_base(place.model_copy(update={"trust_remote_code": trusted}), Compute(), fetch=False)
        sampling = Sampling(
            max_new_tokens,
            temperature,
            base.endings.tokens,
            base.tokenizer.pad_token_id,
            rows=1,
            pack=recipe.compute.pack_weights,
        )
        in_messages = base.tokenizer.chat_template is not None if chats is None else learnt_from in chats
        models.append(
            ChatModel(name, place.path, base, base.text_format(recipe.data), in_messages, sampling, recipe.seed)
        )
    return models


def _planned(run: RunDirectory, stage: str) -> Planned:
    """A stage as the run's own record has it, on ordinary files; RunError where it is not planned there."""
    for planned in received_plan(run):
        if planned.name == stage:
            return on_files(planned, run)
    hint = "Was it edited by hand?"
    raise RunError(f"plans no stage {stage}.", code="run/not-planned", where=str(run.recipe), hint=hint)


def _is_copy(place: Base, trusted: Path) -> bool:
    directory = directory_of(place)
    return directory is not None and not foreign_code(directory, trusted, place.path)


def _refuse_code_elsewhere(model: Path) -> None:
    """Trust is in the code that lies here, where it can be read."""
    elsewhere = code_elsewhere(model)
    if elsewhere:
        what = f"refers to code in another place ({', '.join(elsewhere)}), where nobody has seen what it is today."
        hint = "Copy that code here and refer to it by its file."
        raise ModelError(what, code="model/code-elsewhere", where=str(model), hint=hint)
