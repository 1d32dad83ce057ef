"""Reward sources: where the score of a response comes from.

Three kinds (the reward stage's model, any sequence-classification model, a Python function), and a weighted sum of
them. A source scores samples; it knows nothing of PPO.
"""

import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from truing.data.batches import plan_by_tokens
from truing.errors import ModelError, RewardError
from truing.experience import Sequences
from truing.models.base import context_length
from truing.models.roles import Role
from truing.models.scoring import end_scores, in_parts
from truing.models.weights import UNREADABLE, load_weights, reason_of
from truing.records import Sample, Text


class RewardSource(Protocol):
    """Anything that scores samples."""

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """One finite number a sample; higher is better."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and deviation of a source's score on samples of the SFT model."""

    mean: float = 0.0
    std: float = 1.0

    def apply(self, scores: Sequence[float]) -> list[float]:
        """Scores in deviations from the SFT model's mean."""
        return [(score - self.mean) / self.std for score in scores]

    @classmethod
    def measure(cls, scores: Sequence[float], where: str) -> "Normalisation":
        """Mean and population deviation; RewardError where the source gives every sample the same score."""
        values = torch.tensor(scores, dtype=torch.float64)
        mean, std = float(values.mean()), float(values.std(correction=0))
        if std < 1e-8:
            raise RewardError(
                f"gives every one of {len(scores)} SFT samples the same score ({mean:.4g}), so it cannot teach.",
                where=where,
                mend="Check the reward model's accuracy, or set normalise: false for a rule that rarely fires.",
            )
        return cls(mean, std)


@dataclass(frozen=True)
class RoleReward:
    """The reward stage's model, as a role beside the policy."""

    role: Role
    pad: int
    token_budget: int

    def score(self, samples: Sequence[Sample]) -> list[float]:
        sequences = Sequences.collate(
            [sample.prompt_tokens for sample in samples], [sample.response_tokens for sample in samples], self.pad
        ).to(self.role.model.device)
        (scores,) = in_parts(sequences, self.token_budget, lambda rows, _: (end_scores(self.role, rows),))
        return [float(score) for score in scores]


@dataclass(frozen=True)
class ClassifierReward:
    """A sequence-classification model with a tokenizer of its own: it reads the text, not our tokens."""

    model: Any
    tokenizer: Any
    token_budget: int
    where: str = "the reward classifier"

    @classmethod
    def load(cls, path: str, device: torch.device, token_budget: int) -> "ClassifierReward":
        """Loads a directory or Hub id.

        Raises:
            ModelError: nothing can be loaded from there, or it has more than one label.
        """
        try:
            tokenizer = AutoTokenizer.from_pretrained(path)
            model = load_weights(AutoModelForSequenceClassification, path, device, use_safetensors=True)
        except UNREADABLE as error:
            raise ModelError(
                f"no sequence-classification model could be loaded from here ({reason_of(error)}).",
                where=path,
                mend="A reward of kind model takes a directory with safetensors weights and a tokenizer, or a Hub id.",
            ) from error
        if model.config.num_labels != 1:
            raise ModelError(
                f"the model has {model.config.num_labels} labels; a reward model has one.",
                where=path,
                mend="Take a model with num_labels: 1, or wrap this one in a reward of kind function.",
            )
        model.requires_grad_(False).train(False)
        return cls(model, tokenizer, token_budget, path)

    @torch.no_grad()
    def score(self, samples: Sequence[Sample]) -> list[float]:
        """RewardError where a text is longer than the classifier can read."""
        tokens = [torch.tensor(self._encode(sample)) for sample in samples]
        self._refuse_longer(max(map(len, tokens)))
        scores = [0.0] * len(samples)
        pad = self.model.config.pad_token_id  # where the model knows none, it reads one text at a time
        for index in plan_by_tokens([len(row) for row in tokens], 1 if pad is None else self.token_budget):
            rows = [tokens[row] for row in index]
            ids = pad_sequence(rows, batch_first=True, padding_value=pad or 0).to(self.model.device)
            mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).to(self.model.device)
            logits = self.model(input_ids=ids, attention_mask=mask).logits
            for row, value in zip(index, logits.squeeze(-1).tolist(), strict=True):
                scores[row] = value
        return scores

    def _refuse_longer(self, longest: int) -> None:
        """Said before the model runs: it would fail on a position it lacks, or judge what it never learnt to read."""
        limit = min(context_length(self.model), self.tokenizer.model_max_length)
        if longest > limit:
            raise RewardError(
                f"a prompt and its response come to {longest:,} of the classifier's tokens, and it reads {limit:,}.",
                where=self.where,
                mend="Lower data.max_length or ppo.max_new_tokens, or take a classifier that reads more.",
            )

    def _encode(self, sample: Sample) -> list[int]:
        """Prompt, response and, where the response has ended, eos, in the classifier's own tokens."""
        if isinstance(sample.prompt, str):
            tokens = self._tokens(sample.prompt + sample.response)
            if sample.finished and self.tokenizer.eos_token_id not in (None, tokens[-1]):
                tokens = [*tokens, self.tokenizer.eos_token_id]
            return tokens
        turns = [*as_plain(sample.prompt), {"role": "assistant", "content": sample.response}]
        if self.tokenizer.chat_template is None:
            return self._tokens("\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns))
        return self._tokens(self.tokenizer.apply_chat_template(turns, tokenize=False), special=False)

    def _tokens(self, text: str, special: bool = True) -> list[int]:
        """Of a text; `special` unless its template has written the special tokens already."""
        tokens: list[int] = self.tokenizer(text, add_special_tokens=special)["input_ids"]
        return tokens


@dataclass(frozen=True)
class FunctionReward:
    """A Python function of prompts and responses; also what a judge is."""

    name: str
    function: Callable[[list[Any], list[str]], Sequence[float]]

    @classmethod
    def load(cls, path: str) -> "FunctionReward":
        """Imports `module:function` or `file.py:function`.

        Raises:
            RewardError: the module or the function is not there, or the module cannot be run.
        """
        place, _, attribute = path.rpartition(":")
        try:
            with torch.set_grad_enabled(torch.is_grad_enabled()):  # whatever the module sets
                function = getattr(_module(place), attribute)
        except (Exception, SystemExit) as error:  # importing runs the user's code, which raises what it likes
            raise RewardError(
                f"cannot be imported ({type(error).__name__}: {error}).",
                where=path,
                mend="Write it as module:function; the module is looked for beside the recipe and on the Python path.",
            ) from error
        if not callable(function):
            raise RewardError("is not a function.", where=path, mend="Name a function of prompts and responses.")
        return cls(path, function)

    def score(self, samples: Sequence[Sample]) -> list[float]:
        prompts = [as_plain(sample.prompt) for sample in samples]
        try:
            with torch.no_grad():
                scores = self.function(prompts, [sample.response for sample in samples])
        except (Exception, SystemExit) as error:  # the user's code raises what it likes
            raise RewardError(
                f"raised {type(error).__name__}: {error}.", where=self.name, mend="--debug shows where."
            ) from error
        count = _count(scores)
        if count != len(samples):
            raise RewardError(
                f"was given {len(samples)} responses and returned {repr(scores) if count is None else count}.",
                where=self.name,
                mend="It must return one number for each response, in order.",
            )
        return [self._number(score, sample) for score, sample in zip(scores, samples, strict=True)]

    def _number(self, score: Any, sample: Sample) -> float:
        try:
            value = math.nan if isinstance(score, str | bytes) else float(score)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            raise RewardError(
                f"returned {score!r} for the response {sample.response[:80]!r}.",
                where=self.name,
                mend="Every score must be a finite number.",
            )
        return value


def _count(scores: Any) -> int | None:
    """How many scores there are; None for what has no order or no length, such as a generator, set or mapping."""
    if isinstance(scores, Set | Mapping | str | bytes):
        return None
    try:
        return len(scores)
    except TypeError:
        return None


def _module(place: str) -> ModuleType:
    """A module by its dotted name, or by its file."""
    spec = importlib.util.spec_from_file_location(Path(place).stem, place) if place.endswith(".py") else None
    if spec is None or spec.loader is None:
        return importlib.import_module(place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class WeightedPart:
    """One source in a sum."""

    source: RewardSource
    weight: float
    normalisation: Normalisation


@dataclass(frozen=True)
class WeightedReward:
    """The sum of normalised, weighted sources."""

    parts: tuple[WeightedPart, ...]

    def score(self, samples: Sequence[Sample]) -> list[float]:
        total = [0.0] * len(samples)
        for part in self.parts:
            scores = part.normalisation.apply(part.source.score(samples))
            total = [sum_ + part.weight * score for sum_, score in zip(total, scores, strict=True)]
        return total


def as_plain(prompt: Text) -> Any:
    """A prompt as a user's function sees it: a string, or a list of {role, content}."""
    if isinstance(prompt, str):
        return prompt
    return [{"role": message.role, "content": message.content} for message in prompt]
