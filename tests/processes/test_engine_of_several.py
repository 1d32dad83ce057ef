"""Two processes whose responses come from one server: the owner asks, all hear, and the run is that of one process."""

from pathlib import Path

import letters
import pytest
import tiny
from processes.several import said, start
from rollout.stand_in import StandIn, serving

from truing.runs.metrics import read_jsonl
from truing.stages.ppo import train_ppo

pytestmark = pytest.mark.long

ROUNDING = 1e-5
CHANGES = {
    "stages": ["ppo"],
    "rewards.sources": [{"kind": "function", "path": f"{letters.__file__}:letter_a", "normalise": False}],
    "evaluation.every": 2,
    "rollout.engine": "vllm",
    "rollout.max_staleness": 1,  # so the second of two updates learns from what drew before the first
}


def test_the_owner_asks_and_all_learn_from_the_answers(tmp_path: Path) -> None:
    out, stand_in = tmp_path / "two", StandIn(tiny.recipe(tmp_path, **CHANGES))
    with serving(stand_in) as url:
        where = {"rollout.vllm.url": url}
        job = tiny.job(tiny.recipe(tmp_path, **CHANGES, **where), tmp_path / "one", "ppo")
        train_ppo(job)
        recipe = tiny.recipe_file(tmp_path, **CHANGES, **where)
        assert start(recipe, out, 2).wait(300) == 0, said(out)
    asked = [request for request in stand_in.asked if "seed" in request]
    assert len(asked) == 2 * 2 * 8  # runs, updates, episodes
    one, two = read_jsonl(job.directory.metrics), read_jsonl(out / "ppo" / "metrics.jsonl")
    for row, other in zip(one, two, strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            if not name.endswith("_s"):
                assert other[name] == pytest.approx(value, abs=ROUNDING, rel=ROUNDING), (row["step"], name)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--tp", "--pp"])
def test_an_adapter_in_parts_is_handed_over_whole(tmp_path: Path, option: str) -> None:
    """Also where all is to be computed with the same bits each time."""
    shape, changes = f"llama{tiny.IN_GROUPS}", {"stages": ["reward", "ppo"], "rollout.engine": "vllm"}
    changes |= {"rollout.max_staleness": 1, "compute.deterministic": True}
    with serving(StandIn(tiny.recipe(tmp_path, shape, **changes))) as url:
        recipe = tiny.recipe_file(tmp_path, shape=shape, **changes, **{"rollout.vllm.url": url})
        assert start(recipe, tmp_path / "run", 2, option, "2").wait(300) == 0, said(tmp_path / "run")
    for row in read_jsonl(tmp_path / "run" / "ppo" / "metrics.jsonl")[1:]:
        assert max(row["sync_mismatch"], row["engine_mismatch"]) < ROUNDING


@pytest.mark.slow
def test_a_server_that_dies_is_told_once_with_exit_code_2(tmp_path: Path) -> None:
    with serving(StandIn(tiny.recipe(tmp_path, **CHANGES), "dead", after=1)) as url:
        recipe = tiny.recipe_file(tmp_path, **CHANGES, **{"rollout.vllm.url": url})
        assert start(recipe, tmp_path / "run", 2).wait(300) == 2
    assert said(tmp_path / "run").count("gives no answer") == 1
    assert (tmp_path / "run" / "ppo" / "checkpoints" / "step-00000001").is_dir()
