"""DPO: the loss of the formula on the policy's own log-probabilities, a reference asked once, and what is promised."""

from pathlib import Path

import numpy as np
import promised
import pytest
import tiny
import torch
from oracles import losses
from oracles.responses import logprob
from transformers import AutoModelForCausalLM

from truing.config.algorithms import Dpo
from truing.core.batches import PairBatch, Sequences
from truing.core.errors import DataError
from truing.core.results import to_json
from truing.core.rows import PairRows, TokenRows
from truing.data.chat import encode_prompt
from truing.evaluation import heldout
from truing.models.roles import Role
from truing.runs.metrics import read_jsonl
from truing.stages import dpo
from truing.stages.dpo import ReferencedPairs, preference_loss, train_dpo
from truing.stages.reward import train_reward

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
PROMPTS = [[1, 2], [3]]
CHOSEN, REJECTED = [[4, EOS], [5, 6, 7, EOS]], [[8, 9, EOS], [10]]


def test_shares_of_people_make_it_conservative_pair_by_pair() -> None:
    sides = [Sequences.collate(PROMPTS, side, PAD) for side in (CHOSEN, REJECTED)]
    ref = [torch.tensor([-3.0, -4.0]), torch.tensor([-2.0, -6.0])]
    shares = [0.6, 1.0]
    policy, pairs = Role(tiny.model(seed=0)), PairBatch(*sides, torch.zeros(2), share=torch.tensor(shares))
    loss, _ = preference_loss(policy, ReferencedPairs(pairs, *ref), Dpo(beta=0.3, use_share=True))
    now = [
        np.array([logprob(policy.model, prompt, said) for prompt, said in zip(PROMPTS, side, strict=True)])
        for side in (CHOSEN, REJECTED)
    ]
    expected = losses.dpo(*now, *(side.numpy() for side in ref), 0.3, "sigmoid", 1 - np.array(shares))
    assert loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("variant", "smoothing"), [("sigmoid", 0.0), ("sigmoid", 0.2), ("robust", 0.2), ("ipo", 0.0)])
def test_the_loss_is_that_of_the_formula(variant: str, smoothing: float) -> None:
    policy, reference = Role(tiny.model(seed=0)), tiny.model(seed=1)

    def of(model: torch.nn.Module, responses: list[list[int]]) -> np.ndarray:
        sums = [logprob(model, prompt, said) for prompt, said in zip(PROMPTS, responses, strict=True)]
        return np.array(
            [total / (len(said) if variant == "ipo" else 1) for total, said in zip(sums, responses, strict=True)]
        )

    ref = [torch.tensor(of(reference, side), dtype=torch.float32) for side in (CHOSEN, REJECTED)]
    sides = [Sequences.collate(PROMPTS, side, PAD) for side in (CHOSEN, REJECTED)]
    settings = Dpo.model_validate({"variant": variant, "label_smoothing": smoothing, "beta": 0.3})
    loss, stats = preference_loss(policy, ReferencedPairs(PairBatch(*sides, torch.zeros(2)), *ref), settings)
    now = [of(policy.model, side) for side in (CHOSEN, REJECTED)]
    expected = losses.dpo(*now, *(side.numpy() for side in ref), 0.3, variant, np.full(2, smoothing))
    margins = 0.3 * ((now[0] - ref[0].numpy()) - (now[1] - ref[1].numpy()))
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert float(stats["margin"]) == pytest.approx(margins.mean(), rel=1e-4)
    assert float(stats["accuracy"]) == pytest.approx((margins > 0).mean())


@pytest.mark.parametrize("variant", ["sigmoid", "ipo"])
def test_the_card_is_of_beta_times_the_log_ratio(variant: str, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **{"dpo.beta": 0.3, "dpo.variant": variant})
    policy, reference = tiny.model(seed=0), tiny.model(seed=1)

    def reward(prompt: list[int], said: list[int]) -> float:
        log_ratio = logprob(policy, prompt, said) - logprob(reference, prompt, said)
        return 0.3 * log_ratio / (len(said) if variant == "ipo" else 1)

    sides = [TokenRows(PROMPTS, side, PAD) for side in (CHOSEN, REJECTED)]
    pairs = dpo.with_reference(Role(reference), PairRows(*sides, [0.0, 0.0]), recipe)
    card = to_json(dpo.score_heldout(Role(policy), pairs, recipe).card())
    gaps = np.array([reward(p, c) - reward(p, r) for p, c, r in zip(PROMPTS, CHOSEN, REJECTED, strict=True)])
    assert card["score_gap_mean"] == pytest.approx(gaps.mean(), rel=1e-4)
    assert card["heldout_loss"] == pytest.approx(np.log1p(np.exp(-gaps)).mean(), rel=1e-4)
    assert card["heldout_accuracy"] == (gaps > 0).mean()
    assert card["longer_wins_accuracy"] == 0.5


def test_the_reward_stage_scores_what_dpo_says(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, stages=["reward", "dpo"])
    reward = tiny.job(recipe, tmp_path, "reward")
    train_reward(reward)
    job = tiny.job(recipe, tmp_path, "dpo", reward.directory.root)
    result = to_json(train_dpo(job))
    last = [row["score"] for row in read_jsonl(job.directory.samples)][-result["heldout_prompts"] :]
    assert result["heldout_score_last"] == pytest.approx(np.mean(last))
    assert read_jsonl(job.directory.metrics)[-1]["heldout_score"] == result["heldout_score_last"]


@pytest.mark.parametrize("roles", ["shared", "separate"])
def test_a_run_learns_the_preference_and_leaves_what_it_promises(roles: str, tmp_path: Path) -> None:
    changes = {"evaluation.judges": {"letters": "letters:letter_a"}, "dpo.epochs": 4}
    recipe = tiny.recipe(tmp_path, roles=roles, **changes)
    job = tiny.job(recipe, tmp_path, "dpo")
    result = to_json(train_dpo(job))
    metrics, samples = read_jsonl(job.directory.metrics), read_jsonl(job.directory.samples)
    assert result.keys() >= promised.RESULT["dpo"]
    assert metrics[1]["loss"] == pytest.approx(np.log(2), abs=1e-5)  # the policy begins as the reference
    assert metrics[-1]["loss"] < metrics[1]["loss"]
    assert metrics[-1]["margin"] > 0
    assert (result["heldout_accuracy"], result["heldout_pairs"]) == (1.0, 2)
    assert metrics[0]["heldout_kl"] == pytest.approx(0.0, abs=1e-4)
    assert "heldout_score" not in metrics[-1]
    assert result["judges"]["letters"]["last"] == metrics[-1]["judge_letters"]
    assert {row["step"] for row in samples} == {row["step"] for row in metrics if "heldout_kl" in row}
    AutoModelForCausalLM.from_pretrained(job.directory.model)


def test_the_reference_is_asked_once_however_many_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    right = dpo.with_reference
    monkeypatch.setattr(dpo, "with_reference", lambda *args: (asked.append(args[1]), right(*args))[1])
    train_dpo(tiny.job(tiny.recipe(tmp_path, **{"dpo.epochs": 3}), tmp_path, "dpo"))
    assert len(asked) == 2  # the training pairs and the held-out pairs


def test_pairs_that_are_equal_once_cut_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = tiny.preferences()
    rows += [{"prompt": "only here?", "chosen": "same beginning a", "rejected": "same beginning b"}]
    recipe = tiny.recipe(tmp_path, **{"data.max_length": 20, "data.too_long": "cut_completion"})
    tiny.write_rows(tmp_path / "preferences.jsonl", rows)
    assert "1 dropped as identical pairs" in to_json(train_dpo(tiny.job(recipe, tmp_path, "dpo")))["truncation"]


def test_no_pair_that_says_anything_is_an_error(tmp_path: Path) -> None:
    rows = [{"prompt": f"{'e' * n}?", "chosen": "same start a", "rejected": "same start b"} for n in range(1, 9)]
    recipe = tiny.recipe(tmp_path, **{"data.max_length": 12, "data.too_long": "cut_completion"})
    tiny.write_rows(tmp_path / "preferences.jsonl", rows)
    with pytest.raises(DataError, match="no row is left to learn from"):
        train_dpo(tiny.job(recipe, tmp_path, "dpo"))


def test_held_out_prompts_are_in_no_pair_that_is_learnt_from(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    job = tiny.job(recipe, tmp_path, "dpo")
    base = tiny.load(recipe)
    train_dpo(job)
    learnt = {tuple(prompt) for prompt in job.rows.preferences(recipe).train.chosen.prompts}
    asked = {
        encode_prompt(base.text_format(job.recipe.data), row["prompt"]) for row in read_jsonl(job.directory.samples)
    }
    assert asked
    assert not asked & learnt


def test_a_judges_fall_must_exceed_the_noise_of_its_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(heldout, "drift_warnings", lambda *figures: given.append(figures) or [])
    changes = {"evaluation.judges": {"letters": "letters:letter_a"}, "dpo.epochs": 4}
    result = to_json(train_dpo(tiny.job(tiny.recipe(tmp_path, **changes), tmp_path, "dpo")))
    [(_, last, uncertainty)] = given
    low, high = result["judges"]["letters"]["change_ci95"]
    assert last["judge_letters"] == result["judges"]["letters"]["last"]
    assert uncertainty == {"judge_letters": pytest.approx((high - low) / 2)}
