"""Responses that are drawn while the learner learns: by weights of the age asked for, and the same after any end."""

import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import tiny
import torch
from rollout.stand_in import StandIn, serving
from safetensors.torch import load_file
from torch import Tensor

from truing.core.errors import EngineError, InterruptedRunError
from truing.core.experience import Experience
from truing.evaluation.decision import Decision, Evaluation, GoOn, RollBack
from truing.models.layout import ppo_roles
from truing.models.scoring import response_logprobs
from truing.rollout import server
from truing.runs.checkpoints import newest_checkpoint
from truing.runs.metrics import read_jsonl
from truing.stages import update as updates
from truing.stages.objective import Objective
from truing.stages.online import train_online
from truing.stages.ppo import ppo_objective, train_ppo
from truing.training.job import Job

ROUNDING = 1e-5
UPDATES, EPISODES = 4, 4
STALENESS = "rollout.max_staleness"
LONG = 60.0
"""Seconds after which a thread waits in vain"""
CHANGES = {
    "rewards.sources": [{"kind": "function", "path": "letters:letter_a", "normalise": False}],
    "ppo.updates": UPDATES,
    "ppo.episodes": EPISODES,
    "ppo.epochs": 1,
    "ppo.optimiser.learning_rate": 1e-2,
    "evaluation.every": 2,
    "evaluation.prompts": 2,
    "checkpoints.every_steps": 1,
    "rollout.engine": "vllm",
    "rollout.max_new_tokens": 8,
    STALENESS: 1,
}
OnLearn = Callable[[int, Experience, Objective], None]


class Watched(StandIn):
    """A stand-in that remembers which weights it was given, and which drew what."""

    def __init__(self, place: Path, fault: str = "", after: int = 0) -> None:
        super().__init__(tiny.recipe(place / "served", **CHANGES), fault, after)
        self.given: dict[str, dict[str, Tensor]] = {}
        self.drawn: dict[int, tuple[str, list[float]]] = {}
        """By the number of the episode: whose weights, and log-probabilities"""
        self.before: Callable[[int], bool] = lambda episode: True
        """Called before a draw; whether it answers"""
        self.newer = Event()
        """Set once it has weights that are newer than those that draw for the third of updates of staleness 1"""

    def load(self, name: str, place: str) -> None:
        self.given[name] = load_file(Path(place, "adapter_model.safetensors"))
        super().load(name, place)
        if len(self.given) == 3:
            self.newer.set()

    def complete(self, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        episode = self.episode(asked)
        if episode is not None and not self.before(episode):
            return None
        answer = super().complete(asked)
        if episode is not None and answer is not None:
            self.drawn[episode] = asked["model"], answer["choices"][0]["logprobs"]["token_logprobs"]
        return answer


def _update_of(episode: int) -> int:
    return 1 + episode // EPISODES


def _job(place: Path, url: str, **changes: Any) -> Job:
    return tiny.job(tiny.recipe(place / "recipe", **CHANGES | {"rollout.vllm.url": url} | changes), place, "ppo")


def _left(job: Job) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Weights and samples, and metrics but for times and for the probe, whose texts are of when a run was taken up."""
    rows = [
        {name: value for name, value in row.items() if not name.endswith("_s") and name != "sync_mismatch"}
        for row in read_jsonl(job.directory.metrics)
    ]
    files = (job.directory.adapter / "adapter_model.safetensors", job.directory.samples)
    return {file.name: file.read_bytes() for file in files}, rows


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WAITS", (0.0, 0.0, 0.0))


@pytest.fixture
def on_learn(monkeypatch: pytest.MonkeyPatch) -> Callable[[OnLearn, OnLearn], None]:
    """Has functions called before and after the learner learns from an update."""
    learn = updates.learn

    def have(before: OnLearn, after: OnLearn) -> None:
        def watched(experience: Experience, objective: Objective, learner: Any, seed: int, number: int) -> Any:
            before(number, experience, objective)
            metrics = learn(experience, objective, learner, seed, number)
            after(number, experience, objective)
            return metrics

        monkeypatch.setattr(updates, "learn", watched)

    return have


def _nothing(number: int, experience: Experience, objective: Objective) -> None: ...


def _policy(objective: Objective) -> dict[str, Tensor]:
    named = objective.trained[0].role.named_parameters()
    return {path: weight.detach().clone() for path, weight in named.items()}


@pytest.mark.parametrize("staleness", [0, 1, 9])
def test_what_is_learnt_from_was_drawn_by_weights_of_that_age_and_is_weighed_by_how_they_changed(
    tmp_path: Path, on_learn: Callable[[OnLearn, OnLearn], None], staleness: int
) -> None:
    stand_in, policies, most = Watched(tmp_path), dict[int, dict[str, Tensor]](), [0]

    def before(number: int, experience: Experience, objective: Objective) -> None:
        """Against the server's own word, and a forward of the policy that is about to learn."""
        policies.setdefault(0, _policy(objective))
        most[0] = max(most[0], len(stand_in.roles))
        first, mask = (number - 1) * EPISODES, experience.sequences.response_mask
        said = [stand_in.drawn[episode] for episode in range(first, first + EPISODES)]
        (name,) = {name for name, _ in said}
        wanted = policies[max(0, number - 1 - staleness)]
        assert stand_in.given[name].keys() == wanted.keys()
        assert all(torch.equal(stand_in.given[name][path], wanted[path]) for path in wanted)
        with torch.no_grad():
            own = response_logprobs(objective.trained[0].role, experience.sequences)[mask]
        torch.testing.assert_close(experience.old_logprobs[mask], own, atol=ROUNDING, rtol=0)
        assert experience.weights is not None
        served = torch.cat([torch.tensor(logprobs) for _, logprobs in said])
        torch.testing.assert_close(experience.weights[mask], (own - served).exp().clamp(max=2), atol=1e-4, rtol=0)

    on_learn(before, lambda number, _, objective: policies.update({number: _policy(objective)}))
    with serving(stand_in) as url:
        job = _job(tmp_path, url, **{STALENESS: staleness})
        result = train_ppo(job)
    rows = read_jsonl(job.directory.metrics)[1:]
    assert [row["engine_mismatch"] < ROUNDING for row in rows] == [True] * UPDATES
    assert [row["ratio_max_deviation"] < 1e-4 for row in rows] == [True] * UPDATES
    assert len(stand_in.given) == UPDATES
    assert most[0] == min(staleness + 1, UPDATES)  # adapters that the server has at once
    assert stand_in.roles == {}
    if staleness:
        assert all(row["kl"] == pytest.approx(row["kl_exact"]) for row in rows)
        (note,) = result.notes
        assert f"weights of up to {staleness} update" in note
        assert [row["staleness"] for row in rows] == [min(staleness, number) for number in range(UPDATES)]
        assert [row["staleness_shift"] > 1e-3 for row in rows] == [number > 0 for number in range(UPDATES)]
        assert max(row["staleness_shift"] for row in rows) > job.recipe.rollout.vllm.largest_mismatch  # and no end
    else:
        assert result.notes == []
        assert not any("staleness" in name for row in rows for name in row)
        found = newest_checkpoint(job.directory.checkpoints, print)
        assert found is None or not any("memory" in name for name in found.tensors)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, list[Path]]:
    """A run of staleness 2, and what a machine that stopped while it learnt from each update would have left."""
    place, copies = tmp_path_factory.mktemp("undisturbed"), list[Path]()
    with serving(Watched(place)) as url, pytest.MonkeyPatch.context() as patch:
        job, learn = _job(place / "run", url, **{STALENESS: 2}), updates.learn

        def copying(*given: Any) -> Any:
            copies.append(place / f"killed-{len(copies) + 1}")
            shutil.copytree(place / "run", copies[-1])
            return learn(*given)

        patch.setattr(updates, "learn", copying)
        train_ppo(job)
    return job, copies


@pytest.mark.parametrize("killed", [1, 2, 4])
def test_a_run_that_is_killed_goes_on_to_the_same_end(
    undisturbed: tuple[Job, list[Path]], tmp_path: Path, killed: int
) -> None:
    job, copies = undisturbed
    with serving(stand_in := Watched(tmp_path)) as url:
        shutil.copytree(copies[killed - 1] / "ppo", tmp_path / "ppo")
        again = _job(tmp_path, url, **{STALENESS: 2})
        train_ppo(again)
    assert min(stand_in.drawn) == (killed - 1) * EPISODES  # what was learnt from is not asked for again
    assert _left(again) == _left(job)


def test_a_run_goes_back_to_the_draws_of_the_step_that_it_goes_back_to(
    undisturbed: tuple[Job, list[Path]], tmp_path: Path
) -> None:
    job, _ = undisturbed
    left = [GoOn(pin=True), RollBack("once more", beta=job.recipe.ppo.kl.beta)]

    def decide(history: Sequence[Evaluation]) -> Decision:
        return left.pop(0) if left and history[-1].step > 0 else GoOn()

    with serving(Watched(tmp_path)) as url:
        again = _job(tmp_path, url, **{STALENESS: 2})
        roles = ppo_roles(again.recipe, again.start, None)
        train_online(again, roles, ppo_objective(again.recipe, roles), decide)
    assert left == []
    assert _left(again) == _left(job)


def test_the_server_draws_for_the_next_update_while_the_learner_learns(
    tmp_path: Path, on_learn: Callable[[OnLearn, OnLearn], None]
) -> None:
    stand_in, learning, drawn, order = Watched(tmp_path), Event(), Event(), list[str]()

    def draws_two_while_one_is_learnt_from(episode: int) -> bool:
        if _update_of(episode) == 2:
            assert learning.wait(LONG)
            order.append("drawn 2")
            if order.count("drawn 2") == EPISODES:
                drawn.set()
        return True

    def learns_one_until_two_is_drawn(number: int, *_: Any) -> None:
        if number == 1:
            learning.set()
            assert drawn.wait(LONG)
            order.append("learnt 1")

    stand_in.before = draws_two_while_one_is_learnt_from
    on_learn(learns_one_until_two_is_drawn, _nothing)
    with serving(stand_in) as url:
        train_ppo(_job(tmp_path, url, **{"ppo.updates": 2}))
    assert order == ["drawn 2"] * EPISODES + ["learnt 1"]


def test_a_server_that_dies_while_the_learner_learns_ends_the_update_that_needs_it_and_nothing_is_lost(
    undisturbed: tuple[Job, list[Path]], tmp_path: Path
) -> None:
    job, stand_in, changes = undisturbed[0], Watched(tmp_path), {"checkpoints.every_steps": 9, STALENESS: 2}
    stand_in.before = lambda episode: _update_of(episode) < 3
    with serving(stand_in) as url:
        with pytest.raises(EngineError) as caught:
            train_ppo(_job(tmp_path, url, **changes))
        assert caught.value.code == "engine/no-server"
        assert (caught.value.where or "").startswith("ppo step 3, http://127.0.0.1:")
        stand_in.before = lambda episode: True
        again = _job(tmp_path, url, **changes)
        found = newest_checkpoint(again.directory.checkpoints, print)
        assert found is not None
        assert found.step == 2
        train_ppo(again)
    assert _left(again) == _left(job)


def test_a_run_that_is_asked_to_end_waits_for_no_answer(tmp_path: Path) -> None:
    stand_in, over, alarms = Watched(tmp_path), Event(), [signal.SIGALRM]
    with serving(stand_in) as url:
        job = _job(tmp_path, url)

        def hangs(episode: int) -> bool:
            if _update_of(episode) < 3:
                return True
            job.stop.signal_number = signal.SIGTERM
            while alarms:
                os.kill(os.getpid(), alarms.pop())  # the time to finish is up
            return not over.wait(LONG)

        stand_in.before = hangs
        was = signal.signal(signal.SIGALRM, job.stop.on_alarm)
        try:
            with pytest.raises(InterruptedRunError):
                train_ppo(job)
        finally:
            signal.signal(signal.SIGALRM, was)
            over.set()
        found = newest_checkpoint(job.directory.checkpoints, print)
    assert found is not None
    assert found.step >= 1


@pytest.mark.parametrize(("fault", "code"), [("newest", "engine/other-draws"), ("stale", "engine/stale")])
def test_a_server_that_confuses_its_versions_ends_the_run(tmp_path: Path, fault: str, code: str) -> None:
    bound = {"rollout.vllm.largest_mismatch": 10.0}  # only weights that others fit better are left to tell it by
    stand_in = Watched(tmp_path, fault, after=1)
    stand_in.before = lambda episode: _update_of(episode) < 3 or stand_in.newer.wait(LONG)
    with serving(stand_in) as url, pytest.raises(EngineError) as caught:
        train_ppo(_job(tmp_path, url, **bound))
    assert caught.value.code == code
