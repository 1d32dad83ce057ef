"""Verdicts against the rules that truing.report.verdict tells."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from report.example_run import compared, write_json, write_run

from truing.core.results import Change, GuardLook, StageResult, read
from truing.evaluation.drift import drift_warnings
from truing.report.change import change_of
from truing.report.charts import stage_charts
from truing.report.comparison import comparison
from truing.report.outcomes import policy_outcome, preference_policy_outcome
from truing.report.run_files import StageFiles, read_run
from truing.report.verdict import Verdict, verdict, verdicts
from truing.runs.lineage import StageRecord

ROSE, FELL, LEVEL = compared(0.0, 1.0), compared(1.0, 0.0), compared(0.0, 0.1)


def policy(
    score: dict[str, Any] | None = None,
    judges: dict[str, dict[str, Any]] | None = None,
    metrics: list[dict[str, Any]] | None = None,
    *,
    kind: str = "ppo",
    state: Any = "done",
    rewards: Sequence[dict[str, Any]] = ({"kind": "stage"},),
    **result: Any,
) -> StageFiles:
    closing = {f"heldout_score_{key}": value for key, value in (score or {}).items()}
    record = StageRecord(kind, kind, state)
    row = closing | {"judges": judges or {}} | result
    return StageFiles(record, read(StageResult, row), metrics or [], [], rewards)


@pytest.mark.parametrize(
    ("score", "judges", "tone", "headline"),
    [
        (ROSE, {"gold": ROSE}, "good", "The reward rose, and gold, which training never saw, rose with it."),
        (
            ROSE,
            {"gold": ROSE, "form": ROSE},
            "good",
            "The reward rose, and gold and form, which training never saw, rose with it.",
        ),
        (ROSE, {"gold": FELL}, "bad", "The reward rose while gold fell: the policy found what the reward overrates."),
        (
            ROSE,
            {"gold": FELL, "form": ROSE},
            "bad",
            "The reward rose while gold fell: the policy found what the reward overrates.",
        ),
        (ROSE, {"gold": LEVEL}, "open", "The reward rose; gold moved no further than noise."),
        (
            ROSE,
            {"gold": ROSE, "form": LEVEL},
            "open",
            "The reward rose; gold agreed; form moved no further than noise.",
        ),
        (ROSE, {}, "open", "The reward rose. No judge outside of training was there to confirm it."),
        (LEVEL, {"gold": ROSE}, "open", "The reward did not rise beyond noise on held-out prompts."),
        (LEVEL, {"gold": LEVEL}, "open", "The reward did not rise beyond noise on held-out prompts."),
        (LEVEL, {"gold": FELL}, "bad", "The reward did not rise beyond noise on held-out prompts."),
        (FELL, {}, "bad", "The reward fell on held-out prompts."),
        (None, {}, "open", "Finished; no score and no judge say how well."),
        (None, {"gold": ROSE}, "good", "Gold, which training never saw, rose."),
        (None, {"gold": FELL}, "bad", "Gold fell."),
        (None, {"gold": LEVEL}, "open", "Gold moved no further than noise."),
        (None, {"gold": ROSE, "form": LEVEL}, "open", "Gold rose; form moved no further than noise."),
    ],
)
def test_headline(score: Any, judges: dict[str, Any], tone: str, headline: str) -> None:
    given = verdict(policy(score, judges))
    assert (given.tone, given.headline) == (tone, headline)


FUNCTION, LLM_JUDGE = {"kind": "function", "path": "a:b", "normalise": False}, {"kind": "judge", "path": "j"}


@pytest.mark.parametrize(
    ("rewards", "score", "judges", "tone", "headline"),
    [
        ([FUNCTION, {"kind": "environment"}], ROSE, {}, "good", "The reward rose. Functions alone gave it"),
        ([FUNCTION], ROSE, {}, "good", "The reward rose. Functions alone gave it, and no model: it is worth what they"),
        ([FUNCTION], ROSE, {"gold": FELL}, "bad", "The reward rose while gold fell: "),
        ([FUNCTION], LEVEL, {}, "open", "The reward did not rise beyond noise on held-out prompts."),
        ([FUNCTION, LLM_JUDGE], ROSE, {}, "open", "The reward rose. No judge outside of training "),
    ],
)
def test_a_reward_that_functions_give_misses_no_judge(
    rewards: Any, score: Any, judges: Any, tone: str, headline: str
) -> None:
    given = verdict(policy(score, judges, rewards=rewards))
    assert given.tone == tone
    assert given.headline.startswith(headline)


@pytest.mark.parametrize(
    ("rewards", "unit"),
    [
        ([FUNCTION], "raw"),
        ([FUNCTION, LLM_JUDGE], "SFT deviations"),
        ([FUNCTION | {"normalise": True}], "SFT deviations"),
    ],
)
def test_a_score_is_in_deviations_where_a_source_is_normalised(rewards: Any, unit: str) -> None:
    stage = policy(ROSE, rewards=rewards)
    assert verdict(stage).measured[0].unit == unit
    assert [line.title for line in comparison([stage])] == [f"Score, {unit}"]
    both = comparison([stage, policy(ROSE)])[0].title
    assert both == ("Score" if unit == "raw" else "Score, SFT deviations")


def test_a_policy_that_learnt_from_ratings_is_measured_on_pairs_of_these() -> None:
    measured = {"heldout_accuracy": 0.75, "heldout_pairs": 40, "longer_wins_accuracy": 0.5}
    assert preference_policy_outcome(policy(kind="dpo", **measured)).startswith("75.0% of 40 held-out pairs right; ")
    rated = policy(kind="kto", **measured)
    assert preference_policy_outcome(rated).startswith("75.0% of 40 pairs of held-out ratings right; ")
    assert [chart.heading for chart in stage_charts(rated)] == ["Accuracy on pairs of held-out ratings"]


def judged_by(*gold: float) -> list[dict[str, Any]]:
    return [{"step": 5 * place, "judge_gold": value} for place, value in enumerate(gold)]


@pytest.mark.parametrize(("score", "rise"), [(ROSE, "The reward rose, but gold fell"), (None, "Gold fell")])
def test_a_judge_that_rose_and_fell_back_is_the_mark_of_over_optimisation(score: Any, rise: str) -> None:
    # It ends 1.0 above where it began, 0.5 below its best, and half the interval of its change is 0.2.
    given = verdict(policy(score, {"gold": ROSE}, judged_by(0.0, 0.7, 1.5, 1.2, 1.0)))
    assert given.tone == "bad"
    assert given.headline == f"{rise} back from its best: it was trained for too long."
    assert (
        "The judge gold was at its highest, 1.50, at update 10 and fell back to 1.00 "
        "while training went on: the mark of over-optimisation."
    ) in given.findings


@pytest.mark.parametrize("gold", [(0.0, 1.15, 1.0), (1.5, 1.2, 1.0), (0.0, 0.5, 1.0)])
def test_a_step_back_within_noise_or_from_the_start_is_no_such_mark(gold: tuple[float, ...]) -> None:
    given = verdict(policy(ROSE, {"gold": ROSE}, judged_by(*gold)))
    assert given.tone == "good"
    assert "over-optimisation" not in " ".join(given.findings)


def told(given: Verdict) -> list[tuple[str, str, str, str]]:
    """What was measured, as it is written."""
    return [
        (one.title, *(" ".join(side).strip() for side in (one.before, one.after, one.difference)))
        for one in given.measured
    ]


def test_the_first_screen_has_the_metrics_before_and_after_with_their_intervals() -> None:
    metrics = [{"step": 0, "heldout_kl": -1e-7}, {"step": 40, "heldout_kl": 3.456}]
    seconds = {"rollout_s": 10.0, "score_s": 4.0, "learn_s": 6.0}
    given = verdict(policy(ROSE, {"gold": LEVEL}, metrics, episodes=2560, seconds=seconds))
    assert told(given) == [
        ("Score", "0.00 [−0.20, 0.20]", "1.00 [0.80, 1.20]", "+1.00 rose [0.80, 1.20]"),
        ("Judge: gold", "0.00 [−0.20, 0.20]", "0.10 [−0.10, 0.30]", "+0.10 within noise [−0.10, 0.30]"),
        ("KL to the reference", "0.00", "3.46", ""),
    ]
    kl = {f"heldout_kl_{key}": value for key, value in compared(0.0, 3.456, 0.5).items()}
    assert told(verdict(policy(ROSE, {}, metrics, **kl)))[1:] == [
        ("KL to the reference", "0.00 [−0.50, 0.50]", "3.46 [2.96, 3.96]", "")
    ]
    effort = "40 updates on 2,560 responses of its own. Time went to rollout 50%, score 20% and learn 30%."
    assert given.effort == effort


def test_an_explosion_of_kl_is_warned_of() -> None:
    # evaluation/drift.py: warns above 20 nats, whatever the score and the judges say.
    warnings = drift_warnings({"kl": 0.0}, {"kl": 31.4})
    given = verdict(policy(ROSE, {"gold": ROSE}, [{"step": 40, "heldout_kl": 31.4}], warnings=warnings))
    assert told(given)[-1][:3] == ("KL to the reference", "31.40", "31.40")
    assert [warning.split(":")[0] for warning in given.warnings] == ["KL to the reference is 31.4 nats a sequence"]


def test_an_unfinished_policy_is_not_judged() -> None:
    metrics = [{"step": 0, "heldout_score": 0.0, "judge_gold": 1.0}, {"step": 7, "heldout_score": 2.0, "judge_gold": 0}]
    given = verdict(policy(metrics=metrics, state="running"))
    assert (given.tone, given.headline) == ("open", "Not finished: these are the figures so far.")
    assert told(given)[0] == ("Score", "0.00", "2.00", "")
    assert given.effort == "7 updates so far."


def test_dpo_is_judged_by_the_same_rules() -> None:
    given = verdict(policy(ROSE, {"gold": ROSE}, [{"step": 20, "loss": 0.6}], kind="dpo", train_pairs=630))
    assert given.tone == "good"
    assert given.effort == "20 updates on 630 preference pairs."


def test_a_policy_whose_distance_nobody_measured_is_judged_without_it() -> None:
    given = verdict(policy(ROSE, {"gold": ROSE}, [{"step": 20, "loss": 0.6}], kind="simpo", train_pairs=630))
    assert given.tone == "good"
    assert given.effort == "20 updates on 630 preference pairs."
    assert [outcome.title for outcome in given.measured] == ["Score", "Judge: gold"]


def reward_model(accuracy: float, ends: tuple[float, float], longer: float = 0.5, **result: Any) -> StageFiles:
    card = {"heldout_accuracy": accuracy, "heldout_accuracy_ci95": list(ends), "longer_wins_accuracy": longer}
    return policy(kind="reward", heldout_pairs=50, **card, **result)


def test_a_reward_model_that_has_learnt_nothing_leads_the_verdict() -> None:
    given = verdict(policy(ROSE, {"gold": ROSE}), reward_model(0.46, (0.33, 0.6), 0.52, findings=["Its loss is odd."]))
    assert given.tone == "bad"
    assert given.headline == (
        "The reward model (reward) is not clear of chance and no better than preferring the longer response: "
        "46% of 50 held-out pairs right [33%, 60%], 'longer wins' 52%."
    )
    assert given.findings[:2] == [
        "Its loss is odd.",
        "What rests on it says little: The reward rose, and gold, which training never saw, rose with it.",
    ]


def test_a_sound_one_leaves_the_verdict_as_it_is_but_for_what_was_found_of_it() -> None:
    given = verdict(policy(ROSE, {"gold": ROSE}), reward_model(0.8, (0.67, 0.89), findings=["Its loss is odd."]))
    assert (given.tone, given.findings[0]) == ("good", "Its loss is odd.")


@pytest.mark.parametrize("stages", [("sft", "reward", "ppo"), ("sft",)])
def test_what_was_found_of_the_stage_that_a_policy_began_with_is_told(stages: tuple[str, ...], tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", stages)
    result = json.loads((root / "sft" / "result.json").read_text())
    write_json(root / "sft" / "result.json", result | {"findings": ["It taught nothing."]})
    (given,) = verdicts(read_run(root))
    assert given.findings[0] == "It taught nothing."


def test_answers_that_grew_alike_get_no_green_tick() -> None:
    found = "The held-out answers grew alike: 'bird' stands in 61 of 64, at the start in 1. Read them."
    given = verdict(policy(ROSE, {"gold": ROSE}, alike=["'bird' stands in 61 of 64"], findings=[found]))
    assert given.tone == "open"
    assert given.headline.endswith("rose with it. But the answers grew alike.")
    assert given.findings[0] == found


def test_what_a_guard_decided_is_told_and_the_figures_are_those_of_the_step_that_is_kept() -> None:
    story = ["judges find the answers of step 9 worse than those of step 6; on from there at beta 0.1"]
    given = verdict(
        policy(
            ROSE,
            metrics=[{"step": 12, "heldout_kl": 40.0}],
            guard_labels=128,
            guard_looks=4,
            guard_rollbacks=1,
            guard_kept_step=6,
            guard_story=story,
            heldout_kl_first=0.0,
            heldout_kl_last=2.5,
        )
    )
    assert given.guard == [
        "The guard took 128 judgements at 4 looks; the model is that of update 6.",
        "Judges find the answers of step 9 worse than those of step 6; on from there at beta 0.1.",
    ]
    assert told(given)[-1] == ("KL to the reference", "0.00", "2.50", "")
    assert verdict(policy(ROSE)).guard == []


def test_changes_of_a_guarded_policy_end_at_the_step_that_is_kept() -> None:
    lengths = [{"step": step, "heldout_length": length} for step, length in ((0, 16.0), (6, 15.0), (12, 13.0))]
    for kept, last in ((0, 16.0), (6, 15.0), (12, 13.0)):
        stage = policy(ROSE, metrics=lengths, guard_labels=9, guard_kept_step=kept)
        assert change_of(stage, "heldout_length") == Change(16.0, last)


def test_a_guard_without_a_judge_is_not_said_to_have_chosen() -> None:
    watched = policy(ROSE, guard_labels=0, guard_looks=1, guard_kept_step=40, guard_story=["nobody judged"])
    assert verdict(watched).guard == ["Nobody judged."]
    assert "keeps" not in policy_outcome(watched)


def test_a_kl_below_zero_is_told_with_the_interval_that_has_zero_in_it() -> None:
    ends = {"heldout_kl_first": 0.0, "heldout_kl_first_ci95": [0.0, 0.0]}
    measured = policy(heldout_kl_last=-0.101, heldout_kl_last_ci95=[-0.284, 0.082], **ends)
    assert policy_outcome(measured) == "KL −0.10 [−0.28, 0.08] nats."
    assert policy_outcome(policy(metrics=[{"step": 0, "heldout_kl": 0.0}, {"step": 1, "heldout_kl": 2.5}])) == (
        "KL 2.50 nats."
    )


def test_people_are_named_as_who_judged_with_their_votes_and_an_interval() -> None:
    """e^0.8 / (1 + e^0.8) is 0.69; of 0.1 and 1.5, 0.52 and 0.82."""
    looks = [GuardLook(6, 0, 20, 13.5, 0.8, (0.1, 1.5)), GuardLook(12, 6, 20, 4.0, -1.0, (-2.0, 0.0))]
    judged: Any = {"guard_labels": 40, "guard_looks": 2, "guard_kept_step": 6, "guard_strengths": looks}
    (one,) = verdict(policy(ROSE, guard_judge="people", guard_votes=118, **judged)).guard
    assert one == (
        "The guard took 40 judgements by people, in 118 votes, at 2 looks; the model is that of update 6, "
        "whose answers they prefer to the first ones in 69% [52%, 82%]."
    )
    (one,) = verdict(policy(ROSE, guard_judge="people", **judged)).guard
    assert one.startswith("The guard took 40 judgements by people at 2 looks")
    (one,) = verdict(policy(ROSE, guard_judge="pairs", **judged)).guard
    assert one == "The guard took 40 judgements at 2 looks; the model is that of update 6."
