"""Talking to the models of a run."""

from dataclasses import dataclass, field

from truing.data.chat import encode_prompt
from truing.models.base import LoadedBase, load_base
from truing.models.roles import Role
from truing.models.sampler import Sampling, sample
from truing.pipeline import start_of, with_world
from truing.recipe import Base, Compute
from truing.recipe_files import load_recipe
from truing.records import Message
from truing.runs.directory import RunDirectory


@dataclass
class Speaker:
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
        rollout = sample(Role(self.base.model), [tokens], self.sampling, self.seed, "chat", [self._answers])
        self._answers += 1
        said = rollout.sequences.tokens[0, len(tokens) :].tolist()
        response = str(self.base.tokenizer.decode(said, skip_special_tokens=True))
        self._turns.append(Message("assistant", response))
        return response


def open_speakers(run: RunDirectory, stage: str, max_new_tokens: int, temperature: float) -> list[Speaker]:
    """The model that a stage of the run began with, and the one it made."""
    recipe = with_world(load_recipe(run.recipe), run)
    kind = next(record.kind for record in run.lineage.stages if record.name == stage)
    start = start_of(kind, recipe, run)
    places = {"start": start, stage: Base(path=str(run.stage(stage).model), quantize=start.quantize)}
    speakers = []
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
        speakers.append(Speaker(name, base, sampling, recipe.seed))
    return speakers
