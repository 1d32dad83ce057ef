"""A language model as a judge, on a server that misbehaves: every answer is had or told, and none is paid for twice."""

import json
import math
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from rewards.llm_server import LlmServer, serving

from truing.config.judging import LlmJudge
from truing.config.recipe import Recipe
from truing.config.sections import Rewards
from truing.core.errors import RewardError
from truing.core.records import Message, Sample
from truing.guard.contests import Question
from truing.guard.judges import LlmJudgeOfPairs
from truing.rewards import chat_server
from truing.rewards.answers import Answers
from truing.rewards.llm_judge import LlmPairs, LlmReward
from truing.rewards.rubrics import better_in

MODEL = "a-judge"


def length(asked: str) -> str:
    """Scores a response by its letters."""
    said = re.search(r"<response>\n(.*?)\n</response>", asked, re.DOTALL)
    return f"It is so long.\nScore: {len(said[1]) if said else 'none'}"


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with serving(length) as started:
        yield started


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_server, "FIRST_WAIT", 0.01)


def _recipe(server: LlmServer, drop: bool = False, **settings: Any) -> Recipe:
    judge = LlmJudge(base_url=server.base_url, model=MODEL, **settings)
    return Recipe(llm_judges={"strict": judge}, rewards=Rewards(on_bad_score="drop" if drop else "stop"))


def _samples(*responses: str, **columns: Any) -> list[Sample]:
    return [Sample("How?", one, (1,), (2,), True, json.dumps(columns) if columns else "") for one in responses]


def test_a_response_is_scored_by_the_last_line_of_the_answer(server: LlmServer) -> None:
    reward = LlmReward.load("strict", _recipe(server))
    assert reward.score(_samples("abc", "abcdefg", "a")) == [3.0, 7.0, 1.0]
    body = next(body for body in server.asked if "abcdefg" in str(body))
    assert (body["model"], body["temperature"], body["max_tokens"]) == (MODEL, 0.0, 512)
    (message,) = body["messages"]
    assert "<prompt>\nHow?\n</prompt>" in message["content"]
    assert "helpful, correct and clear" in message["content"]


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Score: 7", 7.0),
        ("good.\n**Score: 8/10**\n", 8.0),
        ("Score: 2\nno, wait\nscore : 3.5", 3.5),
        ("9", 9.0),
        (" 10/10.", 10.0),
        ("8 out of 10", 8.0),
        ("**8**", 8.0),
        ("**8**.", 8.0),
        ("`8`", 8.0),
        ("It is good.\n\n**Score:** `8` / 10", 8.0),
        ("Final score: 7.5 out of 10.", 7.5),
        ("Rating = 4", 4.0),
        ("8/5", None),
        ("8/100", None),
        ("8 out of 100", None),
        ("8/10.5", None),
        ("7-8", None),
        ("7 or 8", None),
        ("I give it 8 out of 10", None),
        ("Score: 8 (of 12)", None),
        ("Score: 11", None),
        ("Score: 0", None),
        ("Score: -3", None),
        ("The score is 7, I think", None),
        ("Score: seven", None),
        ("I cannot say", None),
        ("", None),
    ],
)
def test_what_is_read_in_an_answer(answer: str, score: float | None, server: LlmServer) -> None:
    server.answer = lambda asked: answer
    reward = LlmReward.load("strict", _recipe(server))
    if score is not None:
        assert reward.score(_samples("x")) == [score]
        return
    with pytest.raises(RewardError) as refusal:
        reward.score(_samples("x"))
    assert (refusal.value.code, repr(answer)[:20] in str(refusal.value)) == ("rewards/llm-judge-fails", True)
    assert "about the response 'x'" in str(refusal.value)
    assert "`Score: N`" in str(refusal.value.hint)


def test_a_rubric_is_what_to_judge_by_or_a_template_in_which_columns_stand(server: LlmServer, tmp_path: Path) -> None:
    rubric = tmp_path / "rubric.txt"
    rubric.write_text('Is it {answer}? Say {"json": 1} or {} as you like.')
    reward = LlmReward.load("strict", _recipe(server, rubric=str(rubric)))
    reward.score(_samples("abc", answer="{response} or {prompt}"))
    assert (
        'by:\nIs it {response} or {prompt}? Say {"json": 1} or {} as you like.\n'
        in server.asked[0]["messages"][0]["content"]
    )
    assert "answer" in reward.taken
    rubric.write_text("{response} to {prompt}, or {answer}?")
    server.answer = lambda asked: "4"
    chat = Sample((Message("system", "be kind"), Message("user", "hi")), "yes", (1,), (2,), True, '{"answer": [1]}')
    assert LlmReward.load("strict", _recipe(server, rubric=str(rubric))).score([chat]) == [4.0]
    assert server.asked[-1]["messages"][0]["content"] == "yes to system: be kind\n\nuser: hi, or [1]?"


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("{response} and {anser}", "rewards/rubric-column", "names {anser}, and no row has a column of that name"),
        ("{first} or {second}?", "rewards/other-template", "asked here is {response}"),
        (" \n", "rewards/empty-rubric", "has no text"),
        (None, "rewards/no-rubric", "cannot be read"),
    ],
)
def test_a_rubric_of_no_use_is_refused(
    text: str | None, code: str, told: str, server: LlmServer, tmp_path: Path
) -> None:
    rubric = tmp_path / "rubric.txt"
    if text is not None:
        rubric.write_text(text)
    with pytest.raises(RewardError) as refusal:
        LlmReward.load("strict", _recipe(server, rubric=str(rubric))).score(_samples("x", answer=1))
    assert (refusal.value.code, told in str(refusal.value)) == (code, True)
    assert server.asked == []


def test_a_column_that_is_null_is_not_asked_about(server: LlmServer, tmp_path: Path) -> None:
    (tmp_path / "rubric.txt").write_text("Is it {answer}?")
    reward = LlmReward.load("strict", _recipe(server, rubric=str(tmp_path / "rubric.txt")))
    with pytest.raises(RewardError) as refusal:
        reward.score(_samples("x", answer=None))
    assert refusal.value.code == "rewards/rubric-null"
    assert "{answer}, which is null in the row of the prompt 'How?'" in str(refusal.value)
    assert server.asked == []


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("Better: first", 1.0),
        ("Better: first\n**Better:** `second`.", 0.0),
        ("Better: the second response.", 0.0),
        ('"Alike."', 0.5),
        ("**First**.", 1.0),
        ("The first response", 1.0),
        ("first or second", None),
        ("The first is worse", None),
        ("Better: neither", None),
    ],
)
def test_which_is_better_is_read_where_it_can_be_read_in_one_way(answer: str, share: float | None) -> None:
    assert better_in(answer) == share


MISDEEDS = ["close", "half", "torn", "garbage", "other []", 'other {"choices": []}', "500", "503", "429", "429 0"]


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_what_a_server_does_once_is_borne(misdeed: str, server: LlmServer) -> None:
    server.misdeeds = [misdeed] * 3
    answers = Answers(stage="ppo")
    assert LlmReward.load("strict", _recipe(server), answers).score(_samples("abc", "ab")) == [3.0, 2.0]
    used = answers.usage()["strict"]
    assert (used.answers, used.calls, len(server.asked)) == (2, 5, 5)
    assert (used.prompt_tokens, used.completion_tokens, used.unreadable) == (14, 12, 0)


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_what_a_server_does_always_is_told(misdeed: str, server: LlmServer) -> None:
    server.misdeeds = [misdeed] * 99
    with pytest.raises(RewardError, match=r"at 3 attempts, about the response 'abc'\. Start the server") as refusal:
        LlmReward.load("strict", _recipe(server, attempts=3)).score(_samples("abc"))
    assert refusal.value.where == f"llm_judges.strict ({server.base_url})"
    assert len(server.asked) == 3


def test_a_server_that_is_slow_or_not_there_is_not_waited_for(server: LlmServer) -> None:
    server.misdeeds = ["slow 5"]
    begun = time.monotonic()
    assert LlmReward.load("strict", _recipe(server, seconds=0.3)).score(_samples("abc")) == [3.0]
    assert time.monotonic() - begun < 3
    gone = _recipe(server, attempts=2)
    server.shutdown()
    server.server_close()
    with pytest.raises(RewardError, match=r"gave no answer \(.*refused\), at 2 attempts"):
        LlmReward.load("strict", gone).score(_samples("abc"))


@pytest.mark.parametrize("as_date", [False, True])
def test_a_server_is_asked_again_when_it_says_so(as_date: bool, server: LlmServer) -> None:
    later = datetime.now(UTC) + timedelta(seconds=3)
    server.misdeeds = [f"429 {format_datetime(later, usegmt=True) if as_date else 0.7}"]
    LlmReward.load("strict", _recipe(server)).score(_samples("abc"))
    first, second = server.times
    assert second - first >= 0.7
    server.misdeeds = ["429 3600"]
    with pytest.raises(RewardError, match=r"answered 429: 3600, at 1 attempts"):
        LlmReward.load("strict", _recipe(server)).score(_samples("abcd"))


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422])
def test_what_no_other_attempt_mends_is_told_at_once(status: int, server: LlmServer) -> None:
    server.misdeeds = [f"{status} no such model"] * 99
    with pytest.raises(
        RewardError, match=rf"declines: {status}, no such model\. Look at llm_judges\.strict"
    ) as refusal:
        LlmReward.load("strict", _recipe(server, drop=True, concurrency=1)).score(_samples("a", "ab", "abc"))
    assert (refusal.value.code, len(server.asked)) == ("rewards/judge-declines", 1)


def test_a_key_comes_from_the_environment_and_goes_nowhere_else(
    server: LlmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-secret")
    recipe = _recipe(server, key_variable="JUDGE_KEY")
    answers = Answers(tmp_path / "answers.jsonl", "ppo")
    assert LlmReward.load("strict", recipe, answers).score(_samples("abc")) == [3.0]
    assert server.keys == ["Bearer sk-secret"]
    for misdeed in ("401 wrong key KEY", "500 wrong key KEY", "other KEY"):
        server.misdeeds = [misdeed.replace("other KEY", "other sk-secret")] * 9
        with pytest.raises(RewardError) as refusal:
            LlmReward.load("strict", recipe, answers).score(_samples(misdeed))
        assert "***" in str(refusal.value)
        assert "secret" not in str(refusal.value)
    server.answer = lambda asked: "sk-secret it is.\nScore: 4"
    assert LlmReward.load("strict", recipe, answers).score(_samples("abcd")) == [4.0]
    assert "secret" not in (tmp_path / "answers.jsonl").read_text()
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(RewardError, match=r"asks with the key in JUDGE_KEY, and the environment has none"):
        LlmReward.load("strict", recipe).score(_samples("abcd"))


@pytest.mark.parametrize("status", [401, 500])
def test_a_long_key_that_is_quoted_in_a_long_message_is_struck_out_before_that_is_cut(
    status: int, server: LlmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"sk-proj-{'s3cret' * 30}"
    monkeypatch.setenv("JUDGE_KEY", key)
    server.misdeeds = [f"{status} Incorrect API key provided: KEY."] * 9
    with pytest.raises(RewardError) as refusal:
        LlmReward.load("strict", _recipe(server, key_variable="JUDGE_KEY")).score(_samples("abc"))
    assert "provided: ***" in str(refusal.value)
    assert "s3cret" not in str(refusal.value)


def test_no_more_are_asked_at_once_than_the_recipe_says(server: LlmServer) -> None:
    server.seconds = 0.1
    begun = time.monotonic()
    scores = LlmReward.load("strict", _recipe(server, concurrency=4)).score(
        _samples(*("abcdefgh"[: n + 1] for n in range(8)))
    )
    assert scores == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert server.most == 4
    assert time.monotonic() - begun < 0.6


def test_where_responses_are_dropped_one_without_a_score_is_nan_and_one_that_never_has_any_ends_the_run(
    server: LlmServer,
) -> None:
    scores = LlmReward.load("strict", _recipe(server, drop=True)).score(_samples("abc", "far too long", "ab"))
    assert [math.isnan(score) for score in scores] == [False, True, False]
    server.answer = lambda asked: "no"
    with pytest.raises(RewardError, match="answered 'no'"):
        LlmReward.load("strict", _recipe(server, drop=True)).score(_samples("x", "y", "z"))


def test_nothing_is_asked_twice_in_a_run_that_was_killed(server: LlmServer, tmp_path: Path) -> None:
    file, recipe = tmp_path / "answers.jsonl", _recipe(server)
    samples = _samples("abc", "ab", "abc", "a")
    assert LlmReward.load("strict", recipe, Answers(file, "ppo")).score(samples) == [3.0, 2.0, 3.0, 1.0]
    assert len(server.asked) == 3
    content = file.read_bytes()
    file.write_bytes(content[:-9])
    server.answer = lambda asked: "Score: 5"
    again = Answers(file, "ppo")
    scores = LlmReward.load("strict", recipe, again).score(samples)
    assert len(server.asked) == 4
    assert sorted(scores)[-1] == 5.0
    assert again.usage()["strict"].answers == 3
    other = _recipe(server, temperature=1.0)
    assert LlmReward.load("strict", other, Answers(file, "dpo")).score(samples[:1]) == [5.0]
    assert {name: used.answers for name, used in Answers(file, "dpo").usage().items()} == {"strict": 1}


def _questions(count: int) -> list[Question]:
    return [Question("p", "p", f"{'a' * n}.", f"{'b' * (n % 3)}.", True, '{"rank": 1}') for n in range(1, count + 1)]


def _longer(asked: str) -> str:
    first, second = (re.search(rf"<{side}>\n(.*?)\n</{side}>", asked, re.DOTALL)[1] for side in ("first", "second"))  # type: ignore[index]
    better = "alike" if len(first) == len(second) else "first" if len(first) > len(second) else "second"
    return f"I compared.\nBetter: {better}"


def test_a_pair_is_asked_about_in_both_orders(server: LlmServer) -> None:
    server.answer = _longer
    answers = Answers(stage="ppo")
    judge, questions = LlmJudgeOfPairs(LlmPairs.load("strict", _recipe(server), answers)), _questions(4)
    shares = judge.judge(1, questions)
    assert [shares[one.id] for one in questions] == [0.5, 0.5, 1.0, 1.0]
    assert len(server.asked) == 8
    used = answers.usage()["strict"]
    assert (used.pairs, used.first_preferred, used.contradicted) == (4, 0.5, 0.0)


def test_a_judge_that_goes_by_the_order_is_told(server: LlmServer) -> None:
    asked_first = iter(["Better: first"] * 6 + ["Better: second"] * 2)
    lock = threading.Lock()

    def answer(asked: str) -> str:
        with lock:
            return next(asked_first)

    server.answer = answer
    answers = Answers(stage="ppo")
    judge = LlmJudgeOfPairs(LlmPairs.load("strict", _recipe(server, concurrency=1), answers))
    assert set(judge.judge(1, _questions(4)).values()) == {0.5}
    used = answers.usage()["strict"]
    assert (used.pairs, used.first_preferred, used.contradicted) == (4, 0.75, 1.0)


def test_a_pair_of_which_one_order_has_no_answer_is_not_judged(server: LlmServer) -> None:
    server.answer = lambda asked: "hm" if asked.index("bb.") < asked.index("aa.") else _longer(asked)
    question = Question("p", "p", "aaa.", "bb.", True)
    with pytest.raises(RewardError, match=r"answered 'hm', about the responses 'bb\.' and 'aaa\.'.*`Better: first`"):
        LlmJudgeOfPairs(LlmPairs.load("strict", _recipe(server))).judge(1, [question])
    dropping = LlmJudgeOfPairs(LlmPairs.load("strict", _recipe(server, drop=True)))
    assert dropping.judge(1, [question]) == {}
