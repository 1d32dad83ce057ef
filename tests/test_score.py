"""`truing score` gives the scores that PPO is given, for rows that a person has."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from truing.core.errors import DataError, RunError
from truing.pipeline.execute import run_pipeline
from truing.runs.directory import RunDirectory
from truing.runs.progress import SilentProgress
from truing.score import score_file


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    place = tmp_path_factory.mktemp("scored")
    return run_pipeline(tiny.recipe(place, stages=["reward"]), place / "run", SilentProgress())


def test_a_score_is_that_of_plain_transformers_normalised(run: RunDirectory, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl", [{"prompt": "how?", "completion": text} for text in ("aa", "zzy")])
    place = run.stage("reward").model
    words = AutoTokenizer.from_pretrained(place)
    model = AutoModelForSequenceClassification.from_pretrained(place).eval()
    scale = json.loads((place / "score_normalisation.json").read_text())
    expected: list[Any] = []
    for text in ("aa", "zzy"):
        ids = torch.tensor([[*words.encode(f"how?{text}"), words.eos_token_id]])
        with torch.no_grad():
            expected.append((float(model(ids).logits) - scale["mean"]) / scale["std"])
    found = list(score_file(run, rows))
    assert [where for where, _ in found] == [f"{rows}:1", f"{rows}:2"]
    assert [score for _, score in found] == pytest.approx(expected, abs=1e-4)


def test_a_stage_without_a_reward_model_and_rows_that_are_none_are_refused(run: RunDirectory, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl", [{"prompt": "how?"}])
    with pytest.raises(RunError, match=r"no finished reward model of a stage ppo.*Finished: reward"):
        score_file(run, rows, "ppo")
    with pytest.raises(DataError, match="completion"):
        score_file(run, rows)
    pairs = tiny.write_rows(tmp_path / "pairs.jsonl", tiny.preferences(2))
    with pytest.raises(DataError, match="It is a pair: make a row of each side that you want"):
        score_file(run, pairs)
