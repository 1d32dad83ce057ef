"""What is found of stages that have learnt nothing, at the figures where it begins to be found."""

from typing import Any

import pytest

from truing.core.errors import TrainingError
from truing.evaluation.learning import (
    alike_finding,
    demonstration_findings,
    endless_finding,
    online_findings,
    refuse_ratio,
    still_finding,
)

WELL = {"clip_fraction": 0.05, "explained_variance": 0.4, "ratio_max_deviation": 3e-6}


def _rows(heldout_kl: float = 3.0, **changes: float) -> list[dict[str, Any]]:
    return [{"step": 0}, *({"step": step, **WELL, **changes} for step in (1, 2, 3)), {"heldout_kl": heldout_kl}]


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (2.98, None),
        (2.995, "hardly moved, from 3.00 to 3.00 nats a token"),
        (3.005, "hardly moved"),
        (3.4, "rose, from 3.00 to 3.40 nats a token"),
    ],
)
def test_demonstrations_that_taught_nothing_are_told(after: float, told: str | None) -> None:
    findings = demonstration_findings(3.0, after, "sft")
    assert bool(findings) == (told is not None)
    for finding in findings:
        assert finding.startswith(f"The held-out loss {told}")
        assert f"a {'lower' if after > 3.01 else 'higher'} sft.optimiser.learning_rate" in finding


def test_nothing_is_found_of_a_stage_that_learnt() -> None:
    assert online_findings(_rows(), "ppo", 4, "float32") == []


@pytest.mark.parametrize(
    ("rows", "phrase", "remedy"),
    [
        (_rows(heldout_kl=0.004), "did not move: it ends 0.004 nats", "ppo.optimiser.learning_rate"),
        (_rows(clip_fraction=0.0006), "Only 0.06% of the tokens reached the clip range", "ppo.epochs"),
        (_rows(explained_variance=-0.69), "predicts nothing of the returns (explained variance -0.69", "ppo.critic_"),
        (_rows(ratio_max_deviation=0.002), "a probability ratio was 0.002 away from 1", "Likely causes"),
    ],
)
def test_each_sign_is_told_alone_with_its_mend(rows: list[dict[str, Any]], phrase: str, remedy: str) -> None:
    (finding,) = online_findings(rows, "ppo", 4, "float32")
    assert phrase in finding
    assert remedy in finding


def test_one_step_an_update_clips_nothing_and_rounding_in_bfloat16_is_no_sign() -> None:
    assert online_findings(_rows(clip_fraction=0.0), "ppo", 1, "float32") == []
    assert online_findings(_rows(ratio_max_deviation=0.04), "ppo", 4, "bfloat16") == []


def test_without_a_critic_nothing_is_said_of_one() -> None:
    rows = [{key: value for key, value in row.items() if key != "explained_variance"} for row in _rows()]
    assert online_findings(rows, "ppo", 4, "float32") == []


def test_a_ratio_that_is_far_off_ends_the_stage() -> None:
    refuse_ratio(0.05, "float32")
    with pytest.raises(TrainingError) as refused:
        refuse_ratio(0.051, "float32")
    assert refused.value.code == "training/ratio"
    refuse_ratio(0.3, "bfloat16")
    with pytest.raises(TrainingError):
        refuse_ratio(float("inf"), "bfloat16")


def test_a_policy_that_moves_is_not_told_of() -> None:
    assert still_finding(0.01, "dpo", "beta") == []
    assert "a lower dpo.beta" in still_finding(-0.009, "dpo", "beta")[0]


def test_responses_that_never_end_name_what_would_end_them() -> None:
    (never,) = endless_finding(0.0, 0.02, 64, ["<|endoftext|>"])
    assert "98% of the responses are cut off" in never
    assert "a response ends at '<|endoftext|>'" in never
    assert "rollout.max_new_tokens (64)" in never
    (unlearnt,) = endless_finding(0.9, 0.0, 64, ["<|endoftext|>"])
    assert "At the start 90% did" in unlearnt
    assert endless_finding(0.0, 0.05, 64, []) == []


def test_answers_that_grew_alike_are_told_with_what_to_do() -> None:
    assert alike_finding([], "ppo.kl.beta") == []
    (finding,) = alike_finding(["'bird' stands in 61 of 64"], "ppo.kl.beta")
    assert "'bird' stands in 61 of 64. Read them; then try a higher ppo.kl.beta, or end" in finding
