"""Talking to the models of a run."""

from dataclasses import dataclass, field

from truing.config import recorded_recipe
from truing.config.plan import plan
from truing.config.sections import Base, Compute
from truing.core.records import Message
from truing.data.chat import TextFormat, decode_response, encode_prompt
from truing.data.prepared import chats_of
from truing.models.load import LoadedBase, load_base
from truing.pipeline.execute import start_of
from truing.pipeline.world import with_world
from truing.rollout.engine import Sampling
from truing.rollout.local import LocalEngine
from truing.runs.directory import RunDirectory


@dataclass
class ChatModel:
    """One model in a conversation, asked as it was trained; where that was on messages, it remembers its own turns."""

    name: str
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
        response = decode_response(self.form, tokens, tuple(completion.tokens.tolist()))
        self._turns.append(Message("assistant", response))
        return response


def open_models(run: RunDirectory, stage: str, max_new_tokens: int, temperature: float) -> list[ChatModel]:
    """The model that a stage of the run began with, and the one it made."""
    recipe = with_world(recorded_recipe(run.recipe), run)
    planned = next(planned for planned in plan(recipe) if planned.name == stage)
    start, learnt_from = start_of(planned, run), (*planned.spec.datasets, "prompts")[0]
    chats = chats_of(run.prepared)
    places = {"start": start, stage: Base(path=str(run.stage(stage).model), quantize=start.quantize)}
    models = []
    for name, place in places.items():
        base = load_base(place, Compute())
        sampling = Sampling(
            max_new_tokens,
            temperature,
            base.endings.tokens,
            base.tokenizer.pad_token_id,
            rows=1,
            pack=recipe.compute.pack_weights,
        )
        in_messages = base.tokenizer.chat_template is not None if chats is None else learnt_from in chats
        models.append(ChatModel(name, base, base.text_format(recipe.data), in_messages, sampling, recipe.seed))
    return models
