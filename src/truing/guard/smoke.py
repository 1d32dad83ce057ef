"""The guard without a judge: alarms on figures that any run has. They are weak, and so never end a stage.

Limits and worth were measured in two worlds whose true reward is known: see docs/results/signals.md.
"""

from collections.abc import Callable, Mapping, Sequence
from math import log

from truing.config.judging import Guard as GuardSettings
from truing.core.results import GuardResult
from truing.evaluation.decision import Decision, Evaluation, GoOn
from truing.evaluation.drift import KL_RANGE
from truing.guard.looks import State, looks_at, steeper
from truing.processes import group

KL_ALARM = KL_RANGE[1]
"""Nats per sequence: that of the warning at a run's end"""
LENGTH_ALARM = 1.85
"""Factor by which answers became longer or shorter; one of eight honest runs of the quickstart's world passed it"""
WORTH = (
    "no judge was asked: where the true reward is known, alarms on KL and length rang in 28 of 29 runs that gamed "
    "their reward, half of them after harm was done, and in 1 of 16 honest ones; gaming that moves neither is not seen"
)


def alarms(first: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """What rings, a phrase each, from the held-out means before training and now; nothing where all is quiet."""
    found = []
    if now["heldout_kl"] > KL_ALARM:
        found.append(f"KL is {now['heldout_kl']:.1f} nats, above {KL_ALARM:g}")
    before, after = first["heldout_length"], now["heldout_length"]
    if abs(log(max(after, 1.0) / max(before, 1.0))) > log(LENGTH_ALARM):
        found.append(f"answers have {after:.1f} tokens, and had {before:.1f}")
    return found


class SmokeDetectors:
    """The looks at one stage without judgements: the first alarm is told, and raises beta in mode rollback."""

    acts = False
    """The result is the stage's last step"""

    def __init__(self, settings: GuardSettings, updates: int, say: Callable[[str], None], state: State) -> None:
        """Args:
        settings: the recipe's.
        updates: of the whole stage.
        say: tells a person.
        state: to go on from.
        """
        self._settings, self._updates, self._say = settings, updates, say
        self.state = state

    def looks_at(self, step: int) -> bool:
        """Whether there is a look after this step."""
        return looks_at(self._settings, self._updates, step)

    def decide(self, history: Sequence[Evaluation]) -> Decision:
        """Goes on, from the first alarm with a higher beta where the mode is rollback."""
        state, now = self.state, history[-1]
        if state.warned or not self.looks_at(now.step):
            return GoOn()
        found = group.broadcast(lambda: alarms(history[0].metrics, now.metrics))  # as the owner rounds
        if not found:
            return GoOn()
        state.warned = True
        what = f"smoke at step {now.step}: {' and '.join(found)}"
        if self._settings.mode == "warn":
            return self._told(what, None)
        state.beta = steeper(self._settings, state.beta)
        return self._told(f"{what}; beta is {state.beta:g} from here on", state.beta)

    def _told(self, what: str, beta: float | None) -> GoOn:
        self.state.story.append(what)
        self._say(what)
        return GoOn(beta=beta)

    def result(self) -> GuardResult:
        """Of result.json: no judgements, and how weak alarms are."""
        looks = sum(map(self.looks_at, range(1, self._updates + 1)))
        return GuardResult(0, looks, 0, self._updates, [*self.state.story, WORTH])
