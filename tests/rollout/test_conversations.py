"""An episode's response is all that followed its prompt; what the policy drew in it is as if it had been asked anew."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch.testing import assert_close

from truing.core.errors import RewardError
from truing.core.records import Message
from truing.models.roles import Role
from truing.models.scoring import response_logprobs
from truing.rollout.environment import EpisodeStart, PolicyTurn, StepResult
from truing.rollout.episodes import as_samples, begin_responses, respond
from truing.rollout.local import LocalEngine

SOURCE = {"kind": "environment", "path": "game.py:Game", "turns": 3, "observation_tokens": 6, "normalise": False}


@dataclass
class Echo:
    """Says a text to each turn, for as long as it has one for that turn of the episode."""

    said: Sequence[str]
    turns: int = 3
    observation_tokens: int = 6
    drops: bool = False
    name: str = "the echo"
    heard: dict[int, list[PolicyTurn]] = field(default_factory=dict)
    closed: list[int] = field(default_factory=list)
    fails: tuple[int, ...] = ()
    seeds: list[int] = field(default_factory=list)

    def reset(self, episodes: Sequence[EpisodeStart]) -> list[bool]:
        self.seeds = [one.seed for one in episodes]
        return [one.number not in self.fails for one in episodes]

    def step(self, turns: Sequence[PolicyTurn]) -> list[StepResult]:
        for turn in turns:
            self.heard.setdefault(turn.number, []).append(turn)
        return [self._answer(len(self.heard[turn.number])) for turn in turns]

    def close(self, numbers: Sequence[int]) -> None:
        self.closed += numbers

    def _answer(self, turn: int) -> StepResult:
        over = turn > len(self.said)
        return StepResult(() if over else (Message("user", self.said[turn - 1]),), 1.0, done=over)


@pytest.fixture
def setting(tmp_path: Path) -> Any:
    """A recipe with an environment, its base, and prompts to answer; turns of one token end."""
    recipe = tiny.recipe(tmp_path, rollout={"max_new_tokens": 4}, rewards={"sources": [SOURCE]})
    base = tiny.load(recipe)
    return recipe, base, tiny.prepared(recipe).prompts(recipe).train[:6]


def ending_at_once(role: Role) -> Role:
    """A policy that often ends its turn."""
    with torch.no_grad():
        role.model.get_output_embeddings().weight[tiny.tokenizer().eos_token_id] *= 3
    return role


def test_the_policys_tokens_have_the_probabilities_of_the_whole_text(setting: Any) -> None:
    recipe, base, prompts = setting
    role = ending_at_once(base.role())
    rollout = respond(LocalEngine(role), prompts, recipe, base, "rollout", environment=Echo(["no. ", "go on "]))
    sequences = rollout.sequences
    assert sequences.drawn is not None
    assert (~sequences.drawn & (torch.arange(sequences.drawn.shape[1]) < sequences.response_lengths[:, None])).any()
    with torch.no_grad():
        assert_close(response_logprobs(role, sequences), rollout.logprobs, atol=1e-5, rtol=0)


def test_the_first_turn_is_what_would_be_drawn_without_an_environment(setting: Any) -> None:
    recipe, base, prompts = setting
    role = base.role()
    alone = respond(LocalEngine(role), prompts, recipe, base, "rollout")
    talk = respond(LocalEngine(role), prompts, recipe, base, "rollout", environment=Echo([]))
    assert talk.sequences.responses == alone.sequences.responses
    assert_close(talk.logprobs, alone.logprobs)


def test_an_episode_is_its_turns_and_what_was_given_for_them(setting: Any) -> None:
    recipe, base, prompts = setting
    echo = Echo(["no. "])
    rollout = respond(LocalEngine(ending_at_once(base.role())), prompts, recipe, base, "rollout", environment=echo)
    form = base.text_format(recipe.data)
    samples = as_samples(prompts, rollout, form)
    assert rollout.episodes is not None
    for number, (sample, episode) in enumerate(zip(samples, rollout.episodes, strict=True)):
        own = [turn.text for turn in echo.heard[number]]
        says = [message.content for message in episode.turns]
        assert says == [own[0], *(["no. ", own[1]] if len(own) == 2 else [])]
        assert episode.reward == len(own)
        assert sample.length == sum(1 for own in rollout.sequences.said[number])
        assert sample.length + (4 if len(own) == 2 else 0) == len(sample.response_tokens)
    assert {len(turns) for turns in echo.heard.values()} == {1, 2}, "some turns end, others are cut off"
    assert echo.closed == [*range(len(prompts))]


def test_turns_end_where_the_recipe_says(setting: Any) -> None:
    recipe, base, prompts = setting
    echo = Echo(["a "] * 9, turns=2)
    respond(LocalEngine(ending_at_once(base.role())), prompts, recipe, base, "rollout", environment=echo)
    assert max(map(len, echo.heard.values())) == 2


def test_answers_to_one_asking_meet_the_same_environment(setting: Any) -> None:
    recipe, base, prompts = setting
    echo, askings = Echo([]), [0, 0, 0, 1, 1, 1]
    begin_responses(LocalEngine(base.role()), prompts, recipe, base, "rollout", 0, askings, echo).completions()
    assert echo.seeds[:3] == [echo.seeds[0]] * 3
    assert echo.seeds[3:] == [echo.seeds[3]] * 3
    assert echo.seeds[0] != echo.seeds[3]


def test_a_prompt_that_is_answered_again_meets_the_same_environment(setting: Any) -> None:
    """Or the best of several answers would be that to the easiest game."""
    recipe, base, prompts = setting
    seeds = []
    for first in (0, len(prompts)):
        echo = Echo([])
        respond(LocalEngine(base.role()), prompts, recipe, base, "best of n", first, echo)
        seeds.append(echo.seeds)
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == len(prompts)


def test_an_observation_that_is_too_long_is_refused_or_its_episode_left_out(setting: Any) -> None:
    recipe, base, prompts = setting
    role = ending_at_once(base.role())
    with pytest.raises(RewardError) as caught:
        respond(LocalEngine(role), prompts, recipe, base, "rollout", environment=Echo(["much too long"]))
    assert caught.value.problem.code == "rewards/observation-too-long"
    echo = Echo(["much too long"], drops=True, fails=(0,))
    rollout = respond(LocalEngine(role), prompts, recipe, base, "rollout", environment=echo)
    assert rollout.episodes is not None
    scores = torch.tensor([episode.reward for episode in rollout.episodes])
    assert scores.isnan()[0]
    assert 0 not in echo.heard
    assert scores.isnan().any()
    assert scores.isfinite().any()
