"""Whatever its loss, a policy that learns from rows is evaluated alike, and leaves the same files."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import promised
import pytest
import tiny
from oracles.responses import logprobs
from transformers import AutoModelForCausalLM

from truing.core.results import Change, to_json
from truing.data.batching import optimiser_batches
from truing.evaluation.learning import chosen_falls_warning
from truing.models import layout
from truing.runs.metrics import read_jsonl
from truing.stages import offline_policy
from truing.training.job import Job

STAGES = ("dpo", "kto", "simpo", "orpo")
FREE = ("simpo", "orpo")
"""Those that ask no reference"""
FAST = {"epochs": 4, "batch_size": 8, "optimiser.learning_rate": 1e-3}


def job_of(stage: str, place: Path, **changes: Any) -> Job:
    fast = {f"{stage}.{key}": value for key, value in FAST.items()}
    return tiny.job(tiny.recipe(place, **{"stages": [stage]} | fast | changes), place, stage)


def trained(job: Job) -> dict[str, Any]:
    return to_json(job.spec.load(job.spec.train)(job))


Learnt = Callable[[str], tuple[Job, dict[str, Any]]]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    """A stage of this name that has run to its end, and its result: once for all that look at it."""

    @cache
    def of(stage: str) -> tuple[Job, dict[str, Any]]:
        job = job_of(stage, tmp_path_factory.mktemp(stage))
        return job, trained(job)

    return of


@pytest.mark.parametrize("roles", ["shared", "separate"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_learns_the_preference_and_leaves_what_it_promises(stage: str, roles: str, tmp_path: Path) -> None:
    job = job_of(stage, tmp_path, roles=roles, **{"evaluation.judges": {"letters": "letters:letter_a"}})
    result = trained(job)
    metrics, samples = read_jsonl(job.directory.metrics), read_jsonl(job.directory.samples)
    learnt = {"kto": "train_rows"}.get(stage, "train_pairs")
    assert result.keys() >= promised.RESULT["dpo"] | {learnt, "chosen_logprob_change_ci95"}
    assert metrics[-1]["loss"] < metrics[1]["loss"]
    assert metrics[-1]["margin"] > max(0.0, metrics[1]["margin"])
    assert result["judges"]["letters"]["last"] == metrics[-1]["judge_letters"]
    assert result["chosen_logprob_last"] == pytest.approx(metrics[-1]["heldout_chosen_logprob"])
    assert {row["step"] for row in samples} == {row["step"] for row in metrics if "heldout_length" in row}
    AutoModelForCausalLM.from_pretrained(job.directory.model)


@pytest.mark.parametrize("stage", STAGES)
def test_all_that_is_logged_is_defined(stage: str, learnt: Learnt) -> None:
    job, _ = learnt(stage)
    defined = {metric.name for metric in job.spec.metrics} | {"step"}
    assert {name for row in read_jsonl(job.directory.metrics) for name in row} <= defined


@pytest.mark.parametrize("stage", STAGES)
def test_the_logprob_of_chosen_is_of_whole_responses_before_and_after(stage: str, learnt: Learnt) -> None:
    job, result = learnt(stage)
    if stage == "kto":
        rows = job.rows.ratings(job.recipe).heldout
        wanted = [row for row, label in enumerate(rows.desired) if label]
        chosen = rows.responses.rows(wanted)
    else:
        chosen = job.rows.preferences(job.recipe).heldout.chosen
    places = {"first": job.start.path, "last": str(job.directory.model)}
    for when, place in places.items():
        model = AutoModelForCausalLM.from_pretrained(place)
        expected = logprobs(model, chosen.prompts, chosen.responses).mean()
        assert result[f"chosen_logprob_{when}"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_a_policy_with_a_reference_is_not_ranked_before_it_has_learnt(stage: str, learnt: Learnt) -> None:
    job, _ = learnt(stage)
    first = read_jsonl(job.directory.metrics)[0]
    assert ("heldout_accuracy" in first) == (stage in FREE)
    assert "heldout_chosen_logprob" in first


@pytest.mark.parametrize("stage", STAGES)
def test_a_second_model_is_loaded_for_a_loss_that_asks_it_and_for_no_other(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, right = [], layout.load_base
    monkeypatch.setattr(layout, "load_base", lambda *given, **more: loaded.append(given) or right(*given, **more))
    job = job_of(stage, tmp_path, roles="separate")
    result = trained(job)
    assert len(loaded) == (1 if stage in FREE else 2)
    assert (result["kl_last"] is None) == (stage in FREE)
    assert any("is not measured" in note for note in result["notes"]) == (stage in FREE)
    assert ("heldout_kl_last" in result) == (stage not in FREE)


@pytest.mark.parametrize("stage", FREE)
def test_adapters_lie_on_the_model_they_began_with_so_their_kl_is_measured(stage: str, learnt: Learnt) -> None:
    _, result = learnt(stage)
    assert result["kl_last"] == result["heldout_kl_last"]
    assert result["heldout_kl_first"] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("stage", FREE)
def test_a_source_of_reward_is_measured_on_what_the_start_says(stage: str, tmp_path: Path) -> None:
    """Where no reference is there to say it."""
    job = job_of("reward", tmp_path)
    trained(job)
    source = [{"kind": "function", "path": "letters:letter_a", "weight": 1.0, "normalise": True}]
    recipe = tiny.recipe(tmp_path, stages=["reward", stage], roles="separate", **{"rewards.sources": source})
    result = trained(tiny.job(recipe, tmp_path, stage, job.directory.root))
    assert np.isfinite(result["heldout_score_last"])


def test_the_fall_of_preferred_responses_is_a_warning_where_it_is_more_than_noise() -> None:
    def warned(change: float, ends: tuple[float, float]) -> bool:
        return bool(chosen_falls_warning(Change(-20.0, -20.0 + change, change=change, change_ci95=ends)))

    assert warned(-3.0, (-4.0, -2.0))
    assert not warned(-3.0, (-7.0, 1.0))
    assert not warned(-0.5, (-0.6, -0.4))  # e^0.5 times rarer
    assert not warned(3.0, (2.0, 4.0))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_tells_of_that_fall(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(offline_policy, "chosen_falls_warning", lambda change: asked.append(change) or ["it fell"])
    result = trained(job_of(stage, tmp_path))
    assert [change.last for change in asked] == [result["chosen_logprob_last"]]
    assert "it fell" in result["warnings"]


@pytest.mark.parametrize("stage", STAGES)
def test_no_gradient_depends_on_how_much_is_learnt_at_once(stage: str, tmp_path: Path) -> None:
    """KTO's reference point is of the whole batch, in whatever parts that is learnt."""
    logged = []
    for place, tokens in (("whole", 2048), ("parts", 12)):
        budgets = {"compute.learn_tokens": tokens, "compute.score_tokens": tokens}
        job = job_of(stage, tmp_path / place, **budgets | {f"{stage}.epochs": 2})
        trained(job)
        logged.append(read_jsonl(job.directory.metrics)[1:4])
        assert len(logged[-1]) == 3
    for whole, parts in zip(*logged, strict=True):
        for name in ("loss", "grad_norm", "margin"):
            assert parts[name] == pytest.approx(whole[name], rel=2e-3, abs=2e-5), name


def test_sft_on_chosen_is_orpo_without_its_odds_ratio(tmp_path: Path) -> None:
    job = job_of("orpo", tmp_path, **{"orpo.weight": 0.0})
    trained(job)
    chosen = job.rows.preferences(job.recipe).train.chosen
    first = chosen.rows(optimiser_batches(len(chosen), 8, 1, job.recipe.seed, "orpo")[0])
    model = AutoModelForCausalLM.from_pretrained(job.start.path)
    expected = -logprobs(model, first.prompts, first.responses, average=True).mean()
    assert read_jsonl(job.directory.metrics)[1]["loss"] == pytest.approx(expected, rel=1e-4)
