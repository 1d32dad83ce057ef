"""Of a run's finished stages, a policy is meant before the model that it began with, whatever algorithm made it."""

import json
from pathlib import Path

import pytest

from truing.config.stages import STAGES
from truing.core.errors import RunError
from truing.runs.directory import RunDirectory
from truing.runs.finished import has_reward_model, speaking_stage

POLICIES = [spec.name for spec in STAGES.values() if spec.makes_policy]


def run_of(place: Path, **states: str) -> RunDirectory:
    """A run with stages in these states, by their names; a variant's name begins with its kind."""
    stages = [{"name": name, "kind": name.split("-")[0], "state": state} for name, state in states.items()]
    record = {"versions": {}, "seed": 17, "threads": 1, "inputs": {}, "stages": stages}
    (place / "run.json").write_text(json.dumps(record))
    return RunDirectory(place)


@pytest.mark.parametrize("policy", POLICIES)
def test_any_policy_is_meant_before_the_start(policy: str, tmp_path: Path) -> None:
    run = run_of(tmp_path, sft="done", reward="done", **{policy: "done"})
    assert speaking_stage(run) == policy
    assert speaking_stage(run, "sft") == "sft"


def test_what_is_not_finished_or_speaks_not_is_refused_with_what_there_is(tmp_path: Path) -> None:
    run = run_of(tmp_path, **{"sft": "done", "reward": "done", "ppo": "running", "ppo-no-kl": "done"})
    assert speaking_stage(run) == "sft"
    assert speaking_stage(run, "ppo-no-kl") == "ppo-no-kl"
    for stage in ("ppo", "reward", "none"):
        with pytest.raises(RunError, match=r"Finished: sft, ppo-no-kl\.") as refused:
            speaking_stage(run, stage)
        assert refused.value.code == "run/no-such-policy"


def test_a_reward_model_is_one_that_is_finished(tmp_path: Path) -> None:
    run = run_of(tmp_path, sft="done", **{"reward": "running", "reward-other": "done"})
    found = {stage: has_reward_model(run, stage) for stage in ("sft", "reward", "reward-other", "none", None)}
    assert [stage for stage, has in found.items() if has] == ["reward-other"]
