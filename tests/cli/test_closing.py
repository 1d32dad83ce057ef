"""What a run says when it is done."""

from truing.cli.closing import WORDS


def test_a_kl_that_rounds_to_nothing_has_no_sign() -> None:
    assert WORDS["ppo"]({"beta": 0.1, "judges": {}, "heldout_kl_last": -0.01}) == "β 0.1: KL 0.0 nats"
    assert WORDS["ppo"]({"beta": 0.1, "judges": {}, "heldout_kl_last": -1.0}) == "β 0.1: KL -1.0 nats"
