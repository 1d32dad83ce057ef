"""Reward sources: where the score of a response comes from.

Four kinds: the reward stage's model, any sequence-classification model, a Python function (`python_function`), a
language model on a server (`llm_judge`). A source scores samples; it knows nothing of who learns from them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from truing.core.errors import ModelError, RewardError, first_line
from truing.core.records import Sample, Tokens
from truing.core.rows import TokenRows
from truing.core.transfer import to_device
from truing.data.batching import plan_by_tokens
from truing.data.chat import TextFormat, encode_answered, prompt_text
from truing.data.endings import Endings, endings_of
from truing.models.context import context_length
from truing.models.description import declared_ends, merge_always, quiet_transformers
from truing.models.roles import Role
from truing.models.scoring import end_scores, forward_in_micro_batches
from truing.models.weights import load_weights, reraise_as
from truing.processes import group


class RewardFn(Protocol):
    """Anything that scores samples."""

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """One number a sample, higher is better; NaN where there is none and the recipe says to drop such samples."""


@dataclass(frozen=True)
class RoleReward:
    """The reward stage's model, as a role beside the policy."""

    role: Role
    pad: int
    endings: Endings
    token_budget: int

    def score(self, samples: Sequence[Sample]) -> list[float]:
        rows = TokenRows(
            [sample.prompt_tokens for sample in samples],
            [self._read(sample) for sample in samples],
            self.pad,
            [f"the response {sample.response[:80]!r}" for sample in samples],
        )
        (scores,) = forward_in_micro_batches(
            self.role, rows, self.token_budget, lambda part, _: (end_scores(self.role, part),)
        )
        return [float(score) for score in scores]

    def _read(self, sample: Sample) -> Tokens:
        """The response, closed as the rows are that the model learnt from."""
        chat = not isinstance(sample.prompt, str)
        return self.endings.closed(sample.response_tokens, chat) if sample.finished else sample.response_tokens


def load_classifier(path: str, device: torch.device) -> PreTrainedModel:
    """All of a sequence classifier, in single precision whatever its files are in."""
    kind = AutoModelForSequenceClassification
    return load_weights(kind, path, device, use_safetensors=True, dtype=torch.float32)


@dataclass(frozen=True)
class ClassifierReward:
    """A sequence-classification model with a tokenizer of its own: it reads the text, not our tokens."""

    model: Any
    form: TextFormat
    """Of its own tokenizer"""
    token_budget: int
    where: str = "the reward classifier"

    @classmethod
    def load(
        cls,
        path: str,
        device: torch.device,
        token_budget: int,
        today: date,
        model_of: Callable[[str, torch.device], PreTrainedModel] = load_classifier,
        tools: str = "[]",
    ) -> "ClassifierReward":
        """Loads a directory or Hub id.

        Args:
            path: of both tokenizer and model.
            device: of the model.
            token_budget: tokens read at once, at most.
            today: what its chat template is told that asks for the date.
            model_of: makes the model; any but the default gives less than that.
            tools: schemas that its chat template shows, as JSON.

        Raises:
            ModelError: nothing can be loaded from there, or it has more than one label.
        """
        quiet_transformers()
        with reraise_as(partial(_refusal, path)):
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            model = model_of(path, device)
        if model.config.num_labels != 1:
            what = f"the model has {model.config.num_labels} labels; a reward model has one."
            hint = "Take a model with num_labels: 1, or wrap this one in a reward of kind function."
            raise ModelError(what, code="model/labels", where=path, hint=hint)
        model.requires_grad_(False).train(False)
        merge_always(tokenizer)
        form = TextFormat(tokenizer, endings_of(tokenizer, declared_ends(model)), today, tools)
        return cls(model, form, token_budget, path)

    @classmethod
    def of_role(
        cls, role: Role, endings: Endings, path: str, token_budget: int, today: date, tools: str = "[]"
    ) -> "ClassifierReward":
        """A role with a scalar head that reads text by the tokenizer saved at a path, and closes it as `endings` do."""
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        merge_always(tokenizer)
        return cls(RoleAsClassifier(role), TextFormat(tokenizer, endings, today, tools), token_budget, path)

    @torch.no_grad()
    def score(self, samples: Sequence[Sample]) -> list[float]:
        """RewardError where a text is longer than the classifier can read; ModelError where its tokenizer fails."""
        with reraise_as(partial(_unread, self.where)):
            tokens = [torch.tensor(self._encode(sample)) for sample in samples]
        self._refuse_longer(max(map(len, tokens)))
        scores: dict[int, Tensor] = {}
        pad = self.model.config.pad_token_id  # where the model knows none, it reads one text at a time
        plan = plan_by_tokens([len(row) for row in tokens], 1 if pad is None else self.token_budget)
        for index in group.share(plan):
            rows = [tokens[row] for row in index]
            ids = to_device(pad_sequence(rows, batch_first=True, padding_value=pad or 0), self.model.device)
            mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            logits = self.model(input_ids=ids, attention_mask=to_device(mask, self.model.device)).logits
            scores |= dict(zip(index, logits.squeeze(-1), strict=True))
        found = torch.stack([*scores.values()]).tolist() if scores else []  # the device is waited for once
        whole = group.gather(dict(zip(scores, found, strict=True)))
        return [whole[row] for row in range(len(samples))]

    def _refuse_longer(self, longest: int) -> None:
        """Said before the model runs: it would fail on a position it lacks, or judge what it never learnt to read."""
        limit = min(context_length(self.model), self.form.tokenizer.model_max_length)
        if longest > limit:
            what = f"a prompt and its response come to {longest:,} of the classifier's tokens, and it reads {limit:,}."
            hint = "Lower data.max_length or rollout.max_new_tokens, or take a classifier that reads more."
            raise RewardError(what, code="rewards/too-long", where=self.where, hint=hint)

    def _encode(self, sample: Sample) -> Tokens:
        """Prompt, response and, where the response has ended, what closes it, in the classifier's own tokens.

        A special token that a text spells out is encoded as ordinary text.
        """
        tokenizer, endings = self.form.tokenizer, self.form.endings
        if tokenizer.chat_template and not isinstance(sample.prompt, str):
            return encode_answered(self.form, sample.prompt, sample.answer, sample.finished)
        asked = prompt_text(self.form, sample.prompt)
        said = sample.response if isinstance(sample.prompt, str) else endings.before + sample.response
        tokens: Tokens = tuple(tokenizer(asked + said, split_special_tokens=True)["input_ids"])
        if tokens[-1] == tokenizer.sep_token_id:
            return tokens  # an encoder reads every text so
        return endings.closed(tokens, chat=False) if sample.finished else endings.content(tokens)


@dataclass(frozen=True)
class RoleAsClassifier:
    """A role with a scalar head, called as a sequence classifier is."""

    role: Role

    @property
    def config(self) -> Any:
        """Of its model."""
        return self.role.model.config

    @property
    def device(self) -> torch.device:
        """Of its model."""
        return self.role.model.device

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        """(B, 1) logits of (B, T) tokens that are padded on the right."""
        hidden = self.role.hidden(input_ids, attention_mask)
        ends = hidden[torch.arange(len(hidden), device=hidden.device), attention_mask.sum(1) - 1]
        return SequenceClassifierOutput(logits=self.role.scalar(ends)[:, None])


def _refusal(path: str, error: Exception) -> ModelError:
    what = f"no sequence-classification model could be loaded from here ({first_line(error)})."
    hint = "A reward of kind model takes a directory with safetensors weights and a tokenizer, or a Hub id."
    return ModelError(what, code="model/not-loaded", where=path, hint=hint)


def _unread(path: str, error: Exception) -> ModelError:
    what = f"its tokenizer cannot read a prompt and its response ({first_line(error)})."
    hint = "Take a model whose tokenizer knows the characters of your data."
    return ModelError(what, code="model/not-tokenised", where=path, hint=hint)


def refuse_bad(scores: Sequence[float], samples: Sequence[Sample], where: str) -> None:
    """RewardError that names the first sample whose score is not finite, if there is one."""
    for score, sample in zip(scores, samples, strict=True):
        if not math.isfinite(score):
            hint = "Look at the model that gives it, or set rewards.on_bad_score: drop to leave such responses out."
            what = f"gave {score} for the response {sample.response[:80]!r}."
            raise RewardError(what, code="rewards/not-finite", where=where, hint=hint)
