"""Who sets the price of a nat: nobody (fixed), or a controller that steers the KL to a target."""

from dataclasses import dataclass, replace

from truing.config.algorithms import Kl


@dataclass(frozen=True)
class KlController:
    """β, and how it moves: β ← β·(1 + clip(KL/target − 1, ±0.2)·episodes/horizon).

    Ziegler et al. 2019, section 2.2. KL in nats per sequence. Fixed is the same with nothing to move it.
    """

    beta: float
    settings: Kl

    def after(self, kl: float, episodes: int) -> "KlController":
        """The controller once a batch of so many episodes has shown this KL."""
        if self.settings.controller == "fixed":
            return self
        error = min(max(kl / self.settings.target - 1, -0.2), 0.2)
        return replace(self, beta=self.beta * (1 + error * episodes / self.settings.horizon))
