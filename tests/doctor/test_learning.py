"""What is held when most is held in an optimiser step."""

import tiny

from truing.doctor.learning import Learner, worst
from truing.doctor.shadow import Shadow
from truing.doctor.tally import Cost
from truing.recipe import Lora


def test_roles_learn_in_turns_and_their_gradients_wait() -> None:
    shadow = Shadow(tiny.model().to("meta"), Lora(), cpu=True)
    none = Cost()
    policy, critic = Learner(1e9, Cost(kept=5e9, burst=1e9), none), Learner(2e9, Cost(kept=4.5e9), none)
    assert worst([policy, critic], False, shadow) == (0, 6e9)
    assert worst([policy, critic], True, shadow) == (3e9, 4.5e9)
    small = Cost(kept=1e6)
    assert worst([Learner(1e9, small, none), Learner(2e9, small, none)], False, shadow) == (3e9, 2 * shadow.largest)
