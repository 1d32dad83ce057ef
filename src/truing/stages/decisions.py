"""What is decided of an evaluation, and what becomes of it: the step that is kept, the price of a nat, the end."""

from dataclasses import replace

from truing.evaluation.decision import Decide, GoOn, RollBack, Stop
from truing.evaluation.heldout import HeldoutEvaluator
from truing.rollout.ahead import Rollouts
from truing.stages.kl_control import KlController
from truing.training.journal import Journal


def decided(
    decide: Decide, controller: KlController, journal: Journal, evaluator: HeldoutEvaluator, rollouts: Rollouts
) -> tuple[KlController, Stop | None]:
    """Decides once a step was evaluated: the controller from here on, and how training ends, if it does.

    A run that is taken up decides again: it may have ended after the evaluation and before what was decided was done.
    """
    if journal.step == 0 or journal.step not in evaluator.rows:
        return controller, None
    decision = decide(evaluator.history)
    if isinstance(decision, RollBack):
        journal.roll_back(decision.reason)
        evaluator.forget_after(journal.step)
        rollouts.take_up(journal.step, journal.tensors)
        controller = replace(controller, beta=decision.beta)
    if isinstance(decision, GoOn):
        if decision.pin:
            journal.pin()
        if decision.beta is not None:
            controller = replace(controller, beta=decision.beta)
    return controller, decision if isinstance(decision, Stop) else None
