"""Environments of a user's: whatever one does, it is named with the turn that brought it about."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from truing.config.recipe import Recipe
from truing.core.errors import RewardError
from truing.core.records import Episode, Message, Sample
from truing.data.encode import EncodedPrompt
from truing.data.tool_calls import ID
from truing.rewards.environment import EnvironmentProcess, EpisodeReward
from truing.rollout.environment import EpisodeStart, PolicyTurn, StepResult

COUNTING = """
class Game:
    def reset(self, prompt, start, seed):
        self.prompt, self.count, self.seed = prompt, start, seed

    def step(self, response):
        self.count += len(response)
        return f"{self.prompt} {self.count} {self.seed}", self.count / 2, self.count > 9
"""


def load(place: Path, body: str, **changes: object) -> EnvironmentProcess:
    file = place / "game.py"
    file.write_text(body)
    source = {"kind": "environment", "path": f"{file}:Game", "turns": 3, "observation_tokens": 8}
    recipe = Recipe.model_validate({"rewards": {"sources": [source], **changes}, "functions": {"seconds": 2.0}})
    assert recipe.environment is not None
    return EnvironmentProcess.load(recipe.environment, recipe)


def of_step(place: Path, body: str, **changes: object) -> EnvironmentProcess:
    head = "class Game:\n    def reset(self, prompt): ...\n    def step(self, response):\n"
    return load(place, head + body, **changes)


def begun(*columns: str) -> list[EpisodeStart]:
    return [
        EpisodeStart(number, EncodedPrompt(f"p{number}", (1,), one), 70 + number) for number, one in enumerate(columns)
    ]


def spoken(*texts: str) -> list[PolicyTurn]:
    return [PolicyTurn(number, text, [], True) for number, text in enumerate(texts)]


def user(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def test_each_episode_has_an_object_columns_and_a_seed_of_its_own(tmp_path: Path) -> None:
    game = load(tmp_path, COUNTING)
    assert game.keywords.taken.names == {"start", "seed"}
    assert game.reset(begun('{"start": 1}', '{"start": 5, "other": 2}')) == [True, True]
    assert game.step(spoken("ab", "c")) == [
        StepResult(user("p0 3 70"), 1.5, False),
        StepResult(user("p1 6 71"), 3.0, False),
    ]
    assert game.step(spoken("", "dddd")) == [
        StepResult(user("p0 3 70"), 1.5, False),
        StepResult(user("p1 10 71"), 5.0, True),
    ]


def test_methods_may_be_asynchronous_and_are_awaited_together(tmp_path: Path) -> None:
    body = """
import asyncio
there = []
class Game:
    async def reset(self, prompt):
        there.append(prompt)
    async def step(self, response):
        while len(there) < 2:
            await asyncio.sleep(0)
        there.append(response)
        while len(there) < 4:
            await asyncio.sleep(0)
        return response, 1, False
"""
    game = load(tmp_path, body)
    game.reset(begun("", ""))
    assert [answer.observation for answer in game.step(spoken("a", "b"))] == [user("a"), user("b")]


def test_a_tool_answers_a_call_under_the_name_it_was_called_by(tmp_path: Path) -> None:
    body = """
class Game:
    def reset(self, prompt): ...
    def step(self, response, calls, finished):
        if calls:
            return str(sum(calls[0]["arguments"].values())), 0.0, False
        return [{"role": "tool", "content": "none", "name": "add"}], float(finished), False
"""
    game = load(tmp_path, body)
    game.reset(begun("", ""))
    calls = [{"name": "add", "arguments": {"a": 1, "b": 2}}]
    called, plain = game.step([PolicyTurn(0, "{...}", calls, True), PolicyTurn(1, "x", [], False)])
    of_tool = f'{{"name": "add", "tool_call_id": "{ID}"}}'
    assert called == StepResult((Message("tool", "3", of_tool),), 0.0, False)
    assert plain == StepResult((Message("tool", "none", of_tool),), 0.0, False)


def test_an_object_is_told_that_its_episode_has_ended(tmp_path: Path) -> None:
    body = f"""
from pathlib import Path
class Game:
    def reset(self, prompt): self.prompt = prompt
    def step(self, response): return None, 0.0, True
    def close(self): Path({str(tmp_path)!r}, self.prompt).touch()
"""
    game = load(tmp_path, body)
    game.reset(begun("", ""))
    game.close([1])
    assert not (tmp_path / "p0").exists()
    assert (tmp_path / "p1").exists()


def test_an_end_that_fails_is_told(tmp_path: Path) -> None:
    body = """
class Game:
    def reset(self, prompt): ...
    def step(self, response): return None, 0.0, True
    def close(self): raise OSError("still open")
"""
    game = load(tmp_path, body)
    game.reset(begun(""))
    with pytest.raises(RewardError, match="close: raised OSError: still open"):
        game.close([0])


MISFITS = [
    ("def Game(): ...", "is no class"),
    ("class Game:\n    def step(self, response): ...", "has no reset"),
    ("class Game:\n    def reset(self, prompt): ...", "has no step"),
    ("class Game:\n    def reset(self): ...\n    def step(self, response): ...", "reset takes (self)"),
    ("class Game:\n    def reset(self, prompt): ...\n    def step(self): ...", "step takes (self)"),
    ("class Game:\n    def reset(self, prompt): ...\n    def step(self, response, state): ...", "step takes `state`"),
    (
        "class Game:\n    def __init__(self, size): ...\n    def reset(self, prompt): ...\n"
        "    def step(self, response): ...",
        "cannot be made without arguments",
    ),
    ("import nothing_of_that_name", "nothing_of_that_name"),
]


@pytest.mark.parametrize(("body", "fault"), MISFITS)
def test_what_is_no_environment_is_refused(tmp_path: Path, body: str, fault: str) -> None:
    with pytest.raises(RewardError, match="no environment") as caught:
        load(tmp_path, body)
    assert fault in caught.value.problem.what
    assert caught.value.problem.code == "rewards/no-environment"


BAD_STEPS = [
    ("        raise ValueError('no such move')", "raised ValueError: no such move"),
    ("        return 'a', 1.0", "not (observation, reward, done)"),
    ("        return 'a', float('nan'), False", "not (observation, reward, done)"),
    ("        return 'a', '1', False", "not (observation, reward, done)"),
    ("        return 'a', -1e20, False", "gave a reward of -1e+20, and may give 1e+18"),
    ("        return 'a\\ud800', 1.0, False", "half a surrogate pair"),
    ("        return [{'role': 'user', 'content': '\\ud800'}], 1.0, False", "half a surrogate pair"),
    ("        return None, 1.0, False", "is not done"),
    ("        return '', 1.0, False", "is not done"),
    ("        return [{'role': 'assistant', 'content': 'a'}], 1.0, False", "or messages of user and tool"),
    ("        import os; os._exit(3)", "exit code 3"),
    ("        while True: pass", "no answer in 2 seconds"),
]


@pytest.mark.parametrize(("body", "fault"), BAD_STEPS)
def test_a_step_that_fails_ends_the_run_in_a_sentence(tmp_path: Path, body: str, fault: str) -> None:
    game = of_step(tmp_path, body)
    game.reset(begun(""))
    with pytest.raises(RewardError) as caught:
        game.step(spoken("my move"))
    problem = caught.value.problem
    assert fault in problem.what
    assert "'my move'" in problem.what
    assert problem.code == "rewards/environment-fails"


def test_episodes_that_fail_are_left_out_where_the_recipe_says_so(tmp_path: Path) -> None:
    game = of_step(tmp_path, "        return 'a', 1 / len(response), False", on_bad_score="drop")
    game.reset(begun("", ""))
    lost, whole = game.step(spoken("", "ab"))
    assert lost.failed
    assert whole == StepResult(user("a"), 0.5, False)


def test_what_goes_on_after_its_process_has_ended_is_lost_and_said_so(tmp_path: Path) -> None:
    body = "        import os\n        if response == 'die': os._exit(1)\n        return 'a', 1.0, False"
    game = of_step(tmp_path, body, on_bad_score="drop")
    game.reset(begun("", ""))
    assert all(answer.failed for answer in game.step(spoken("die", "x")))
    assert game.step(spoken("x"))[0].failed
    assert game.reset(begun("")) == [True]
    assert not game.step(spoken("x"))[0].failed


def test_a_copy_that_a_step_forks_says_nothing(tmp_path: Path) -> None:
    """An answer of its own would be taken for that to the next question."""
    copy = "        import os, time\n        if response == 'fork' and os.fork() == 0: time.sleep(0.2)\n"
    own = "        time.sleep(0.3 * (response == 'slow'))\n        return response, 1.0, False"
    game = of_step(tmp_path, copy + own)
    game.reset(begun(""))
    assert [game.step(spoken(text))[0].observation for text in ("fork", "slow", "c")] == [
        *map(user, ("fork", "slow", "c"))
    ]


def test_a_reset_that_gives_something_is_told_that_it_may_not(tmp_path: Path) -> None:
    game = load(tmp_path, "class Game:\n    def reset(self, prompt): return 'hello'\n    def step(self, response): ...")
    with pytest.raises(RewardError, match="begins with its row's prompt alone"):
        game.reset(begun(""))


def test_an_episode_is_scored_by_the_sum_of_its_turns() -> None:
    def of(episodes: Sequence[Episode | None]) -> list[float]:
        return EpisodeReward().score([Sample("", "", (1,), (2,), True, episode=one) for one in episodes])

    assert of([Episode((), 1.5, 0), Episode((), -2.0, 3)]) == [1.5, -2.0]
    assert all(map(math.isnan, of([Episode((), math.nan, 0), None])))
