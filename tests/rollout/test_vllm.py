"""PPO with a server that samples: the run of the local engine, and an end by name wherever the server is wrong."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from rollout.stand_in import WRONG, StandIn, serving
from safetensors.torch import load_file

from truing.config.recipe import Recipe
from truing.core.errors import EngineError
from truing.rollout import server
from truing.runs.checkpoints import newest_checkpoint
from truing.runs.metrics import read_jsonl
from truing.stages.ppo import train_ppo
from truing.training.job import Job

ROUNDING = 1e-5
REWARD = {"kind": "function", "path": "letters:letter_a", "normalise": False}
CHANGES = {
    "rewards.sources": [REWARD],
    "ppo.updates": 3,
    "ppo.optimiser.learning_rate": 2e-3,
    "evaluation.every": 3,
    "rollout.temperature": 0.7,
    "rollout.max_new_tokens": 12,
}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WAITS", (0.0, 0.0, 0.0))


def _job(place: Path, url: str | None = None, **changes: Any) -> Job:
    where = {} if url is None else {"rollout.engine": "vllm", "rollout.vllm.url": url}
    recipe = tiny.recipe(place.parent / "recipe", **CHANGES | where | changes)
    return tiny.job(recipe, place, "ppo")


def _recipe(place: Path) -> Recipe:
    return tiny.recipe(place / "recipe", **CHANGES)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The run of the local engine."""
    job = _job(tmp_path_factory.mktemp("local") / "run")
    train_ppo(job)
    return job


def _assert_alike(job: Job, local: Job, rounding: float = ROUNDING) -> None:
    """That a run with a server is, to rounding, that of the local engine."""
    rows, expected = read_jsonl(job.directory.metrics), read_jsonl(local.directory.metrics)
    for row, other in zip(rows, expected, strict=True):
        for name, value in other.items():
            if not name.endswith("_s"):
                assert row[name] == pytest.approx(value, abs=rounding, rel=rounding), (row["step"], name)
    said, wanted = read_jsonl(job.directory.samples), read_jsonl(local.directory.samples)
    assert [row["response"] for row in said] == [row["response"] for row in wanted]
    weights = load_file(job.directory.adapter / "adapter_model.safetensors")
    for name, value in load_file(local.directory.adapter / "adapter_model.safetensors").items():
        torch.testing.assert_close(weights[name], value, atol=1e-4, rtol=0)


@pytest.mark.parametrize("changes", [{}, {"rollout.vllm.old_logprobs": "engine"}, {"compute.rollout_rows": 3}])
def test_a_server_that_draws_alike_makes_the_run_of_the_local_engine(
    local: Job, tmp_path: Path, changes: dict[str, Any]
) -> None:
    stand_in = StandIn(_recipe(tmp_path))
    with serving(stand_in) as url:
        job = _job(tmp_path / "run", url, **changes)
        train_ppo(job)
    _assert_alike(job, local)
    rows = read_jsonl(job.directory.metrics)[1:]
    for row in rows:
        assert row["sync_mismatch"] < ROUNDING
        assert row["engine_mismatch"] < ROUNDING
        assert row["engine_ratio_mean"] == pytest.approx(1, abs=ROUNDING)
        assert row["engine_ratio_max"] == pytest.approx(1, abs=1e-4)
        assert row["engine_ratio_capped"] == 0
    assert "engine_mismatch" not in read_jsonl(local.directory.metrics)[1]
    assert len(set(stand_in.loaded)) == len(rows)  # never a name twice
    assert stand_in.roles == {}  # the last is taken off as well
    assert list(job.directory.root.glob(".adapters/*")) == []


def test_an_episode_of_several_turns_is_that_of_the_local_engine(tmp_path: Path) -> None:
    source = {"kind": "environment", "path": "letters:Patient", "turns": 3, "observation_tokens": 4}
    talk = {"rewards.sources": [source | {"normalise": False}], "rollout.temperature": 2.0}
    alone = _job(tmp_path / "local" / "run", **talk)
    train_ppo(alone)
    stand_in = StandIn(alone.recipe)
    with serving(stand_in) as url:
        job = _job(tmp_path / "run", url, **talk)
        train_ppo(job)
    _assert_alike(job, alone)
    drawn = [asked for asked in stand_in.asked if "prompt_logprobs" not in asked]
    assert len(drawn) > job.recipe.ppo.episodes * job.recipe.ppo.updates, "some episodes have a second turn"


def test_a_request_says_all_that_the_draw_depends_on(tmp_path: Path) -> None:
    stand_in = StandIn(_recipe(tmp_path))
    with serving(stand_in) as url:
        job = _job(tmp_path / "run", url, **{"ppo.updates": 1})
        train_ppo(job)
    draws = [asked for asked in stand_in.asked if "prompt_logprobs" not in asked]
    assert len(draws) == job.recipe.ppo.episodes
    assert len({asked["seed"] for asked in draws}) == len(draws)
    for asked in draws:
        assert all(isinstance(token, int) for token in asked["prompt"])
        assert asked["stop_token_ids"] == [len(tiny.LETTERS)]
        assert (asked["temperature"], asked["max_tokens"], asked["ignore_eos"]) == (0.7, 12, True)
        assert (asked["top_p"], asked["top_k"], asked["min_p"], asked["repetition_penalty"]) == (1.0, 0, 0.0, 1.0)


@pytest.mark.parametrize("fault", ["falters", "breaks"])
def test_an_answer_that_does_not_come_is_asked_for_again(local: Job, tmp_path: Path, fault: str) -> None:
    with serving(StandIn(_recipe(tmp_path), fault)) as url:
        job = _job(tmp_path / "run", url)
        train_ppo(job)
    _assert_alike(job, local)


FAULTS = {
    "stale": "engine/stale",
    "stale cache": "engine/other-draws",
    "raw": "engine/other-draws",
    "wrong": "engine/other-policy",
    "garbage": "engine/no-json",
    "cut": "engine/bad-answer",
    "dead": "engine/no-server",
    "anew": "engine/refused",
    "broken": "engine/failed",
    "slow": "engine/timeout",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_goes_wrong_ends_the_run_by_name_and_what_was_learnt_is_saved(tmp_path: Path, fault: str) -> None:
    seconds = {"rollout.vllm.seconds": 0.5 if fault == "slow" else 60.0}
    with serving(StandIn(_recipe(tmp_path), fault, after=1)) as url, pytest.raises(EngineError) as caught:
        train_ppo(_job(tmp_path / "run", url, **seconds))
    assert caught.value.code == FAULTS[fault]
    assert caught.value.exit_code == 2
    assert (caught.value.where or "").startswith("ppo step 2, http://127.0.0.1:")
    job = _job(tmp_path / "run")
    found = newest_checkpoint(job.directory.checkpoints, print)
    assert found is not None
    assert found.step == 1


def test_a_run_whose_server_died_goes_on_as_if_it_had_not(local: Job, tmp_path: Path) -> None:
    with serving(StandIn(_recipe(tmp_path), "dead", after=1)) as url, pytest.raises(EngineError):
        train_ppo(_job(tmp_path / "run", url))
    with serving(StandIn(_recipe(tmp_path))) as url:
        job = _job(tmp_path / "run", url)
        train_ppo(job)
    _assert_alike(job, local)


@pytest.mark.parametrize(
    ("fault", "code"),
    [("short", "engine/short"), ("no adapters", "engine/no-adapter"), ("wrong", "engine/other-policy")],
)
def test_a_server_that_is_not_the_one_wanted_is_refused_before_anything_is_learnt(
    tmp_path: Path, fault: str, code: str
) -> None:
    with serving(StandIn(_recipe(tmp_path), fault)) as url, pytest.raises(EngineError) as caught:
        train_ppo(_job(tmp_path / "run", url))
    assert caught.value.code == code
    assert "vllm serve" in (caught.value.hint or "")


def test_where_no_server_is_the_command_that_starts_one_is_told(tmp_path: Path) -> None:
    with serving(StandIn(_recipe(tmp_path))) as url:
        pass  # it was there, and its port is free again
    job = _job(tmp_path / "run", url)
    with pytest.raises(EngineError) as caught:
        train_ppo(job)
    assert caught.value.code == "engine/no-server"
    assert job.recipe.base is not None
    assert f"vllm serve {job.recipe.base.path} --port" in (caught.value.hint or "")


def test_another_model_is_not_taken_for_the_one_that_learns(tmp_path: Path) -> None:
    other = _recipe(tmp_path / "other")
    assert other.base is not None
    shutil.rmtree(other.base.path)
    tiny.model(seed=1).save_pretrained(other.base.path)
    tiny.tokenizer().save_pretrained(other.base.path)
    with serving(StandIn(other)) as url, pytest.raises(EngineError) as caught:
        train_ppo(_job(tmp_path / "run", url))
    assert caught.value.code == "engine/other-policy"


def test_a_wrong_log_probability_within_the_bound_weighs_its_tokens(tmp_path: Path) -> None:
    with serving(StandIn(_recipe(tmp_path), "wrong")) as url:
        bounds = {"rollout.vllm.largest_mismatch": 2 * WRONG, "rollout.vllm.ratio_cap": 1.25}
        job = _job(tmp_path / "run", url, **{"ppo.updates": 1} | bounds)
        train_ppo(job)
    row = read_jsonl(job.directory.metrics)[1]
    assert row["sync_mismatch"] == pytest.approx(0.5, abs=ROUNDING)
    assert row["engine_mismatch"] == pytest.approx(0.5, abs=ROUNDING)
    assert row["engine_ratio_mean"] == pytest.approx(1.6487213, abs=1e-4)  # √e, before the cap
    assert row["engine_ratio_max"] == pytest.approx(1.6487213, abs=1e-4)
    assert row["engine_ratio_capped"] == 1
