"""The guard: judgements of a policy's own answers decide what is kept of its training. See docs/guard.md.

At each look the policy as it is and the best step so far have answered the same held-out prompts, and a judge says
which answers are better. Judgements of all looks are smoothed together, and the best step is the one they rank highest.
Training has taken a wrong turn once they are strong evidence that it made the policy worse, by a test that may be
looked at as often as one likes; far from the reference, where harm is likelier and dearer, a suspicion is enough.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from truing.config.judging import Guard as GuardSettings
from truing.core.records import Text
from truing.core.results import GuardLook, GuardResult
from truing.evaluation.decision import Decision, Evaluation, GoOn, RollBack, Stop
from truing.functional import Compared, chance_of_weaker, evidence_of_loss, smoothed_strengths
from truing.guard.contests import questions_about
from truing.guard.ledger import Ledger
from truing.processes import group

FALSE_TURNS = 0.05
"""Chance that a turn is ever called in a stage that never made its policy worse"""
SUSPICION = 0.9
"""Chance that the policy is worse than the best, at which a stage goes back where its KL is above the alarm's"""
WALK = 0.15
"""Log-odds of winning by which an update is expected to change a policy, as a standard deviation"""
STEEPER = 3.0
"""What beta is multiplied by where that is more than the setting"""

HALF_WIDTH = NormalDist().inv_cdf(0.975)
"""Of a 95% interval, in standard deviations"""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Look:
    """What was judged after one step."""

    step: int
    parent: int
    """Number of the look from which training went on to this step; 0 is the beginning, the first look is 1"""
    against: int
    """Number of the best one before it"""
    asked: Sequence[str]
    """The questions that were judged"""
    outcomes: Sequence[float]
    """Of each, 1 where the newer answer won, 0 where it lost, ½ for alike"""
    turn: int
    """How often training had gone back before"""


@dataclass
class State:
    """What a stage has to remember of its guard."""

    beta: float
    """The price of a nat"""
    looks: list[Look] = field(default_factory=list)
    best: int = 0
    """Number of the best look"""
    parent: int = 0
    """Number of the look that training went on from"""
    turns: int = 0
    """How often it has gone back"""
    warned: bool = False
    story: list[str] = field(default_factory=list)
    """What was decided, a sentence each"""

    @property
    def labels(self) -> int:
        """Judgements so far."""
        return sum(len(look.outcomes) for look in self.looks)

    def step(self, number: int) -> int:
        """Of a look."""
        return self.looks[number - 1].step if number else 0


def looks_at(settings: GuardSettings, updates: int, step: int) -> bool:
    """Whether there is a look after this step of so many."""
    return step % settings.look_every == 0 or step == updates


def steeper(settings: GuardSettings, beta: float) -> float:
    """The price of a nat that is raised from this one."""
    return max(STEEPER * beta, settings.beta)


class Guard:
    """The looks at one stage, and what they come to."""

    def __init__(
        self,
        settings: GuardSettings,
        updates: int,
        draws: tuple[int, Sequence[Text]],
        ledger: Ledger,
        answers: Callable[[int], Rows],
        say: Callable[[str], None],
        state: State,
    ) -> None:
        """Args:
        settings: the recipe's.
        updates: of the whole stage.
        draws: the seed, and the held-out prompts of which some are drawn at each look.
        ledger: where judgements come from.
        answers: lines of samples.jsonl after a step, one a prompt, with the prompt's further `columns`.
        say: tells a person.
        state: to go on from.
        """
        self._settings, self._updates, self._ledger = settings, updates, ledger
        self._seed, self._prompts = draws
        self._answers, self._say = answers, say
        self.state = state

    def looks_at(self, step: int) -> bool:
        """Whether there is a look after this step."""
        return looks_at(self._settings, self._updates, step)

    def decide(self, history: Sequence[Evaluation]) -> Decision:
        """What follows from the answers after the last step that was evaluated."""
        step, state = history[-1].step, self.state
        if not self.looks_at(step):
            return GoOn()
        self._look(step)
        now = len(state.looks)
        state.parent = now
        kl = history[-1].metrics["heldout_kl"]
        turn, is_best = group.broadcast(lambda: self._weighed(kl))  # as the owner rounds, where others do otherwise
        if turn:
            return self._turned(turn)
        if is_best:
            state.best = now
        elif step == self._updates and self.acts:
            return Stop(
                self._tell(f"the judgements rank step {state.step(state.best)} above the last"), keeps_pinned=True
            )
        return GoOn(pin=is_best and self.acts)

    def result(self) -> GuardResult:
        """Of result.json."""
        state = self.state
        kept = state.best if self.acts else len(state.looks)
        return GuardResult(
            guard_judge=self._settings.judge.kind,
            guard_labels=state.labels,
            guard_votes=group.broadcast(lambda: self._ledger.votes) or None,
            guard_looks=len(state.looks),
            guard_rollbacks=state.turns,
            guard_kept_step=state.step(kept),
            guard_story=list(state.story),
            guard_strengths=self._strengths(),
        )

    def _strengths(self) -> list[GuardLook]:
        means, covariance = smoothed_strengths(*self._compared())
        strengths, halves = means.tolist(), (HALF_WIDTH * covariance.diagonal().sqrt()).tolist()
        return [
            GuardLook(
                step=look.step,
                since=self.state.step(look.parent),
                judgements=len(look.outcomes),
                won=sum(look.outcomes),
                strength=strength,
                strength_ci95=(strength - half, strength + half),
            )
            for look, strength, half in zip(self.state.looks, strengths[1:], halves[1:], strict=True)
        ]

    @property
    def acts(self) -> bool:
        """Whether the stage may end with another step than its last, and so has to keep the best."""
        return self._settings.mode in ("stop", "rollback")

    def _look(self, step: int) -> None:
        state = self.state
        looks_left = sum(map(self.looks_at, range(step, self._updates + 1)))
        wanted = max(self._settings.labels - state.labels, 0) // looks_left
        number = len(state.looks) + 1
        newer, older = self._answers(step), self._answers(state.step(state.best))
        known = {name for look in state.looks for name in look.asked}
        questions = questions_about(self._prompts, newer, older, (self._seed, number), known)[:wanted]
        judged = self._ledger.outcomes(number, questions)
        state.looks.append(Look(step, state.parent, state.best, [*judged], [*judged.values()], state.turns))

    def _weighed(self, kl: float) -> tuple[str, bool]:
        """In what training has taken a turn, empty where it has not, and whether the last look is ranked highest."""
        now, best = len(self.state.looks), self.state.best
        strengths, covariance = smoothed_strengths(*self._compared())
        answers, far = f"judges find the answers of step {self.state.step(now)}", self._is_far(kl)
        turn = ""
        if self._is_proved() or (far and chance_of_weaker(strengths, covariance, now, best) >= SUSPICION):
            turn = f"{answers} worse than those of step {self.state.step(best)}"
        elif far and strengths[now] <= 0:
            turn = f"{answers} no better than the first ones, at a KL of {kl:.1f} nats"
        return turn, bool(strengths[now] >= strengths[best])

    def _contests(self) -> list[Sequence[float]]:
        """The outcomes since training last went back, against each best step in turn."""
        contests: dict[int, list[float]] = {}
        for look in self.state.looks:
            if look.turn == self.state.turns:
                contests.setdefault(look.against, []).extend(look.outcomes)
        return list(contests.values())

    def _compared(self) -> tuple[list[tuple[int, float]], list[Compared]]:
        looks = self.state.looks
        steps = [(look.parent, WALK * max(look.step - self.state.step(look.parent), 1) ** 0.5) for look in looks]
        compared = [
            Compared(number, look.against, sum(look.outcomes), len(look.outcomes))
            for number, look in enumerate(looks, start=1)
        ]
        return steps, compared

    def _is_proved(self) -> bool:
        """Whether the judgements prove that training made the policy worse."""
        return evidence_of_loss(self._contests()) >= (1 + self._settings.rollbacks) / FALSE_TURNS

    def _is_far(self, kl: float) -> bool:
        """Whether the policy is where harm costs most, and may go back on less than a proof."""
        goes_back = self._settings.mode == "rollback" and self.state.turns < self._settings.rollbacks
        return goes_back and kl > self._settings.alarm_kl

    def _turned(self, found: str) -> Decision:
        """What follows once training has taken a turn, which was found in something."""
        state, settings = self.state, self._settings
        if settings.mode == "warn":
            if not state.warned:
                self._tell(found)
            state.warned = True
            return GoOn()
        if settings.mode == "stop" or state.turns == settings.rollbacks:
            return Stop(self._tell(found), keeps_pinned=True)
        state.turns, state.parent = state.turns + 1, state.best
        state.beta = steeper(settings, state.beta)
        onward = f"on from step {state.step(state.best)} at beta {state.beta:g}"
        return RollBack(self._tell(f"{found}; {onward}"), state.beta)

    def _tell(self, what: str) -> str:
        self.state.story.append(what)
        self._say(what)
        return what
