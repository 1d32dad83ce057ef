"""A server that is to sample is asked for before any stage is paid for, if it can be there by then."""

from pathlib import Path
from typing import Any

import letters
import pytest
import tiny
from rollout.stand_in import StandIn, serving

from truing.core.errors import EngineError
from truing.pipeline.execute import run_pipeline
from truing.runs.metrics import read_jsonl
from truing.runs.progress import SilentProgress

CHANGES: dict[str, Any] = {
    "rewards.sources": [{"kind": "function", "path": f"{letters.__file__}:letter_a", "normalise": False}],
    "rollout.engine": "vllm",
    "ppo.updates": 1,
    "evaluation.every": 1,
}
NOWHERE = "http://127.0.0.1:9"


def _asked(truing: Any, command: str, recipe: Path, out: Path) -> Any:
    """What the command says of a recipe, which only `run` needs a directory for."""
    return truing(command, recipe, *(("--out", out) if command == "run" else ()))


@pytest.mark.parametrize("command", ["validate", "run"])
def test_one_that_is_not_there_is_told_with_the_command_that_starts_it(
    command: str, truing: Any, tmp_path: Path
) -> None:
    recipe = tiny.recipe_file(tmp_path, stages=["reward", "ppo"], **CHANGES, **{"rollout.vllm.url": NOWHERE})
    said = _asked(truing, command, recipe, tmp_path / "run")
    assert said.code == 2
    assert [spot[0] for spot in said.spots] == ["engine/no-server"]
    assert "ppo samples there, and no stage is begun before it answers. Start one in an environment of its" in said.err
    assert f"vllm serve {tmp_path / 'base'} --port 9 " in said.err
    assert "--lora-target-modules down_proj gate_proj k_proj o_proj q_proj up_proj v_proj" in said.err
    assert not (tmp_path / "run").exists()


def test_one_that_reads_too_little_is_refused(truing: Any, tmp_path: Path) -> None:
    with serving(StandIn(tiny.recipe(tmp_path / "served"), "short")) as url:
        recipe = tiny.recipe_file(tmp_path, stages=["ppo"], **CHANGES, **{"rollout.vllm.url": url})
        said = truing("validate", recipe)
    assert (said.code, [spot[0] for spot in said.spots]) == (2, ["engine/short"])


@pytest.mark.parametrize("command", ["validate", "run"])
def test_one_that_serves_another_model_is_told_of_before_anything_is_paid_for(
    command: str, truing: Any, tmp_path: Path
) -> None:
    server = StandIn(tiny.recipe(tmp_path / "served"))
    server.roles["of an earlier run"], server.places["of an earlier run"] = server.base.role(), str(tmp_path / "gone")
    with serving(server) as url:
        changes = CHANGES | {"rollout.vllm.url": url}
        said = _asked(truing, command, tiny.recipe_file(tmp_path, stages=["ppo"], **changes), tmp_path / "run")
        own = tiny.recipe_file(tmp_path / "served", stages=["ppo"], **changes)
        silent = _asked(truing, command, own, tmp_path / "other")
    assert (said.code, silent.code) == (0, 0), said.err + silent.err
    there = f"says that it serves {tmp_path / 'served' / 'base'}, and what is to sample there is {tmp_path / 'base'}"
    assert there in " ".join(said.out.split())
    assert "says that it serves" not in silent.out


@pytest.mark.parametrize("served", [["a name"], {"a name": {}}, [], None])
def test_one_that_answers_otherwise_than_vllm_does_is_refused(served: Any, truing: Any, tmp_path: Path) -> None:
    class Other(StandIn):
        def models(self) -> Any:
            return served

    with serving(Other(tiny.recipe(tmp_path / "served"))) as url:
        recipe = tiny.recipe_file(tmp_path, stages=["ppo"], **CHANGES, **{"rollout.vllm.url": url})
        said = truing("validate", recipe)
    assert (said.code, [spot[0] for spot in said.spots]) == (2, ["engine/no-vllm"])


def test_one_of_a_model_that_is_still_to_be_made_is_announced_and_asked_for_once_it_is_made(
    truing: Any, tmp_path: Path
) -> None:
    changes = CHANGES | {"rollout.vllm.url": NOWHERE}
    recipe = tiny.recipe_file(tmp_path, stages=["sft", "reward", "ppo"], **changes)
    validated = truing("validate", recipe)
    told = f"ppo: what sft makes is to be served at {NOWHERE} by then"
    assert (validated.code, validated.out.count(told)) == (0, 1), validated.err
    out = tmp_path / "run"
    said = truing("run", recipe, "--out", out, "--set", "rollout.vllm.seconds=1")
    assert (said.code, said.out.count(told)) == (2, 1)
    assert f"vllm serve {out / 'sft' / 'model'} --port 9 " in said.err
    steps = len(read_jsonl(out / "reward" / "metrics.jsonl"))
    again = truing("run", recipe, "--out", out)
    assert again.code == 2
    assert "ppo samples there, and no stage is begun" in again.err
    assert len(read_jsonl(out / "reward" / "metrics.jsonl")) == steps


def test_a_run_that_goes_on_asks_before_what_is_left_is_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path, stages=["reward", "ppo"], **CHANGES, **{"rollout.vllm.url": NOWHERE})
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("truing.preflight.servers.check_server", lambda *_: [])
        patched.setattr("truing.pipeline.execute.run_stage", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception, match="killed"):
            run_pipeline(recipe, out, SilentProgress())
    monkeypatch.setattr("truing.pipeline.execute.run_stage", lambda *_: pytest.fail("it was paid for"))
    with pytest.raises(EngineError) as refused:
        run_pipeline(recipe, out, SilentProgress())
    assert refused.value.code == "engine/no-server"
