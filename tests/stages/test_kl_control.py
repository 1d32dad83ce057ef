"""β follows the controller's formula: β·(1 + clip(KL/target − 1, ±0.2)·episodes/horizon)."""

import pytest

from truing.config.algorithms import Kl
from truing.stages.kl_control import KlController

ADAPTIVE = Kl(beta=0.15, controller="adaptive", target=6.0, horizon=10_000.0)


@pytest.mark.parametrize(
    ("kl", "error"),
    [(6.0, 0.0), (6.6, 0.1), (5.4, -0.1), (7.2, 0.2), (60.0, 0.2), (4.8, -0.2), (0.0, -0.2), (-3.0, -0.2)],
)
def test_one_update_moves_beta_by_the_clipped_error(kl: float, error: float) -> None:
    after = KlController(0.15, ADAPTIVE).after(kl, episodes=500)
    assert after.beta == pytest.approx(0.15 * (1 + error * 500 / 10_000))


def test_updates_multiply() -> None:
    controller = KlController(0.15, ADAPTIVE)
    for kl in (60.0, 60.0, 0.0):
        controller = controller.after(kl, episodes=1000)
    assert controller.beta == pytest.approx(0.15 * 1.02 * 1.02 * 0.98)


def test_a_fixed_beta_stays() -> None:
    controller = KlController(0.15, Kl(beta=0.15)).after(100.0, episodes=10_000)
    assert controller.beta == 0.15
