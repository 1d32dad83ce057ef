import pytest

from truing.report.wording import (
    arrow,
    clipped,
    difference,
    duration,
    interval,
    listed,
    moment,
    nats,
    number,
    numbers,
    setting,
    share,
    whole,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0.00"),
        (-0.0, "0.00"),
        (1234.5, "1,234"),
        (-12.34, "−12.3"),
        (0.854, "0.85"),
        (0.0123, "0.012"),
        (0.00999, "0.0100"),
        (1.2e-5, "1.2 × 10⁻⁵"),
        (-3.4e7, "−3.4 × 10⁷"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


def test_numbers_that_are_compared_have_the_same_decimals() -> None:
    assert numbers(-0.043, 0.52) == ["−0.04", "0.52"]
    assert numbers(-1.4e-7, 1.95) == ["0.00", "1.95"]
    assert numbers(0.0, 1e-5) == ["0", "1.0 × 10⁻⁵"]
    assert arrow(16.6, 8.38) == "16.6 → 8.4"
    assert arrow(0.5, 1.0, share) == "50.0% → 100.0%"
    assert interval((-0.27, 0.19)) == "[−0.27, 0.19]"
    assert interval((0.5701, 0.7834), share) == "[57.0%, 78.3%]"
    assert interval(None) == ""
    assert difference(0.57, (0.28, 0.86)) == "+0.57 [0.28, 0.86]"
    assert difference(-0.5, (-1.0, 0.0)) == "−0.50 [−1.00, 0.00]"


def test_units_have_their_own_form() -> None:
    assert [nats(None), nats(-1e-7), nats(-1.234), nats(27.9)] == ["–", "0.00", "−1.23", "27.90"]
    assert [setting(None), setting(0.1), setting(0.0), setting(0.073419)] == ["–", "0.1", "0", "0.0734"]
    assert [whole(None), whole(2880.0)] == ["–", "2,880"]
    assert [share(None), share(0.6857), share(-0.00001)] == ["–", "68.6%", "0.0%"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (3.21, "3.2 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (134, "2 min 14 s"), (4500, "1 h 15 min")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_moments_are_told_to_the_minute() -> None:
    assert moment("2026-01-31T12:00:59+00:00") == "2026-01-31 12:00 UTC"
    assert moment("") == ""
    assert moment("yesterday") == "yesterday"


def test_lists_and_cuts() -> None:
    assert [listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert [clipped("abc", 3), clipped("abcd", 3)] == ["abc", "abc … 1 more characters"]
