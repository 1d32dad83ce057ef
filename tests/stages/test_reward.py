"""The reward model learns which side was preferred, and is measured on pairs under other prompts."""

import math
import statistics
from pathlib import Path

import promised
import pytest
import tiny
import torch
from transformers import AutoModelForSequenceClassification

from truing.config.algorithms import Reward
from truing.core.batches import PairBatch, Sequences
from truing.core.results import to_json
from truing.core.rows import PairRows, TokenRows
from truing.models.heads import scalar_head
from truing.models.roles import Role
from truing.models.save import load_normalisation
from truing.rollout.episodes import reference_samples
from truing.runs.metrics import read_jsonl
from truing.stages.reward import pair_loss, train_reward

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
PROMPTS = [[1, 2], [3]]
CHOSEN, REJECTED = [[4, EOS], [5, 6, 7, EOS]], [[8, 9, EOS], [10]]


def _score(role: Role, tokens: list[int]) -> float:
    assert role.head is not None
    with torch.no_grad():
        last = role.model(torch.tensor([tokens]), output_hidden_states=True).hidden_states[-1][0, -1]
        return float(last @ role.head.weight[0])


@pytest.mark.parametrize(("use_margin", "smoothing"), [(False, 0.0), (True, 0.0), (False, 0.2)])
def test_the_loss_is_that_of_bradley_and_terry_on_the_ends(use_margin: bool, smoothing: float) -> None:
    model = tiny.model()
    role = Role(model, head=scalar_head(model, seed=1, bias=False))
    batch = PairBatch(
        Sequences.collate(PROMPTS, CHOSEN, PAD), Sequences.collate(PROMPTS, REJECTED, PAD), torch.tensor([0.5, 2.0])
    )
    losses, wins = [], []
    for prompt, chosen, rejected, margin in zip(PROMPTS, CHOSEN, REJECTED, (0.5, 2.0), strict=True):
        gap = _score(role, prompt + chosen) - _score(role, prompt + rejected)
        h = gap - margin * use_margin
        losses.append((1 - smoothing) * math.log1p(math.exp(-h)) + smoothing * math.log1p(math.exp(h)))
        wins.append(float(gap > 0))
    loss, stats = pair_loss(role, batch, Reward(use_margin=use_margin, label_smoothing=smoothing))
    assert loss.item() == pytest.approx(statistics.fmean(losses), abs=1e-5)
    assert float(stats["accuracy"]) == pytest.approx(statistics.fmean(wins))


def test_with_shares_the_loss_is_the_cross_entropy_of_what_people_said() -> None:
    model = tiny.model()
    role = Role(model, head=scalar_head(model, seed=1, bias=False))
    rows = PairRows(TokenRows(PROMPTS, CHOSEN, PAD), TokenRows(PROMPTS, REJECTED, PAD), [0.0, 0.0], shares=[0.75, 0.5])
    gaps = [
        _score(role, prompt + chosen) - _score(role, prompt + rejected)
        for prompt, chosen, rejected in zip(PROMPTS, CHOSEN, REJECTED, strict=True)
    ]
    sure = [-math.log(1 / (1 + math.exp(-gap))) for gap in gaps]
    other = [-math.log(1 - 1 / (1 + math.exp(-gap))) for gap in gaps]
    batch = rows.to(torch.device("cpu"))
    split = 0.75 * sure[0] + 0.25 * other[0], 0.5 * sure[1] + 0.5 * other[1]
    assert pair_loss(role, batch, Reward(use_share=True))[0].item() == pytest.approx(statistics.fmean(split), abs=1e-5)
    assert pair_loss(role, batch, Reward())[0].item() == pytest.approx(statistics.fmean(sure), abs=1e-5)
    for part, expected in ((rows.rows([1]).to(torch.device("cpu")), split[1]), (batch.rows([0]), split[0])):
        assert pair_loss(role, part, Reward(use_share=True))[0].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("roles", ["shared", "separate"])
def test_a_run_learns_the_preference_and_leaves_what_it_promises(roles: str, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, roles=roles)
    job = tiny.job(recipe, tmp_path, "reward")
    result = to_json(train_reward(job))
    metrics = read_jsonl(job.directory.metrics)
    assert result.keys() >= promised.RESULT["reward"]
    assert metrics[-1]["loss"] < metrics[0]["loss"] / 2
    assert (result["heldout_accuracy"], result["heldout_pairs"]) == (1.0, 2)
    assert (result["steps"], result["train_pairs"]) == (6, 22)
    assert [row["step"] for row in metrics] == list(range(1, 7))
    assert job.directory.adapter.exists() == (roles == "shared")


def test_the_normalisation_is_of_the_saved_model_on_samples_of_the_start(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    job = tiny.job(recipe, tmp_path, "reward")
    result = to_json(train_reward(job))
    base = tiny.load(recipe)
    classifier = AutoModelForSequenceClassification.from_pretrained(job.directory.model)
    scores = []
    for sample in reference_samples(base.role(), job.rows.prompts(recipe), recipe, base):
        with torch.no_grad():
            tokens = torch.tensor([[*sample.prompt_tokens, *sample.response_tokens]])
            scores.append(float(classifier(tokens).logits))
    assert len(scores) == 8
    assert result["score_mean"] == pytest.approx(statistics.fmean(scores), abs=1e-4)
    assert result["score_std"] == pytest.approx(statistics.pstdev(scores), abs=1e-4)
    normalisation = load_normalisation(job.directory.model)
    assert normalisation is not None
    assert (normalisation.mean, normalisation.std) == (result["score_mean"], result["score_std"])


def test_the_held_out_pairs_are_looked_at_on_the_way_and_the_last_look_is_the_card(tmp_path: Path) -> None:
    job = tiny.job(tiny.recipe(tmp_path, **{"reward.log_every": 4}), tmp_path, "reward")
    result = to_json(train_reward(job))
    metrics = read_jsonl(job.directory.metrics)
    assert [row["step"] for row in metrics if "heldout_loss" in row] == [4, 6]
    assert metrics[-1]["heldout_loss"] == result["heldout_loss"]
    assert metrics[-1]["heldout_accuracy"] == result["heldout_accuracy"]
    assert result["findings"] == []


def test_pairs_of_their_own_may_be_held_out(tmp_path: Path) -> None:
    own = tiny.write_rows(tmp_path / "heldout.jsonl", tiny.preferences(29)[24:])
    recipe = tiny.recipe(tmp_path, **{"data.heldout_preferences": {"path": str(own)}})
    result = to_json(train_reward(tiny.job(recipe, tmp_path, "reward")))
    assert (result["train_pairs"], result["heldout_pairs"]) == (24, 5)
