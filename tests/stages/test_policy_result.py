"""The final metrics: the last update's, the worst ratio of all, and warnings against the first evaluation."""

from types import SimpleNamespace
from typing import Any

from truing.stages.policy_result import DRIFT, PHASES, online_result


def _update(number: int, ratio: float) -> dict[str, Any]:
    names = (*DRIFT, *PHASES, "kl_exact", "beta", "episodes")
    metrics = {name: 10.0 * number + place for place, name in enumerate(names)}
    return metrics | {"ratio_max_deviation": ratio, "dropped": number - 1}


def test_the_end_is_held_against_the_beginning() -> None:
    given: list[Any] = []
    evaluator: Any = SimpleNamespace(result=lambda: "held out", warnings=lambda *of: given.append(of) or ["told"])
    before, after = {"judge_x": 1.0, "heldout_score": 2.0}, {"judge_x": 3.0, "heldout_score": 4.0}
    updates = [_update(1, 1e-7), _update(2, 3e-7), _update(3, 2e-7) | after]
    result = online_result([before, *updates], evaluator, "enough", ["a note"])
    [(first, last, dropped)] = given
    assert first == {name: updates[0][name] for name in DRIFT} | before
    assert last == {name: updates[2][name] for name in DRIFT} | after
    assert (result.heldout, result.warnings, result.notes) == ("held out", ["told"], ["a note"])
    assert (result.stopped_by, result.steps, result.episodes) == ("enough", 3, updates[2]["episodes"])
    assert result.dropped == dropped == 0 + 1 + 2
    assert result.ratio_max_deviation == 3e-7
    assert result.seconds == {name: sum(update[name] for update in updates) for name in PHASES}


def test_an_algorithm_without_a_ratio_has_no_largest_one() -> None:
    evaluator: Any = SimpleNamespace(result=lambda: None, warnings=lambda *_: [])
    updates = [{key: value for key, value in _update(1, 0.0).items() if key != "ratio_max_deviation"}]
    assert online_result([{}, *updates], evaluator, "updates", []).ratio_max_deviation is None
