"""Seconds are those of the blocks, all together, and of nothing between them."""

import pytest

from truing.training import timing


def test_blocks_are_summed_also_where_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 11.0, 12.0, 100.0, 100.5])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(now))
    watch = timing.Stopwatch()
    watch.add(30.0)
    with watch:
        assert watch.seconds == 31.0
    with pytest.raises(KeyError), watch:
        raise KeyError
    assert watch.seconds == 32.5
