"""Functions as rewards: whatever one does, it is named with the response that brought it about, and the run goes on or
ends, but never hangs.
"""

import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from truing.config.recipe import Recipe
from truing.config.sections import Functions, Rewards
from truing.core.errors import RewardError
from truing.core.records import Message, Sample
from truing.processes import group
from truing.rewards import process as function_process
from truing.rewards.python_function import FunctionReward

RECIPE = Recipe()


def _sample(prompt: str, response: str) -> Sample:
    return Sample(prompt, response, (1,), (2,), True)


SAMPLES = [_sample("how?", "so."), _sample("why?", "because of it"), _sample("who is it?", "me")]


def _function(place: Path, body: str, recipe: Recipe | None = None) -> FunctionReward:
    file = place / "own_reward.py"
    file.write_text(f"def score(prompts, responses):\n    {body}\n")
    return FunctionReward.load(f"{file}:score", recipe or RECIPE)


def test_a_function_gets_prompts_and_responses_and_gives_the_scores(tmp_path: Path) -> None:
    function = _function(tmp_path, "return [len(p) + len(r) / 100 for p, r in zip(prompts, responses)]")
    assert function.score(SAMPLES) == [4.03, 4.13, 10.02]


def test_a_function_sees_a_conversation_as_role_and_content(tmp_path: Path) -> None:
    sample = Sample((Message("user", "hello", '{"name": "Ann"}'),), "so", (1,), (2,), True)
    seen = {"role": "user", "content": "hello", "name": "Ann"}
    assert _function(tmp_path, f"return [float(p == [{seen}]) for p in prompts]").score([sample]) == [1.0]


def test_a_function_may_empty_the_lists_that_it_is_given(tmp_path: Path) -> None:
    function = _function(tmp_path, "return [float(len(responses.pop(0))) for _ in prompts]")
    assert function.score(SAMPLES) == [float(len(sample.response)) for sample in SAMPLES]


def test_a_function_is_imported_from_the_python_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reward_on_the_path.py").write_text("def score(prompts, responses):\n    return [1] * len(prompts)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert FunctionReward.load("reward_on_the_path:score", RECIPE).score(SAMPLES) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("values", ["torch.tensor([1.0, 2.0, 3.0])", "numpy.array([1, 2, 3])", "(True, 2, 3.0)"])
def test_a_function_may_return_tensors_arrays_and_whole_numbers(values: str, tmp_path: Path) -> None:
    assert _function(tmp_path, f"import numpy, torch; return {values}").score(SAMPLES) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no_such_module:score", "No module named 'no_such_module'"),
        ("math:no_such_function", "no attribute 'no_such_function'"),
        ("math", "ValueError"),
        ("", "ValueError"),
        ("/no/such/file.py:score", "No such file"),
    ],
)
def test_a_function_that_is_not_there_is_refused_with_how_to_write_it(path: str, reason: str) -> None:
    with pytest.raises(RewardError, match=r"Write it as module:function") as refusal:
        FunctionReward.load(path, RECIPE)
    assert reason in str(refusal.value)
    assert refusal.value.where == path


def test_a_class_of_an_environment_is_no_function_and_no_place_is_made_up(tmp_path: Path) -> None:
    (tmp_path / "game.py").write_text("class Game:\n    def step(self, response): ...\n")
    with pytest.raises(RewardError, match="is called with two lists") as refusal:
        FunctionReward.load(f"{tmp_path / 'game.py'}:Game", RECIPE)
    assert "None" not in str(refusal.value)


@pytest.mark.parametrize("source", ["1 / 0", "def", "import no_such_thing", "raise SystemExit(0)"])
def test_a_module_that_cannot_be_run_is_refused(source: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(RewardError, check=lambda error: error.code == "rewards/not-imported"):
        FunctionReward.load(f"{tmp_path / 'broken.py'}:score", RECIPE)


@pytest.mark.parametrize(
    "place", ["import torch; torch.set_grad_enabled(False)\n{}", "{}    torch.set_grad_enabled(False)\n"]
)
def test_a_function_that_turns_gradients_off_does_so_for_itself_alone(place: str, tmp_path: Path) -> None:
    head = "import torch\ndef score(prompts, responses):\n"
    (tmp_path / "own.py").write_text(place.format(head) + "    return [0.0] * len(responses)\n")
    assert FunctionReward.load(f"{tmp_path / 'own.py'}:score", RECIPE).score(SAMPLES) == [0.0, 0.0, 0.0]
    assert torch.is_grad_enabled()


def test_what_other_processes_hear_of_a_module_that_cannot_be_run_is_the_error_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exit code is theirs."""
    heard = list[type]()

    def broadcast(answer: Callable[[], Any]) -> Any:
        try:
            return answer()
        except Exception as error:
            heard.append(type(error))
            raise

    monkeypatch.setattr(group, "broadcast", broadcast)
    with pytest.raises(RewardError):
        FunctionReward.load(f"{tmp_path / 'none.py'}:score", Recipe())
    assert heard == [RewardError]


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(RewardError, match=r"math:pi: is not a function\."):
        FunctionReward.load("math:pi", RECIPE)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return [1.0]", "was given 3 responses and returned 1."),
        ("return [1.0] * 4", "was given 3 responses and returned 4."),
        ("return None", "was given 3 responses and returned None."),
        ("return 0.5", "was given 3 responses and returned 0.5."),
        ("return [1.0, float('nan'), 1.0]", "returned nan for the response 'because of it'."),
        ("return [1.0, 1.0, float('inf')]", "returned inf for the response 'me'."),
        ("return [1.0, 1.0, -1e300]", "returned -1e+300 for the response 'me'."),
        ("return [None, 1.0, 1.0]", "returned None for the response 'so.'."),
        ("return [1.0, 'high', 1.0]", "returned 'high' for the response 'because of it'."),
        ("return [1.0, [2.0, 3.0], 1.0]", "returned [2.0, 3.0] for the response 'because of it'."),
        ("return 1 / 0", "raised ZeroDivisionError: division by zero."),
        ("raise SystemExit(0)", "raised SystemExit: 0."),
        ("return {0: 1.0, 1: 2.0, 2: 3.0}", "was given 3 responses and returned {0: 1.0, 1: 2.0, 2: 3.0}."),
        ("return {1.0, 2.0, 3.0}", "was given 3 responses and returned {1.0, 2.0, 3.0}."),
        ("return '123'", "was given 3 responses and returned '123'."),
        ("return (1.0 for _ in responses)", "was given 3 responses and returned <generator"),
        ("import numpy; return numpy.array(1.0)", "was given 3 responses and returned array(1.)."),
        ("return [1.0, '2.0', 1.0]", "returned '2.0' for the response 'because of it'."),
        ("return [1.0, 10**400, 1.0]", "for the response 'because of it'."),
    ],
)
def test_what_is_no_score_is_refused_with_what_was_returned(body: str, told: str, tmp_path: Path) -> None:
    function = _function(tmp_path, body)
    with pytest.raises(RewardError) as refusal:
        function.score(SAMPLES)
    assert told in str(refusal.value)
    assert refusal.value.where == function.name
    assert refusal.value.hint


def _limited(**limits: Any) -> Recipe:
    return Recipe(functions=Functions(**{"seconds": 2.0, "memory_gb": 1.0} | limits))


def _dropping(**limits: Any) -> Recipe:
    return _limited(**limits).model_copy(update={"rewards": Rewards(on_bad_score="drop")})


ON_WHY = "[misbehave() if p == 'why?' else 1.0 for p in prompts]"
MISDEEDS = {
    "raise ValueError('no')": "raised ValueError: no. The response was 'because of it'.",
    "raise KeyboardInterrupt": "raised KeyboardInterrupt. The response was 'because of it'.",
    "while True: pass": "gave no answer in 0.5 seconds. The response was 'because of it'.",
    "time.sleep(99)": "gave no answer in 0.5 seconds. The response was 'because of it'.",
    "os._exit(3)": "ended its process with exit code 3. The response was 'because of it'.",
    "os._exit(0)": "ended its process with exit code 0. The response was 'because of it'.",
    "os.abort()": "was ended by SIGABRT, maybe for want of memory. The response was 'because of it'.",
    "os.kill(os.getpid(), 9)": "was ended by SIGKILL, maybe for want of memory. The response was 'because of it'.",
    "os.kill(os.getpid(), 40)": "was ended by signal 40, maybe for want of memory. The response was 'because of it'.",
    "os.killpg(0, 9)": "was ended by SIGKILL, maybe for want of memory. The response was 'because of it'.",
    "os.kill(os.getpid(), 19)": "gave no answer in 0.5 seconds. The response was 'because of it'.",
    "return bytearray(2**33)": "raised MemoryError. The response was 'because of it'.",
    "os.closerange(0, 99)": "ended its process with exit code 1. The response was 'because of it'.",
    "input()": "raised EOFError: EOF when reading a line. The response was 'because of it'.",
    "os.fork() or time.sleep(99); os._exit(5)": "ended its process with exit code 5. The response was 'because of it'.",
    "[os.write(fd, b'[7]\\n') for fd in sockets()]": "disturbed the line to its process. The response was",
    "[os.write(fd, b'\\xff\\n') for fd in sockets()]": "disturbed the line to its process. The response was",
    "[os.write(fd, b'{}\\n') for fd in sockets()]": "disturbed the line to its process. The response was",
    "return None": "returned None for the response 'because of it'.",
    "return float('nan')": "returned nan for the response 'because of it'.",
    "return '1.0'": "returned '1.0' for the response 'because of it'.",
}
"""What a function may do on one response of three, and what is told of it"""


def _misbehaving(place: Path, misdeed: str, recipe: Recipe) -> FunctionReward:
    (place / "own.py").write_text(
        "import os, stat, time\n"
        "def sockets():\n"
        "    return [fd for fd in range(20) if _is_socket(fd)]\n"
        "def _is_socket(fd):\n"
        "    try:\n"
        "        return stat.S_ISSOCK(os.fstat(fd).st_mode)\n"
        "    except OSError:\n"
        "        return False\n"
        f"def misbehave():\n    {misdeed}\n"
        f"def score(prompts, responses):\n    return {ON_WHY}\n"
    )
    return FunctionReward.load(f"{place / 'own.py'}:score", recipe)


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_what_a_function_does_on_one_response_is_told_with_it(misdeed: str, tmp_path: Path) -> None:
    function = _misbehaving(tmp_path, misdeed, _limited(seconds=0.5))
    with pytest.raises(RewardError) as refusal:
        function.score(SAMPLES)
    assert str(refusal.value).startswith(f"{function.name}: {MISDEEDS[misdeed]}")


@pytest.mark.parametrize(
    ("misdeed", "hint"),
    [
        ("time.sleep(99)", "If it needs more, raise functions.seconds."),
        ("return bytearray(2**33)", "If it needs more, raise functions.memory_gb."),
        ('raise RuntimeError("can\'t allocate memory")', "If it needs more, raise functions.memory_gb."),  # as torch
        ("os.kill(os.getpid(), 9)", "If it needs more, raise functions.memory_gb."),
        ("os._exit(3)", "It must return one number for each response"),
        ("raise ValueError('no')", "It must return one number for each response"),
    ],
)
def test_the_hint_is_the_limit_that_a_function_ran_into(misdeed: str, hint: str, tmp_path: Path) -> None:
    function = _misbehaving(tmp_path, misdeed, _limited(seconds=5))
    with pytest.raises(RewardError) as refusal:
        function.score(SAMPLES[1:2])
    assert str(refusal.value.hint).startswith(hint)


@pytest.mark.parametrize("misdeed", ["raise ValueError", "time.sleep(99)", "os._exit(3)", "return None"])
def test_where_it_is_dropped_the_others_keep_their_scores(misdeed: str, tmp_path: Path) -> None:
    scores = _misbehaving(tmp_path, misdeed, _dropping(seconds=0.5)).score(SAMPLES)
    assert (scores[0], scores[2]) == (1.0, 1.0)
    assert math.isnan(scores[1])


def test_a_response_of_the_wrong_kind_is_found_in_a_large_batch(tmp_path: Path) -> None:
    function = _function(tmp_path, "return [1.0 for r in responses if r != 'me']", _dropping(batch_size=64))
    samples = [_sample("?", "me" if index == 77 else "so.") for index in range(150)]
    scores = function.score(samples)
    assert [index for index, score in enumerate(scores) if math.isnan(score)] == [77]


@pytest.mark.parametrize("body", ["raise ValueError", "os._exit(1)", "return None"])
def test_a_function_that_never_answers_ends_the_run_even_where_responses_are_dropped(body: str, tmp_path: Path) -> None:
    with pytest.raises(RewardError):
        _function(tmp_path, f"import os; {body}", _dropping()).score(SAMPLES)


def test_what_a_function_says_to_all_but_to_no_one_alone_is_told_as_that(tmp_path: Path) -> None:
    function = _function(tmp_path, "assert len(responses) < 3; return [1.0] * len(responses)")
    with pytest.raises(RewardError, match=r"raised AssertionError\. It answers for each of 3 .* alone, .*batch_size"):
        function.score(SAMPLES)


def test_no_more_responses_are_handed_over_at_once_than_the_recipe_says(tmp_path: Path) -> None:
    function = _function(tmp_path, "return [len(responses)] * len(responses)", _limited(batch_size=2))
    assert function.score(SAMPLES) == [2.0, 2.0, 1.0]


def test_a_function_that_prints_a_gigabyte_is_not_heard(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    printing = "import sys; [print('x' * 2**24, file=f) for f in (sys.stdout, sys.stderr) for _ in range(32)]"
    assert _function(tmp_path, f"{printing}; return [1.0] * 3", _limited(seconds=60)).score(SAMPLES) == [1.0, 1.0, 1.0]
    assert capfd.readouterr() == ("", "")


def test_a_copy_that_a_function_forks_says_nothing(tmp_path: Path) -> None:
    function = _function(tmp_path, "import os; return [float(os.fork() > 0)] * 3")
    assert [function.score(SAMPLES) for _ in range(5)] == [[1.0, 1.0, 1.0]] * 5


def test_an_import_that_hangs_or_ends_the_process_is_told(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time; time.sleep(99)")
    told = r"cannot be imported \(gave no answer in 0\.5 seconds\)\. .* raise functions\.start_seconds"
    with pytest.raises(RewardError, match=told):
        FunctionReward.load(f"{tmp_path / 'slow.py'}:score", _limited(start_seconds=0.5))
    (tmp_path / "gone.py").write_text("import os; os._exit(4)")
    with pytest.raises(RewardError, match=r"cannot be imported \(ended its process with exit code 4\)"):
        FunctionReward.load(f"{tmp_path / 'gone.py'}:score", _limited())


def test_the_order_of_sets_is_the_same_in_every_process(tmp_path: Path) -> None:
    body = "return [float(hash('a') % 1000)] * 3"
    assert _function(tmp_path, body).score(SAMPLES) == _function(tmp_path, body).score(SAMPLES)


def test_an_answer_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function_process, "MOST_BYTES", 1 << 20)
    function = _misbehaving(tmp_path, "[os.write(sockets()[0], b' ' * 4096) for _ in range(999)]", _limited(seconds=5))
    with pytest.raises(RewardError, match="disturbed the line to its process"):
        function.score(SAMPLES)


def test_a_process_ends_with_its_function_and_with_the_run(tmp_path: Path) -> None:
    function = _function(tmp_path, "import os; return [os.getpid()] * 3")
    first = int(function.score(SAMPLES)[0])
    function.end()
    assert _is_gone(first)
    second = int(function.score(SAMPLES)[0])
    assert second != first
    del function
    assert _is_gone(second)


def test_a_function_that_hangs_does_not_outlive_a_run_that_was_killed(tmp_path: Path) -> None:
    body = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(99)"
    run = os.fork()
    if run == 0:
        _function(tmp_path, body, _limited(seconds=60)).score(SAMPLES)
        os._exit(1)
    _until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    os.kill(run, signal.SIGKILL)
    os.waitpid(run, 0)
    assert _is_gone(int((tmp_path / "pid").read_text()))


def _is_gone(pid: int) -> bool:
    """Whether a process ends soon; one that nobody has waited for yet is gone too."""

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    return _until(gone)


def _until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()
