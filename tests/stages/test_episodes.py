"""Stages whose policy talks with an environment: they run, die and go on to the bit, and leave failed episodes out."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from safetensors.torch import load_file, save_file
from stages.killed import ends_as_if_it_had_not_been_killed

from truing.config.stages import STAGES
from truing.core.errors import RewardError
from truing.evaluation.variety import distinct_words
from truing.models.model_card import BY_FUNCTIONS
from truing.runs.metrics import read_jsonl
from truing.training.job import Job

ONLINE = ["ppo", *tiny.WITHOUT_CRITIC]
SOURCE = {"kind": "environment", "path": "letters:Patient", "turns": 3, "observation_tokens": 4, "normalise": False}
TALKS: dict[str, Any] = {"rewards.sources": [SOURCE], "rollout.max_new_tokens": 4, "evaluation.every": 2}


def _job(place: Path, stage: str, **changes: Any) -> Job:
    """Of a base that often ends its turn."""
    job = tiny.job(tiny.recipe(place, **TALKS | changes), place, stage)
    weights = place / "base" / "model.safetensors"
    whole = load_file(weights)
    whole["lm_head.weight"][tiny.tokenizer().eos_token_id] *= 3
    save_file(whole, weights, {"format": "pt"})
    return job


def _train(job: Job) -> Any:
    return STAGES[job.spec.name].load(STAGES[job.spec.name].train)(job)


@pytest.mark.parametrize("stage", [*ONLINE, "dpo"])
def test_it_runs_to_its_end_in_several_turns(stage: str, tmp_path: Path) -> None:
    job = _job(tmp_path, stage)
    _train(job)
    said = [row["response"] for row in read_jsonl(job.directory.samples)]
    assert any(len(text) > 4 + 2 for text in said), "some episodes have a second turn"
    for row in read_jsonl(job.directory.samples):
        roles = [turn["role"] for turn in row["turns"]]
        assert roles == ["assistant", "user"] * (len(roles) // 2) + ["assistant"]
        assert "".join(turn["content"] for turn in row["turns"]) == row["response"]
    rows = read_jsonl(job.directory.metrics)
    assert all(row["heldout_length"] <= 3 * 4 for row in rows if "heldout_length" in row)
    card = (job.directory.model / "README.md").read_text(encoding="utf-8")
    assert "at most 12 tokens" in card, "three turns of four"
    if stage in ONLINE:
        assert BY_FUNCTIONS in card
        assert rows[-1]["ratio_max_deviation"] < 1e-4
    first = [row["turns"] for row in read_jsonl(job.directory.samples) if row["step"] == 0]
    own = ["\n".join(turn["content"] for turn in turns if turn["role"] == "assistant") for turns in first]
    assert rows[0]["heldout_distinct_words"] == distinct_words(own)


@pytest.mark.parametrize("stage", ["ppo", "grpo"])
def test_it_goes_on_from_a_checkpoint_to_the_bit(stage: str, tmp_path: Path) -> None:
    changes = {f"{stage}.updates": 4, "checkpoints.every_steps": 1}
    ends_as_if_it_had_not_been_killed(lambda place: _job(place, stage, **changes), _train, tmp_path)


FAILING = """
class Game:
    def reset(self, prompt, seed): self.seed = seed
    def step(self, response):
        if self.seed % 3 == 0:
            raise ValueError("no such move")
        return "a ", 1.0, False
"""


def test_an_episode_in_which_the_environment_fails_ends_the_run_or_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "game.py").write_text(FAILING)
    source = SOURCE | {"path": f"{tmp_path}/game.py:Game"}
    with pytest.raises(RewardError, match="no such move"):
        _train(_job(tmp_path / "stop", "rloo", **{"rewards.sources": [source]}))
    job = _job(tmp_path / "drop", "rloo", **{"rewards.sources": [source], "rewards.on_bad_score": "drop"})
    _train(job)
    rows = read_jsonl(job.directory.metrics)
    assert sum(row.get("dropped", 0) for row in rows) > 0
    held = json.loads(job.directory.samples.read_text().splitlines()[0])
    assert held["score"] is None or held["score"] >= 1
