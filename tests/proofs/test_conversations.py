"""Two turns with an environment in between, all of which can be counted: nothing is learnt from what it says.

A turn is a letter and an end, or an end alone; a turn of two letters has not ended, and its episode goes no further.
Else the environment says one of three letters, each as likely, and is answered by another turn. It rewards both.

What is the best is found from the last token to the first, where V is what a state is worth at the best:

    the policy's        V = β·log Σ π_ref(token)·exp(V(next)/β)        π*(token) ∝ π_ref(token)·exp(V(next)/β)
    the environment's   V = Σ ⅓·V(next)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from proofs.enumerable import EOS, LETTERS, PAD, PROMPT, VOCABULARY, Tabular
from proofs.solve import GROUP, recipe_for
from torch import nn

from truing.config import with_changes
from truing.config.algorithms import OnOwnResponses
from truing.core.normalisation import Normalisation
from truing.core.records import Message
from truing.data.encode import EncodedPrompt
from truing.data.endings import Endings
from truing.data.prompts import PromptSet
from truing.models.layout import PpoRoles
from truing.models.load import LoadedBase
from truing.models.roles import Role
from truing.rewards.environment import EpisodeReward
from truing.rollout import conversations
from truing.rollout.engine import Completion
from truing.rollout.environment import EpisodeStart, PolicyTurn, StepResult
from truing.stages.grpo import grpo_objective
from truing.stages.objective import Objective
from truing.stages.ppo import ppo_objective
from truing.stages.reinforce import reinforce_objective
from truing.stages.rloo import rloo_objective

Said = tuple[int, ...]
TOKENS = (EOS, *LETTERS)
TURNS: list[Said] = [(EOS,), *((letter, EOS) for letter in LETTERS)]
"""Those that end"""
CUT: list[Said] = [(letter, other) for letter in LETTERS for other in LETTERS]
BEFORE_SECOND = [(*turn, heard) for turn in TURNS for heard in LETTERS]
OUTCOMES = CUT + [(*before, *turn) for before in BEFORE_SECOND for turn in [*TURNS, *CUT]]
"""All that can follow the prompt: 165"""
HISTORIES = sorted({outcome[:length] for outcome in OUTCOMES for length in range(len(outcome) + 1)})
ROWS = {history: row for row, history in enumerate(HISTORIES)}
START = len(HISTORIES)
"""The row in which nothing was read"""
BETA = 1.0
UPDATES, EPISODES = 60, 256
LIMITS = {"ppo": 0.01, "grpo": 0.02, "rloo": 0.02, "reinforce": 0.06}
"""Of the total variation; without a baseline of its own for each prompt REINFORCE++ is the noisiest, as in one turn"""


@dataclass(frozen=True)
class Talk:
    """A reference, and what the environment gives for each turn."""

    ref_logits: np.ndarray
    first: dict[Said, float]
    second: dict[Said, float]
    """By all that was said"""

    @classmethod
    def made(cls, seed: int) -> "Talk":
        random = np.random.default_rng(seed)
        logits = 0.5 * random.normal(size=(START + 1, VOCABULARY))
        logits[:, [PAD, PROMPT]] = -30.0
        first = {turn: float(random.normal()) for turn in [*TURNS, *CUT]}
        second = {outcome: float(random.normal()) for outcome in OUTCOMES if outcome not in CUT}
        return cls(logits, first, second)

    def per_token(self, table: np.ndarray) -> np.ndarray:
        """(rows, VOCABULARY) log-probabilities."""
        return table - np.logaddexp.reduce(table, axis=1, keepdims=True)

    def logprobs(self, table: np.ndarray) -> np.ndarray:
        """(outcomes,) log-probability of each, under a policy and the environment."""
        per_token = self.per_token(table)
        return np.array([sum(self._drawn(per_token, outcome)) for outcome in OUTCOMES])

    def _drawn(self, per_token: np.ndarray, outcome: Said) -> list[float]:
        heard = _heard_at(outcome)
        return [
            -np.log(len(LETTERS)) if place == heard else float(per_token[ROWS[outcome[:place]], token])
            for place, token in enumerate(outcome)
        ]

    def optimum(self) -> np.ndarray:
        """(outcomes,) log-probability of each under π* and the environment."""
        ref, best = self.per_token(self.ref_logits), np.array(self.ref_logits)

        def worth(history: Said) -> float:
            """Of all rewards from here on."""
            first = next((turn for turn in [*TURNS, *CUT] if history[: len(turn)] == turn), None)
            if history in OUTCOMES:
                return self.second[history] if history in self.second else self.first[history]
            if history == first:
                return self.first[history] + float(np.mean([worth((*history, letter)) for letter in LETTERS]))
            row = ROWS[history]
            behind = np.array([ref[row, token] + worth((*history, token)) / BETA for token in TOKENS])
            best[row, list(TOKENS)] = behind
            return float(BETA * np.logaddexp.reduce(behind))

        worth(())
        best[:, [PAD, PROMPT]] = -1e9
        return self.logprobs(best)


def _heard_at(outcome: Said) -> int | None:
    """The place of what the environment said; None where it said nothing."""
    return None if outcome in CUT else outcome.index(EOS) + 1


@dataclass
class Table:
    """The world's environment, asked as any other; letters by the seed of an episode."""

    talk: Talk
    turns: int = 2
    observation_tokens: int = 1
    drops: bool = False
    name: str = "the talk"
    going_on: dict[int, tuple[int, list[int]]] = field(default_factory=dict)

    def reset(self, episodes: Sequence[EpisodeStart]) -> list[bool]:
        self.going_on = {one.number: (one.seed, []) for one in episodes}
        return [True] * len(episodes)

    def step(self, turns: Sequence[PolicyTurn]) -> list[StepResult]:
        return [self._answer(turn) for turn in turns]

    def close(self, numbers: Sequence[int]) -> None:
        self.going_on = {}

    def _answer(self, turn: PolicyTurn) -> StepResult:
        seed, said = self.going_on[turn.number]
        own = [*map(int, turn.text)]
        is_first = not said
        said += [*own, EOS] if turn.finished else own
        if not is_first:
            return StepResult((), self.talk.second[tuple(said)], done=True)
        heard = LETTERS[seed % len(LETTERS)]
        first = self.talk.first[tuple(said)]
        said.append(heard)
        return StepResult((Message("user", str(heard)),), first, done=False)


def _following() -> list[list[int]]:
    rows = [[ROWS.get((*history, token), START) for token in range(VOCABULARY)] for history in HISTORIES]
    start = [START] * VOCABULARY
    start[PROMPT] = ROWS[()]
    return [*rows, start]


def roles_of(talk: Talk) -> PpoRoles:
    """As those of the world of one turn."""
    following = _following()
    policy, reference, critic = (Role(Tabular(talk.ref_logits, following)) for _ in range(3))
    head = nn.Linear(START + 1, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    base = LoadedBase(policy.model, Letters(), START, Endings((EOS,), (EOS,), (EOS,), (EOS,)), frozenset())
    return PpoRoles(base, policy, reference, None, Normalisation(), Role(critic.model, head=head))


class Letters:
    """A tokenizer of tokens that are digits; an end is no text."""

    eos_token_id, pad_token_id, chat_template = EOS, PAD, None

    def encode(self, text: str, **_: Any) -> list[int]:
        return [int(letter) for letter in text if letter.isdigit()]

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        return "".join(str(token) for token in tokens if token in LETTERS)


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "ppo": ppo_objective,
    "grpo": grpo_objective,
    "rloo": rloo_objective,
    "reinforce": reinforce_objective,
}


def distance(stage: str, talk: Talk, updates: int = UPDATES, sound: bool = True) -> float:
    """Total variation between what a stage ends with and π*."""
    own = recipe_for(1.0, BETA, updates, 1.0, episodes=EPISODES)
    bounds = {"kind": "environment", "path": "m:T", "turns": 2, "observation_tokens": 1, "normalise": False}
    changes: dict[str, Any] = {"rewards.sources": [bounds], "rollout.max_new_tokens": 2}
    if stage != "ppo":
        settings = own.ppo.model_dump(include={*OnOwnResponses.model_fields})
        changes[stage] = settings | ({} if stage == "reinforce" else {"responses_per_prompt": GROUP})
    if stage == "grpo":
        changes[stage] |= {"average": "constant", "advantage": "centred"}
    recipe = with_changes(own, changes)
    roles = roles_of(talk)
    same = [EncodedPrompt("", (PROMPT,))] * EPISODES
    objective = OBJECTIVES[stage](recipe, roles)
    update = tiny.update_of(recipe, roles, objective, PromptSet(same, same), EpisodeReward(), Table(talk))
    ratios = [update.run(number, BETA)["ratio_max_deviation"] for number in range(1, updates + 1)]
    assert max(ratios) < 1e-5 or not sound
    found, best = talk.logprobs(roles.policy.model.table), talk.optimum()
    assert np.exp(found).sum() == pytest.approx(1.0, abs=1e-6)
    assert np.exp(best).sum() == pytest.approx(1.0, abs=1e-6)
    return float(np.abs(np.exp(found) - np.exp(best)).sum() / 2)


@pytest.mark.parametrize("stage", OBJECTIVES)
def test_the_optimum_is_reached(stage: str) -> None:
    apart = distance(stage, Talk.made(3))
    print(f"{stage}: total variation {apart:.4f}")
    assert apart < LIMITS[stage]


Change = Callable[[Completion], Completion]


def the_environment_is_learnt(one: Completion) -> Completion:
    """As if the policy had drawn its words too."""
    return replace(one, drawn=torch.ones_like(_drawn(one)))


def the_last_turn_is_not_learnt(one: Completion) -> Completion:
    drawn = _drawn(one)
    heard = (~drawn).nonzero()
    return replace(one, drawn=drawn & (torch.arange(len(drawn)) < int(heard[0]))) if len(heard) else one


def turns_are_not_rewarded(one: Completion) -> Completion:
    assert one.episode is not None
    return replace(one, episode=replace(one.episode, reward=0.0))


def _drawn(one: Completion) -> torch.Tensor:
    assert one.drawn is not None
    return one.drawn


@pytest.mark.parametrize("stage", ["grpo"])
@pytest.mark.parametrize(
    "mistake",
    [the_environment_is_learnt, the_last_turn_is_not_learnt, turns_are_not_rewarded],
    ids=lambda mistake: mistake.__name__,
)
def test_a_mistake_is_caught_by_the_proof(mistake: Change, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = conversations._Conversation.completion
    monkeypatch.setattr(conversations._Conversation, "completion", lambda one: mistake(right(one)))
    apart = distance(stage, Talk.made(3), UPDATES // 3, sound=False)
    print(f"{stage}, {mistake.__name__}: total variation {apart:.4f}")
    assert apart > 0.08
