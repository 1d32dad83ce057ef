"""A world so small that every response can be counted, behind the interface of a language model.

Three letters, up to four tokens, the end at any time: 121 responses. The policy is a table with one row of logits for
each beginning of a response, the critic a table with one value. PPO's optimum is known exactly:
π*(y) ∝ π_ref(y)·exp(r(y)/β).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from truing.core.normalisation import Normalisation
from truing.core.records import Sample
from truing.data.encode import EncodedPrompt
from truing.data.endings import Endings
from truing.data.prompts import PromptSet
from truing.models.layout import PpoRoles
from truing.models.load import LoadedBase
from truing.models.roles import Role

EOS, LETTERS, PAD, PROMPT, VOCABULARY = 0, (1, 2, 3), 4, 5, 6
LONGEST = 4
BEGINNINGS = [beginning for length in range(LONGEST) for beginning in product(LETTERS, repeat=length)]
OVER = len(BEGINNINGS)
"""The row for whatever comes after an end"""
RESPONSES = [(*beginning, EOS) for beginning in BEGINNINGS] + list(product(LETTERS, repeat=LONGEST))


class Tabular(nn.Module):
    """A causal language model whose hidden state says, one-hot, which beginning it has read."""

    def __init__(self, logits: np.ndarray, following: list[list[int]] | None = None) -> None:
        """Logits (rows, VOCABULARY); which row is `following` a row and a token, as in `_transitions` by default.

        The last row is the one in which nothing was read.
        """
        super().__init__()
        rows = len(logits)
        self.base_model = _Reader(following or _transitions())
        self._projection = nn.Linear(rows, VOCABULARY, bias=False)
        self._projection.weight.data = torch.tensor(logits, dtype=torch.float32).T.contiguous()
        self.config = PreTrainedConfig(hidden_size=rows)
        self.device = torch.device("cpu")

    def get_output_embeddings(self) -> nn.Module:
        return self._projection

    @property
    def table(self) -> np.ndarray:
        """(rows, VOCABULARY) logits as they are now, float64."""
        return self._projection.weight.detach().double().numpy().T


class _Reader(nn.Module):
    def __init__(self, following: list[list[int]]) -> None:
        super().__init__()
        self.register_buffer("_next", torch.tensor(following))

    def forward(self, input_ids: Tensor, past_key_values: Any, **_: Any) -> SimpleNamespace:
        start = len(self._next) - 1
        row = past_key_values.row if past_key_values else torch.full((len(input_ids),), start)
        rows = []
        for column in input_ids.T:
            row = self._next[row, column]
            rows.append(row)
        hidden = nn.functional.one_hot(torch.stack(rows, 1), len(self._next)).float()
        return SimpleNamespace(last_hidden_state=hidden, past_key_values=_Cache(row))


@dataclass
class _Cache:
    row: Tensor

    def batch_select_indices(self, keep: Tensor) -> None:
        self.row = self.row[keep]


def _transitions() -> list[list[int]]:
    """Which row follows a row and a token."""
    rows = {beginning: row for row, beginning in enumerate(BEGINNINGS)}
    following = [[OVER] * VOCABULARY for _ in range(OVER + 1)]
    for beginning, row in rows.items():
        for letter in LETTERS:
            following[row][letter] = rows.get((*beginning, letter), OVER)
    for row in range(OVER + 1):
        following[row][PROMPT] = rows[()]
    return following


@dataclass(frozen=True)
class World:
    """A reference and a reward, both drawn at random."""

    ref_logits: np.ndarray
    """(OVER + 1, VOCABULARY)"""
    rewards: np.ndarray
    """(responses,)"""
    temperature: float

    def logprobs(self, table: np.ndarray) -> np.ndarray:
        """(responses,) log π of every response under a table of logits, float64."""
        scaled = table / self.temperature
        per_token = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        rows = {beginning: row for row, beginning in enumerate(BEGINNINGS)}
        return np.array([sum(per_token[rows[y[:t]], token] for t, token in enumerate(y)) for y in RESPONSES])

    @property
    def ref_logprobs(self) -> np.ndarray:
        return self.logprobs(self.ref_logits)

    def optimum(self, beta: float) -> np.ndarray:
        """(responses,) log π*, and with it the largest value of the objective."""
        unnormalised = self.ref_logprobs + self.rewards / beta
        return unnormalised - np.logaddexp.reduce(unnormalised)

    def objective(self, logprobs: np.ndarray, beta: float) -> float:
        """E[r] − β·KL(π‖π_ref)."""
        return float(np.exp(logprobs) @ (self.rewards - beta * (logprobs - self.ref_logprobs)))


def make_world(seed: int = 0, scale: float = 1.0, offset: float = 0.0, temperature: float = 1.0) -> World:
    """Rewards are scale·Normal(0, 1) + offset; the offset changes no optimum."""
    random = np.random.default_rng(seed)
    logits = 0.5 * random.normal(size=(OVER + 1, VOCABULARY))
    logits[:, [PAD, PROMPT]] = -30.0  # in the vocabulary, as in life, and never said
    return World(logits, scale * random.normal(size=len(RESPONSES)) + offset, temperature)


def kl(logprobs: np.ndarray, ref_logprobs: np.ndarray) -> float:
    return float(np.exp(logprobs) @ (logprobs - ref_logprobs))


def total_variation(logprobs: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(np.exp(logprobs) - np.exp(other)).sum() / 2)


@dataclass(frozen=True)
class TableReward:
    """The world's reward, asked as any other source of scores is."""

    world: World

    def score(self, samples: Sequence[Sample]) -> list[float]:
        return [float(self.world.rewards[RESPONSES.index(sample.response_tokens)]) for sample in samples]


def roles_of(world: World) -> PpoRoles:
    """Policy and reference on the world's own table, and a critic that knows nothing."""
    policy, reference = Role(Tabular(world.ref_logits)), Role(Tabular(world.ref_logits))
    head = nn.Linear(OVER + 1, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    tokenizer = SimpleNamespace(eos_token_id=EOS, pad_token_id=PAD, decode=lambda tokens, **_: str(tokens))
    base = LoadedBase(policy.model, tokenizer, LONGEST + 1, Endings((EOS,), (EOS,), (EOS,), (EOS,)), frozenset())
    critic = Role(Tabular(world.ref_logits), head=head)
    return PpoRoles(base, policy, reference, None, Normalisation(), critic)


def prompts(episodes: int) -> PromptSet:
    """The one prompt there is, as often as an update asks it."""
    same = [EncodedPrompt("", (PROMPT,))] * episodes
    return PromptSet(same, same)
