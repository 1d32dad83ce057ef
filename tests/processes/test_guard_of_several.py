"""Two processes whose policy is guarded decide what one process decides, and ask a judge, or people, as it does."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import letters
import pytest
import tiny
from faults.killed import left_behind
from labelling.voters import Audience, audience, fewer_a
from processes.several import REWARD, SOON, kill, ranks, said, start, wait_for_lines

from truing.runs.metrics import read_jsonl

pytestmark = pytest.mark.long

PPO: dict[str, Any] = {
    "stages": ["ppo"],
    "ppo.updates": 3,
    "ppo.optimiser.learning_rate": 5e-3,
    "rollout.max_new_tokens": 12,
    "evaluation.prompts": 12,
    "checkpoints.every_steps": 1,
}
JUDGE = """
import json, pathlib

def judge(prompts, pairs):
    place = pathlib.Path(__file__).with_name("asked.jsonl")
    known = [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
    if known and not place.with_name("mended").exists():
        raise ValueError("no verdict")
    with place.open("a") as file:
        for prompt, pair in zip(prompts, pairs):
            file.write(json.dumps({"prompt": prompt, "pair": pair}) + "\\n")
    seen = {(row["prompt"], answer) for row in known for answer in row["pair"]}
    was_seen = [[(prompt, answer) in seen for answer in pair] for prompt, pair in zip(prompts, pairs)]
    return [0.5 + 0.5 * first - 0.5 * second for first, second in was_seen]
"""
"""Loves what it has seen before, so that every policy after the first that it has judged is a turn for the worse"""


def _recipe(place: Path, **changes: Any) -> Path:
    place.mkdir()
    (place / "own.py").write_text(REWARD + JUDGE)
    reward = {"kind": "function", "path": f"{place / 'own.py'}:score"}
    guard = {"mode": "rollback", "judge": {"kind": "pairs", "path": f"{place / 'own.py'}:judge"}, "rollbacks": 1}
    guard |= {"look_every": 1, "labels": 60, "alarm_kl": 1e6}
    return tiny.recipe_file(place, **PPO | {"rewards.sources": [reward], "guard": guard} | changes)


SLOW = [pytest.param(options, marks=pytest.mark.slow) for options in (("--pp", "2"), ("--set", "compute.shard=true"))]


@pytest.mark.parametrize("options", [(), *SLOW])
def test_a_judge_that_failed_once_is_asked_once_and_takes_two_processes_back_as_it_does_one(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    recipes = {processes: _recipe(tmp_path / f"made-{processes}") for processes in (1, 2)}
    outs = {processes: tmp_path / f"run-{processes}" for processes in (1, 2)}
    assert start(recipes[2], outs[2], 2, *options).wait(SOON) == 2, said(outs[2])
    assert said(outs[2]).count("no verdict") == 1, said(outs[2])
    for processes, recipe in recipes.items():
        (recipe.parent / "mended").touch()
        apart = options if processes == 2 else ()
        assert start(recipe, outs[processes], processes, *apart).wait(SOON) == 0, said(outs[processes])
    one, two = (json.loads((outs[processes] / "ppo" / "result.json").read_text()) for processes in (1, 2))
    assert (one["guard_rollbacks"], one["guard_kept_step"]) == (1, 1)
    guarded = [name for name in one if name.startswith("guard_")]
    assert [two[name] for name in guarded] == [one[name] for name in guarded]
    judged = {place: read_jsonl(out / "ppo" / "judgements.jsonl") for place, out in outs.items()}
    assert judged[2] == judged[1]
    for processes, recipe in recipes.items():
        asked = read_jsonl(recipe.parent / "asked.jsonl")
        wanted = [{"prompt": row["prompt"], "pair": [row["first"], row["second"]]} for row in judged[processes]]
        assert [asked.count(question) for question in wanted] == [1] * len(wanted)


def test_people_are_waited_for_by_both_and_the_next_question_comes_once_they_have_answered(tmp_path: Path) -> None:
    """Each process has a part of what learns, so that none could save a step by itself; nothing is learnt again."""
    guard = {"mode": "warn", "judge": {"kind": "people"}, "labels": 4, "look_every": 1}
    parts = {"roles": "separate", "compute.shard": True, "checkpoints.every_steps": None}
    recipe, out = _recipe(tmp_path / "made", **parts, **{"guard": guard, "ppo.updates": 2}), tmp_path / "run"
    for look in (1, 2):
        assert start(recipe, out, 2).wait(SOON) == 75, said(out)
        assert said(out).count("judgements are waited for") == look, said(out)
        questions = out / "ppo" / f"guard-look-{look:03d}.jsonl"
        rows = [json.loads(line) | {"better": "first"} for line in questions.read_text().splitlines()]
        questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert said(out).count("ppo: going on after step 1") == 1


def test_smoke_is_seen_by_both_and_a_kill_around_the_alarm_changes_nothing(tmp_path: Path) -> None:
    guard = {"mode": "rollback", "judge": {"kind": "none"}, "look_every": 2}
    wild = {"ppo.updates": 5, "ppo.optimiser.learning_rate": 0.1, "rollout.max_new_tokens": 24}
    recipe = _recipe(tmp_path / "made", **wild, **{"guard": guard})
    one, two, killed = (tmp_path / name for name in ("one", "two", "killed"))
    for out, processes in ((one, 1), (two, 2)):
        assert start(recipe, out, processes).wait(SOON) == 0, said(out)
    for rank, lines in enumerate((3, 4)):  # once the step is logged at which it rings, and the first at another beta
        going = start(recipe, killed, 2)
        wait_for_lines(killed / "ppo" / "metrics.jsonl", lines, going)
        kill(ranks(going)[rank])
        assert going.wait(SOON) == 1, said(killed)
    assert start(recipe, killed, 2).wait(SOON) == 0, said(killed)
    assert left_behind(killed) == left_behind(two)
    for out in (one, two):
        result = json.loads((out / "ppo" / "result.json").read_text())
        assert result["guard_story"][0].startswith("smoke at step 2: KL is ")
        assert [row["beta"] for row in read_jsonl(out / "ppo" / "metrics.jsonl")[1:]] == [0.05] * 2 + [3 * 0.05] * 3
        assert said(out).count("smoke at step 2") == 1


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_while_people_are_asked_it_ends_as_if_it_had_not_been(tmp_path: Path, processes: int) -> None:
    """No step is saved but for the wait, and three pairs are judged by then; the owner alone serves the page."""
    guard = {"mode": "rollback", "labels": 12, "look_every": 2, "alarm_kl": 1e6}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    by_function = {"kind": "pairs", "path": f"{letters.__file__}:fewer_a"}
    on_page = {"kind": "people", "page": {"port": port, "url": f"http://127.0.0.1:{port}"}}
    saved_seldom = {"checkpoints.every_steps": None}
    right, out = tmp_path / "right", tmp_path / "run"
    recipe = _recipe(tmp_path / "function", **saved_seldom, **{"guard": guard | {"judge": by_function}})
    assert start(recipe, right, processes).wait(SOON) == 0, said(right)
    recipe = _recipe(tmp_path / "people", **saved_seldom, **{"guard": guard | {"judge": on_page}})

    with audience(you=lambda left, right: fewer_a(left, right) if len(people.shown) < 3 else None) as people:
        going = start(recipe, out, processes)
        _heard(going, out, people, until=lambda: len(people.shown) == 3)
        for one in [*ranks(going), going.pid] if processes > 1 else [going.pid]:
            kill(one)
        going.wait(SOON)
    with audience(you=fewer_a) as people:
        going = start(recipe, out, processes)
        _heard(going, out, people, until=lambda: going.poll() is not None)
        assert going.wait(SOON) == 0, said(out)
    assert "ppo: going on after step 2" in said(out)
    assert said(out).count("/?t=") == 2
    judged = [read_jsonl(place / "ppo" / "judgements.jsonl") for place in (right, out)]
    assert judged[1] == [row | {"votes": [row["first_wins"]]} for row in judged[0]]
    models = [(place / "ppo" / "model" / "model.safetensors").read_bytes() for place in (right, out)]
    assert models[0] == models[1]


def _heard(going: Any, out: Path, people: Audience, until: Callable[[], bool]) -> None:
    """People hear what is said from here on, until something is so."""
    heard, end = len(said(out).splitlines()) if out.exists() else 0, time.monotonic() + SOON
    while not until():
        assert time.monotonic() < end, said(out)
        lines = said(out).splitlines() if out.with_suffix(".log").exists() else []
        for line in lines[heard:]:
            people.note(line)
        heard = max(heard, len(lines))
        time.sleep(0.1)
