"""The final metrics of a stage that learns from its own responses, and the sentences that warn about them."""

from collections.abc import Sequence
from typing import Any

from truing.core.results import GuardResult, OnlineResult
from truing.evaluation.heldout import HeldoutEvaluator

PHASES = ("rollout_s", "score_s", "learn_s")
DRIFT = ("length", "eos_rate", "distinct_2", "entropy", "kl", "score")


def online_result(
    history: list[dict[str, Any]],
    evaluator: HeldoutEvaluator,
    stopped_by: str,
    notes: list[str],
    findings: Sequence[str] = (),
    guard: GuardResult | None = None,
) -> OnlineResult:
    """From the log of every update (history[0] is the evaluation before the first) to result.json."""
    updates = history[1:]
    first, last = updates[0], updates[-1]
    dropped = sum(update["dropped"] for update in updates)
    deviations = [update["ratio_max_deviation"] for update in updates if "ratio_max_deviation" in update]
    return OnlineResult(
        steps=len(updates),
        episodes=last["episodes"],
        score_first=first["score"],
        score_last=last["score"],
        kl_last=last["kl"],
        kl_exact_last=last["kl_exact"],
        entropy_last=last["entropy"],
        eos_rate_last=last["eos_rate"],
        length_first=first["length"],
        length_last=last["length"],
        distinct_2_first=first["distinct_2"],
        distinct_2_last=last["distinct_2"],
        beta=last["beta"],
        ratio_max_deviation=max(deviations, default=None),
        stopped_by=stopped_by,
        dropped=dropped,
        heldout=evaluator.result(),
        seconds={phase: sum(update[phase] for update in updates) for phase in PHASES},
        warnings=evaluator.warnings(_compared(first, history[0]), _compared(last, history[-1]), dropped),
        findings=list(findings),
        notes=notes,
        guard=guard,
    )


def _compared(update: dict[str, Any], evaluation: dict[str, Any]) -> dict[str, float]:
    judges = {name: value for name, value in evaluation.items() if name.startswith(("judge_", "heldout_score"))}
    return {name: update[name] for name in DRIFT} | judges
