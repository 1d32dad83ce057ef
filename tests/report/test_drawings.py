import re
from typing import Any

import pytest
from markupsafe import Markup

from truing.core.metrics import SHARE, Metric
from truing.core.results import CalibrationPoint, GuardLook
from truing.report.drawings import (
    Line,
    Strengths,
    accuracy_chart,
    calibration_chart,
    line_chart,
    strength_chart,
    thinned,
)


def metric(title: str = "Loss", unit: str = "", **bounds: Any) -> Metric:
    return Metric("any", title, unit, "", **bounds)


def texts(drawing: Markup) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawing)


def test_axes_are_labelled_with_their_units() -> None:
    drawing = line_chart("a", metric("Loss", "nats a token"), [Line([0, 10], [1.0, 2.0])], "step")
    assert {"nats a token", "step", "0", "3"} <= set(texts(drawing))


def test_ticks_keep_their_decimals() -> None:
    drawing = line_chart("a", metric("approx KL", "nats"), [Line([0, 1], [0.0, 0.006])])
    assert {"0.002", "0.004", "0.006"} <= set(texts(drawing))


def test_per_cent_are_written_short_and_end_at_a_hundred() -> None:
    drawing = line_chart("a", metric("Share", "%", bounds=SHARE), [Line([0, 1], [1.0, 1.0])])
    ticks = [float(text.rstrip("%")) for text in texts(drawing) if text.endswith("%") and text != "%"]
    assert ticks
    assert max(ticks) <= 100


@pytest.mark.parametrize("sign", [1, -1])
def test_an_axis_shows_zero_where_its_metric_asks_for_it(sign: int) -> None:
    ends = (sign * 39.0, sign * 47.0)
    lines = [Line([5, 10], [sign * 40.0, sign * 43.0], 0, False, ends, ends)]
    assert texts(line_chart("a", metric(), lines)).count("0") == 1, "the first step"
    assert texts(line_chart("a", metric(zero=True), lines)).count("0") == 2


def test_a_single_point_can_be_drawn() -> None:
    drawing = line_chart("a", metric(), [Line([0], [3.0])])
    assert "var(--series-0)" in drawing


def test_charts_on_one_page_share_no_id() -> None:
    lines = [Line([0, 1], [1.0, 2.0])]
    first, second = (line_chart(name, metric(), lines) for name in ("first", "second"))
    ids = [set(re.findall(r' id="([^"]+)"', drawing)) for drawing in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_colours_and_fonts_are_left_to_the_page() -> None:
    drawing = accuracy_chart("a", "Accuracy", [("Reward model", 0.7, (0.6, 0.8)), ("Longer wins", 0.5, None)])
    assert not re.findall(r"#[0-9a-f]{6}", drawing)
    assert "font-family" not in drawing
    assert {"Reward model", "Longer wins", "held-out pairs ranked as people did"} <= set(texts(drawing))


def test_calibration_shows_every_bin_with_its_interval() -> None:
    bins = [CalibrationPoint(0.55, 0.5, (0.35, 0.65), 30), CalibrationPoint(0.95, 0.9, None, 5)]
    drawing = calibration_chart("a", "Calibration", bins)
    assert len(re.findall(r"stroke: var\(--series-0\); stroke-width: 0.9", drawing)) == 1
    assert len(re.findall(r"<use [^>]*fill: var\(--series-0\)", drawing)) == 2
    assert {"how sure the model was", "how often it was right"} <= set(texts(drawing))


def test_a_long_curve_is_thinned_to_means_of_neighbours() -> None:
    assert thinned([1.0, 3.0, 5.0, 7.0, 9.0], most=3) == [2.0, 6.0, 9.0]
    assert thinned([], most=3) == []
    assert len(thinned([0.0] * 100_001)) <= 400


def test_no_text_reaches_the_page_unescaped() -> None:
    assert 'aria-label="&lt;b&gt;⟨U+202E⟩&#34;"' in line_chart("a", metric('<b>\u202e"'), [Line([0], [1.0])])


@pytest.mark.parametrize("count", [1, 7])
def test_more_variants_than_colours_still_differ_from_their_neighbours(count: int) -> None:
    lines = [Line([0, 1], [1.0, 2.0], series) for series in range(count)]
    assert line_chart("a", metric(), lines).count("stroke-width: 1.5") == count


def test_strengths_have_a_band_a_branch_where_training_went_back_and_a_circle_round_what_is_kept() -> None:
    looks = [
        GuardLook(step, since, 8, 4.0, strength, (strength - 1, strength + 1))
        for step, since, strength in ((3, 0, 0.5), (6, 3, 1.0), (9, 6, -1.0), (9, 6, 1.5))
    ]
    guard = Strengths(1, looks, kept=9)
    assert [[(look.step, look.strength) for look in chain] for chain in guard.chains] == [
        [(0, 0.0), (3, 0.5), (6, 1.0), (9, -1.0)],
        [(6, 1.0), (9, 1.5)],
    ]
    drawing = strength_chart("a", "Strength", [guard])
    assert drawing.count("fill: var(--series-1); fill-opacity: 0.15") == 2
    assert drawing.count("stroke-width: 1.2") >= 1
    assert {"wins against the start", "update"} <= set(texts(drawing))
