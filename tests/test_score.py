"""`truing score` gives the scores that PPO is given, for rows that a person has."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest
import tiny
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from truing.core.errors import DataError, ModelError, RunError
from truing.core.records import Message
from truing.judge import judge
from truing.models.save import load_member_scores
from truing.pipeline.execute import run_pipeline
from truing.runs.directory import RunDirectory
from truing.runs.progress import SilentProgress
from truing.score import as_sample, load_stage_reward, score_file


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


@pytest.mark.parametrize("members", [1, 2])
def test_a_reward_model_is_shown_the_tools_that_it_learnt_with(tmp_path: Path, members: int) -> None:
    tools = [{"type": "function", "function": {"name": "dig", "parameters": {"type": "object", "properties": {}}}}]
    recipe = tiny.recipe(tmp_path, stages=["reward"], **{"data.tools": tools, "reward.members": members})
    words = AutoTokenizer.from_pretrained(tmp_path / "base")
    words.chat_template = (
        "{% for tool in tools or [] %}{{ tool.function.name }} {% endfor %}"
        "{% for turn in messages %}{{ turn.content }}{% endfor %}"
    )
    words.save_pretrained(tmp_path / "base")
    rows = [{name: _message(name, text) for name, text in row.items()} for row in tiny.preferences()]
    tiny.write_rows(tmp_path / "preferences.jsonl", rows)
    reward = load_stage_reward(run_pipeline(recipe, tmp_path / "run", SilentProgress()))
    sample = as_sample((Message("user", "how?"),), "aa")
    read = [model.form.tokenizer.decode(model._encode(sample)) for model in reward.models]
    assert [text.startswith("dig how?aa") for text in read] == [True] * members


def _message(name: str, text: str) -> list[dict[str, str]]:
    return [{"role": "user" if name == "prompt" else "assistant", "content": text}]


def test_a_stage_without_a_reward_model_and_rows_that_are_none_are_refused(run: RunDirectory, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl", [{"prompt": "how?"}])
    with pytest.raises(RunError, match=r"no finished reward model of a stage ppo.*Finished: reward"):
        score_file(run, rows, "ppo")
    with pytest.raises(DataError, match="completion"):
        score_file(run, rows)
    pairs = tiny.write_rows(tmp_path / "pairs.jsonl", tiny.preferences(2))
    with pytest.raises(DataError, match="It is a pair: make a row of each side that you want"):
        score_file(run, pairs)


def test_of_several_members_it_is_their_mean_and_a_card_is_of_the_mean_log_odds(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, stages=["reward"], **{"reward.members": 2})
    run = run_pipeline(recipe, tmp_path / "run", SilentProgress())
    directory = run.stage("reward")
    of_samples = list(zip(*json.loads(directory.member_scores.read_text()), strict=True))
    scales = [(fmean(scores), pstdev(scores)) for scores in of_samples]
    members = [_merged(tmp_path / "base", member.adapter) for member in directory.members]
    texts = {text: [model(f"how?{text}") for model in members] for text in ("aa", "zzy")}
    rows = tiny.write_rows(tmp_path / "rows.jsonl", [{"prompt": "how?", "completion": text} for text in texts])

    def mean(raw: Sequence[float]) -> float:
        return fmean((score - centre) / width for score, (centre, width) in zip(raw, scales, strict=True))

    on_samples = [mean(raw) for raw in zip(*of_samples, strict=True)]
    expected = [(mean(raw) - fmean(on_samples)) / pstdev(on_samples) for raw in texts.values()]
    assert [score for _, score in score_file(run, rows)] == pytest.approx(expected, abs=1e-4)
    pair = tiny.write_rows(tmp_path / "pair.jsonl", [{"prompt": "how?", "chosen": "aa", "rejected": "zzy"}])
    gap = judge(str(run.root), pair).card.score_gap_mean
    assert gap == pytest.approx(fmean(texts["aa"]) - fmean(texts["zzy"]), abs=1e-4)


def test_members_on_the_embedded_world_are_loaded_from_its_files(tmp_path: Path) -> None:
    changes = {"base": None, "world": {"preferences": 40}, "reward.members": 2, "reward.epochs": 1}
    none = dict.fromkeys(("data.demonstrations", "data.preferences"))
    recipe = tiny.recipe(tmp_path, stages=["reward"], **changes | none)
    run = run_pipeline(recipe, tmp_path / "run", SilentProgress())
    rows = tiny.write_rows(tmp_path / "rows.jsonl", [{"prompt": "review of the lamp :", "completion": "nice"}])
    ((_, score),) = score_file(run, rows)
    assert math.isfinite(score)


def _merged(base: Path, adapter: Path) -> Callable[[str], float]:
    """A member by the libraries alone: the score of a text that has ended."""
    words, plain = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    backbone = PeftModel.from_pretrained(plain, adapter).merge_and_unload().model.eval()
    head = load_file(adapter / "head.safetensors")["weight"][0]

    def score(text: str) -> float:
        with torch.no_grad():
            hidden = backbone(torch.tensor([[*words.encode(text), words.eos_token_id]])).last_hidden_state
        return float(hidden[0, -1] @ head)

    return score


@pytest.mark.parametrize("content", ["[[1.0, 2.0], [1.0]]", "[[1.0]]", "{", "[[1.0, NaN]]", "7"])
def test_scores_of_members_that_are_damaged_are_told_as_that(content: str, tmp_path: Path) -> None:
    file = tmp_path / "sft_scores.json"
    file.write_text(content)
    with pytest.raises(ModelError) as damaged:
        load_member_scores(file, 2)
    assert damaged.value.code == "model/damaged-scores"
