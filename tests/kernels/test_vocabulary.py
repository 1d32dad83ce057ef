"""How many positions have logits at once."""

import torch

from truing.kernels.vocabulary import Positions


def test_a_device_takes_as_many_positions_as_their_logits_leave_room_for() -> None:
    assert Positions.of(torch.device("cpu"), 152_064) == Positions(64, 8)
    assert Positions.of(torch.device("cpu"), 2**14) == Positions(64, 32)
    assert Positions.of(torch.device("cpu"), 200) == Positions(64, 64)
    assert Positions.of(torch.device("cpu"), 0) == Positions(64, 64)  # of a stage before the last
    assert Positions.of(torch.device("cuda", 0), 2**16) == Positions(2**10, 2**10)
    assert Positions.of(torch.device("cuda", 0), 2**26) == Positions(64, 64)
