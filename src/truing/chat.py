"""Talking to the models of a run."""

from dataclasses import dataclass, field

from truing.config import recorded_recipe
from truing.config.plan import plan
from truing.config.sections import Base, Compute
from truing.core.records import Message
from truing.data.chat import encode_prompt
from truing.models.load import LoadedBase, load_base
from truing.pipeline.execute import start_of
from truing.pipeline.world import with_world
from truing.rollout.engine import Sampling
from truing.rollout.local import LocalEngine
from truing.runs.directory import RunDirectory


@dataclass
class ChatModel:
    """One model in a conversation: it remembers its own turns where it has a chat template."""

    name: str
    base: LoadedBase
    sampling: Sampling
    seed: int
    _turns: list[Message] = field(default_factory=list)
    _answers: int = 0

    def answer(self, prompt: str) -> str:
        """Its response to a prompt."""
        templated = self.base.tokenizer.chat_template is not None
        self._turns.append(Message("user", prompt))
        tokens = encode_prompt(self.base.tokenizer, tuple(self._turns) if templated else prompt)
        engine = LocalEngine(self.base.role())
        (completion,) = engine.generate([tokens], [self._answers], self.sampling, self.seed, "chat")
        self._answers += 1
        response = str(self.base.tokenizer.decode(completion.tokens.tolist(), skip_special_tokens=True))
        self._turns.append(Message("assistant", response))
        return response


def open_models(run: RunDirectory, stage: str, max_new_tokens: int, temperature: float) -> list[ChatModel]:
    """The model that a stage of the run began with, and the one it made."""
    recipe = with_world(recorded_recipe(run.recipe), run)
    start = start_of(next(planned for planned in plan(recipe) if planned.name == stage), run)
    places = {"start": start, stage: Base(path=str(run.stage(stage).model), quantize=start.quantize)}
    models = []
    for name, place in places.items():
        base = load_base(place, Compute())
        sampling = Sampling(
            max_new_tokens,
            temperature,
            base.tokenizer.eos_token_id,
            base.tokenizer.pad_token_id,
            rows=1,
            pack=recipe.compute.pack_weights,
        )
        models.append(ChatModel(name, base, sampling, recipe.seed))
    return models
