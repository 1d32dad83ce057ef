"""People take a policy back that is being hacked, by votes that they give on the page while its run waits."""

import os
import signal
import socket
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from labelling.voters import Audience, Rule, audience, fewer_a
from stages.test_guarded import LOVES_A

from truing.config import with_changes
from truing.config.recipe import Recipe
from truing.core.errors import InputError, InterruptedRunError, WaitingError
from truing.labelling import waiting
from truing.labelling.waiting import people_of
from truing.runs.interruption import stop_on_signals
from truing.runs.metrics import read_jsonl
from truing.stages.ppo import train_ppo
from truing.training.job import Job

PAGE: dict[str, Any] = {"port": 0}


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(waiting, "UNDO_SECONDS", 0.1)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny.recipe(tmp_path_factory.mktemp("recipe"), **LOVES_A)


@pytest.fixture(scope="module")
def by_function(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Any]:
    job = tiny.job(recipe, tmp_path_factory.mktemp("function"), "ppo")
    return job, train_ppo(job)


def _train(recipe: Recipe, run: Path, told: Audience, at_terminal: bool = True, **page: Any) -> tuple[Job, Any]:
    """As `truing run` does, with people on a page that it serves."""
    recipe = with_changes(recipe, {"guard.judge": {"kind": "people", "page": PAGE | page}})
    with (
        stop_on_signals(told.note) as stop,
        people_of(recipe, run, told, stop, at_terminal) as people,
    ):
        job = replace(tiny.job(recipe, run, "ppo"), people=people, stop=stop)
        return job, train_ppo(job)


def _alike(job: Job, by_function: Job) -> bool:
    """Whether two stages were told the same and made the same."""
    models = [(one.directory.model / "model.safetensors").read_bytes() for one in (job, by_function)]
    rows, judged = (read_jsonl(one.directory.judgements) for one in (job, by_function))
    return models[0] == models[1] and rows == [row | {"votes": [row["first_wins"]]} for row in judged]


def test_votes_on_the_page_decide_what_a_function_of_the_same_mind_decides(
    recipe: Recipe, by_function: tuple[Job, Any], tmp_path: Path
) -> None:
    with audience(you=fewer_a) as people:
        job, result = _train(recipe, tmp_path / "run", people)
    right = by_function[1].guard
    assert right.guard_rollbacks == 1
    assert vars(result.guard) == vars(right) | {"guard_judge": "people", "guard_votes": right.guard_labels}
    assert _alike(job, by_function[0])
    assert sum("/?t=" in line for line in people.said) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_who_goes_away_ends_the_run_and_another_time_it_goes_on_from_what_was_said(
    number: signal.Signals, recipe: Recipe, by_function: tuple[Job, Any], tmp_path: Path
) -> None:
    """Somebody judges three pairs and has the run end; then seven more, and nothing for a while."""

    def tired(left: str, right: str) -> int | None:
        if len(people.shown) == 3:
            os.kill(os.getpid(), number)
            return None
        return fewer_a(left, right)

    with audience(you=tired) as people, pytest.raises(InterruptedRunError) as caught:
        _train(recipe, tmp_path / "run", people)
    assert caught.value.exit_code == 128 + number
    assert "ppo is saved after step 1" in str(caught.value)
    first = {one.prompt for one in people.shown}
    with (
        audience(you=lambda left, right: fewer_a(left, right) if len(people.shown) < 7 else None) as people,
        pytest.raises(WaitingError, match=r"look 1 are waited for.*truing label") as waiting,
    ):
        _train(recipe, tmp_path / "run", people, wait_minutes=0.01)
    assert waiting.value.exit_code == 75
    assert not {one.prompt for one in people.shown} & first
    with audience(you=fewer_a) as people:
        job, _ = _train(recipe, tmp_path / "run", people)
    assert _alike(job, by_function[0])


def test_where_nobody_was_given_a_link_nobody_is_waited_for(recipe: Recipe, tmp_path: Path) -> None:
    for at_terminal, page in ((False, {}), (True, {"wait_minutes": 0})):
        with audience() as people, pytest.raises(WaitingError, match="16 of 16"):
            _train(recipe, tmp_path / "run", people, at_terminal, **page)
        assert not [line for line in people.said if "http" in line]


def test_the_share_of_several_counts_and_controls_do_not(recipe: Recipe, tmp_path: Path) -> None:
    """Of three people one presses the other side; of ten pairs and a control, each person sees all."""
    few = with_changes(recipe, {"guard.labels": 10, "ppo.updates": 1, "ppo.episodes": 8})
    known = tiny.write_rows(tmp_path / "known.jsonl", [{"prompt": "known?", "chosen": "yes", "rejected": "no"}] * 2)
    rules: dict[str, Rule] = {"you": fewer_a, "person 2": fewer_a}
    rules |= {"person 3": lambda left, right: 8 - int(fewer_a(left, right))}
    with audience(**rules) as people:
        job, result = _train(few, tmp_path / "run", people, people=3, each=3, controls=str(known))
    rows = read_jsonl(job.directory.judgements)
    for row in rows:
        counts = row["first"].count("a"), row["second"].count("a")
        two = 0.5 if counts[0] == counts[1] else float(counts[0] < counts[1])
        assert sorted(row["votes"]) == sorted([two, two, 1 - two])
        assert row["first_wins"] == pytest.approx((two + 1) / 3)
    assert (result.guard.guard_labels, result.guard.guard_votes) == (10, 30)
    assert Counter(str(one.prompt).strip() for one in people.shown)["known?"] == 3
    (look,) = result.guard.guard_strengths
    newer = [row["first_wins"] if row["newer_is_first"] else 1 - row["first_wins"] for row in rows]
    assert look.won == pytest.approx(sum(newer))


def test_a_port_that_is_taken_is_left_unless_a_proxy_expects_the_page_there(recipe: Recipe, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, audience(you=fewer_a) as people:
        port = taken.getsockname()[1]
        few = with_changes(recipe, {"guard.labels": 4, "ppo.updates": 1, "ppo.episodes": 8})
        _, result = _train(few, tmp_path / "run", people, port=port)
        assert result.guard.guard_votes == 4
        assert any(line.startswith(f"port {port} is taken, so the page") for line in people.said)
        with pytest.raises(InputError, match="cannot listen"):
            _train(few, tmp_path / "other", people, port=port, url="https://labels.example.org")
        assert not [*(tmp_path / "other").glob("ppo/metrics.jsonl")]
