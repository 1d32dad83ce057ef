"""What is held when most is held in an optimiser step."""

import tiny

from truing.config.sections import Lora
from truing.doctor.learning import Learner, worst
from truing.doctor.shadow import Shadow
from truing.doctor.tally import Cost


def test_roles_learn_in_turns_and_their_gradients_wait() -> None:
    shadow = Shadow(tiny.model().to("meta"), Lora(), cpu=True)
    policy, critic = (
        Learner(1e9, Cost(kept=5e9, burst=1e9), [], "full", 1),
        Learner(2e9, Cost(kept=4.5e9), [], "full", 1),
    )
    assert worst([policy, critic], False, shadow) == (0, 6e9)
    assert worst([policy, critic], True, shadow) == (3e9, 4.5e9)
    small = [Learner(weights, Cost(kept=1e6), [], "full", layers=1) for weights in (1e9, 2e9)]
    assert worst(small, False, shadow) == (3e9, 2 * shadow.largest)
