"""An `async def` function is asked about many responses at once, and what it does on one is told of that one alone."""

import math
import time
from pathlib import Path
from typing import Any

import pytest

from truing.config.recipe import Recipe
from truing.config.sections import Functions, Rewards
from truing.core.errors import RewardError
from truing.core.records import Sample
from truing.rewards.python_function import FunctionReward

HEAD = "import asyncio\nrunning, most, calls, loops = 0, 0, 0, set()\n"
COUNTING = """
async def score(prompts, responses, answer):
    global running, most, calls
    running, calls = running + 1, calls + 1
    most = max(most, running)
    loops.add(asyncio.get_running_loop())
    await asyncio.sleep(0.2)
    running -= 1
    assert (len(prompts), len(responses), len(answer), len(loops)) == (1, 1, 1, 1)
    return [float(answer[0]) + {told}]
"""


def _samples(count: int) -> list[Sample]:
    return [Sample("p", f"r{n}", (1,), (2,), True, f'{{"answer": {n}}}') for n in range(count)]


def _function(place: Path, body: str, drop: bool = False, **limits: Any) -> FunctionReward:
    (place / "own.py").write_text(HEAD + body)
    rewards = Rewards(on_bad_score="drop" if drop else "stop")
    return FunctionReward.load(f"{place / 'own.py'}:score", Recipe(functions=Functions(**limits), rewards=rewards))


def test_responses_are_asked_about_at_once_each_with_its_own_columns(tmp_path: Path) -> None:
    function = _function(tmp_path, COUNTING.format(told="0"))
    function.score(_samples(1))
    begun = time.monotonic()
    assert function.score(_samples(20)) == [float(n) for n in range(20)]
    assert time.monotonic() - begun < 2.0  # one after another they sleep for 4


def test_no_more_are_asked_about_at_once_than_the_recipe_says_and_all_in_one_loop(tmp_path: Path) -> None:
    function = _function(tmp_path, COUNTING.format(told="100 * most"), concurrency=3)
    assert max(function.score(_samples(10))) == 309.0
    assert function.score(_samples(2)) == [300.0, 301.0]


FAULTS = {
    "raise ValueError('no')": "raised ValueError: no. The response was 'r2'.",
    "return [None]": "returned None for the response 'r2'.",
    "return [1.0, 2.0]": "was given 1 responses and returned 2 for the response 'r2'.",
    "return 1.0": "was given 1 responses and returned 1.0 for the response 'r2'.",
}
ON_ONE = "async def score(prompts, responses):\n    if responses == ['r2']:\n        {}\n    return [1.0]\n"


@pytest.mark.parametrize("fault", FAULTS)
def test_what_one_call_does_is_told_with_its_response_and_the_others_are_not_asked_again(
    fault: str, tmp_path: Path
) -> None:
    function = _function(tmp_path, ON_ONE.format(fault))
    with pytest.raises(RewardError) as refusal:
        function.score(_samples(4))
    assert str(refusal.value).startswith(f"{function.name}: {FAULTS[fault]}")
    assert (f"{tmp_path / 'own.py'}, line 5" in str(refusal.value)) is fault.startswith("raise")
    scores = _function(tmp_path, ON_ONE.format(f"open('{tmp_path}/asked', 'a').write('x'); {fault}"), True).score(
        _samples(4)
    )
    assert [math.isnan(score) for score in scores] == [False, False, True, False]
    assert (tmp_path / "asked").read_text() == "x"


def test_one_that_hangs_is_found_among_the_others(tmp_path: Path) -> None:
    function = _function(tmp_path, ON_ONE.format("await asyncio.sleep(99)"), True, seconds=0.5)
    assert [math.isnan(score) for score in function.score(_samples(4))] == [False, False, True, False]


def test_an_object_that_is_called_and_awaited_is_one_too(tmp_path: Path) -> None:
    written = "class Score:\n    async def __call__(self, p, r):\n        return [float(len(r[0]))]\nscore = Score()\n"
    assert _function(tmp_path, written).score(_samples(11))[-1] == 3.0
