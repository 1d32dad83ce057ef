"""A run's models, for Python: ordinary ones of the library, and what they are asked here in a line."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from truing.core.records import Sample
from truing.results import LanguageModel, naming_consent, open_result, read_prompts, refuse_text
from truing.runs.directory import RunDirectory
from truing.sample import ROWS
from truing.score import StageReward, as_sample, load_stage_reward

Turns = Sequence[dict[str, str]]
"""A conversation: a role and content each"""


@dataclass(frozen=True, repr=False)
class Policy:
    """A language model that a run made."""

    loaded: LanguageModel

    def __repr__(self) -> str:
        return f"Policy({self.loaded.place!r})"

    @property
    def model(self) -> PreTrainedModel:
        """The library's."""
        return self.loaded.base.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The library's."""
        return self.loaded.base.tokenizer

    def answers(
        self,
        prompts: Sequence[str | Turns],
        tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> list[str]:
        """One to each prompt, drawn as in training.

        Args:
            prompts: B texts or conversations.
            tokens: of the longest answer; without it, the run's `rollout.max_new_tokens`.
            temperature: of the draws; without it, the run's.
            seed: of the draws; without it, the run's. The same seed gives the same answers.

        Raises:
            DataError: `prompts` is one text, a prompt has none, or it and its answer may be longer than the model
                reads.
        """
        sampling = self.loaded.sampling(tokens, temperature, ROWS)
        draws = self.loaded.recipe.seed if seed is None else seed
        asked = read_prompts("prompts", prompts)
        placed = ((f"prompts[{place}]", prompt) for place, prompt in enumerate(asked))
        self.loaded.refuse_unanswerable(placed, sampling.max_new_tokens, "prompts")
        return [one.response for one in self.loaded.answers(asked, range(len(asked)), sampling, draws, "sample")]


@dataclass(frozen=True, repr=False)
class Reward:
    """A reward model that a run made."""

    loaded: StageReward

    def __repr__(self) -> str:
        return f"Reward({str(self.loaded.directory.root)!r})"

    @property
    def model(self) -> Any:
        """The library's sequence classifier; of several members, the first as it is computed here."""
        return self.loaded.models[0].model

    def score(self, prompts: Sequence[str | Turns], responses: Sequence[str]) -> list[float]:
        """One number a response, on the scale of the SFT model's: 0 is one of those on average, 1 a deviation better.

        Args:
            prompts: B texts or conversations.
            responses: B texts, each an answer that has ended.

        Raises:
            DataError: `prompts` or `responses` is one text, or a conversation cannot be read.
        """
        refuse_text("responses", responses)
        pairs = zip(read_prompts("prompts", prompts), responses, strict=True)
        samples: list[Sample] = [as_sample(prompt, response) for prompt, response in pairs]
        return self.loaded.normalised(samples)


def load_policy(run: RunDirectory, stage: str, trust_remote_code: bool) -> Policy:
    """Errors as `open_result`."""
    with naming_consent(run, stage, trust_remote_code):
        return Policy(open_result(run, stage, trust_remote_code))


def load_reward(run: RunDirectory) -> Reward:
    """Errors as `load_stage_reward`."""
    return Reward(load_stage_reward(run))
