"""The closing figures of PPO: the last update's, the worst ratio of all, and warnings against the first look."""

from types import SimpleNamespace
from typing import Any

from truing.stages.ppo_result import DRIFT, PHASES, closing_figures


def _update(number: int, ratio: float) -> dict[str, Any]:
    names = (*DRIFT, *PHASES, "kl_exact", "beta", "episodes")
    figures = {name: 10.0 * number + place for place, name in enumerate(names)}
    return figures | {"ratio_max_deviation": ratio, "dropped": number - 1}


def test_the_end_is_held_against_the_beginning() -> None:
    given: list[Any] = []
    look: Any = SimpleNamespace(closing_figures=dict, warnings=lambda *figures: given.append(figures) or ["told"])
    first_look, last_look = {"judge_x": 1.0, "heldout_score": 2.0}, {"judge_x": 3.0, "heldout_score": 4.0}
    updates = [_update(1, 1e-7), _update(2, 3e-7), _update(3, 2e-7) | last_look]
    result = closing_figures([first_look, *updates], look)
    [(first, last, dropped)] = given
    assert first == {name: updates[0][name] for name in DRIFT} | first_look
    assert last == {name: updates[2][name] for name in DRIFT} | last_look
    assert result["warnings"] == ["told"]
    assert result["dropped"] == dropped == 0 + 1 + 2
    assert result["ratio_max_deviation"] == 3e-7
    assert result["seconds"] == {name: sum(update[name] for update in updates) for name in PHASES}
