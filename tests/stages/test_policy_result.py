"""The final metrics: the last update's, the worst ratio of all, and warnings against the first evaluation."""

from types import SimpleNamespace
from typing import Any

from truing.core.results import HeldoutResult, to_json
from truing.stages.policy_result import DRIFT, PHASES, online_result

HELDOUT = HeldoutResult(heldout_prompts=4, heldout_kl_last=0.0, judges={}, heldout_dropped=0, heldout_score=None)


def _update(number: int, ratio: float) -> dict[str, Any]:
    names = (*DRIFT, *PHASES, "kl_exact", "beta", "episodes")
    metrics = {name: 10.0 * number + place for place, name in enumerate(names)}
    return metrics | {"ratio_max_deviation": ratio, "dropped": number - 1}


def test_the_end_is_held_against_the_beginning() -> None:
    given: list[Any] = []
    evaluator: Any = SimpleNamespace(result=lambda: HELDOUT, warnings=lambda *given_: given.append(given_) or ["told"])
    before, after = {"judge_x": 1.0, "heldout_score": 2.0}, {"judge_x": 3.0, "heldout_score": 4.0}
    updates = [_update(1, 1e-7), _update(2, 3e-7), _update(3, 2e-7) | after]
    result = to_json(online_result([before, *updates], evaluator, "updates", []))
    [(first, last, dropped)] = given
    assert first == {name: updates[0][name] for name in DRIFT} | before
    assert last == {name: updates[2][name] for name in DRIFT} | after
    assert result["warnings"] == ["told"]
    assert result["stopped_by"] == "updates"
    assert result["dropped"] == dropped == 0 + 1 + 2
    assert result["ratio_max_deviation"] == 3e-7
    assert result["seconds"] == {name: sum(update[name] for update in updates) for name in PHASES}
