"""Libraries are left out of collections of garbage."""

import pytest

from truing.core import garbage
from truing.core.garbage import keep_libraries, libraries_kept


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the collector, of which nobody has asked anything yet."""
    calls: list[str] = []
    monkeypatch.setattr(garbage, "_kept", False)
    monkeypatch.setattr(garbage.gc, "get_freeze_count", lambda: 0)
    for name in ("freeze", "unfreeze"):
        monkeypatch.setattr(garbage.gc, name, lambda name=name: calls.append(name))
    return calls


def test_libraries_are_left_out_of_collections_inside(calls: list[str]) -> None:
    for _ in range(2):
        with libraries_kept():
            with libraries_kept():
                assert calls == ["freeze"]
            assert calls == ["freeze"]
        assert calls == ["freeze", "unfreeze"]
        calls.clear()


def test_what_is_kept_for_good_stays_so(calls: list[str]) -> None:
    keep_libraries()
    with libraries_kept():
        pass
    assert calls == ["freeze"]


def test_what_others_have_frozen_stays_so(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage.gc, "get_freeze_count", lambda: 5)
    with libraries_kept():
        pass
    assert calls == []
