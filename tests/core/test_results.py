"""Results are flat objects in result.json, and read back as what they were."""

from dataclasses import replace

import pytest

from truing.core.results import (
    CalibrationPoint,
    Change,
    HeldoutResult,
    OfflineResult,
    PairCard,
    RewardResult,
    StageResult,
    read,
    to_json,
)

CARD = PairCard(
    heldout_accuracy=0.6,
    heldout_accuracy_ci95=(0.5, 0.7),
    heldout_pairs=10,
    heldout_loss=0.69,
    longer_wins_accuracy=0.5,
    longer_wins_ci95=(0.4, 0.6),
    ece=0.1,
    calibration=[CalibrationPoint(0.6, 0.5, (0.3, 0.7), 10)],
    score_gap_mean=0.2,
    reward_length_correlation=None,
)
ROSE = Change(0.0, 1.0, (-0.1, 0.1), (0.9, 1.1), 1.0, (0.8, 1.2))
HELDOUT = HeldoutResult(
    heldout_prompts=4, heldout_kl=ROSE, judges={"gold": ROSE}, heldout_dropped=0, heldout_score=ROSE
)
REWARD = RewardResult(
    card=CARD, steps=3, train_pairs=90, score_mean=0.1, score_std=2.0, truncation="90 of 90 rows kept.", notes=[]
)
DPO = OfflineResult(
    card=CARD,
    heldout=HELDOUT,
    kl_last=0.5,
    length_first=9.0,
    length_last=8.0,
    eos_rate_last=1.0,
    warnings=["something"],
    steps=3,
    train_pairs=90,
    beta=0.1,
    variant="sigmoid",
    chosen_logprob=ROSE,
    truncation="",
    notes=[],
)


def test_parts_lie_flat_and_changes_have_the_name_of_their_field() -> None:
    row = to_json(DPO)
    assert list(row)[:3] == ["heldout_accuracy", "heldout_accuracy_ci95", "heldout_pairs"]
    assert row["reward_length_correlation"] is None
    assert row["calibration"] == [{"confidence": 0.6, "accuracy": 0.5, "accuracy_ci95": (0.3, 0.7), "count": 10}]
    assert (row["heldout_score_first"], row["heldout_score_change_ci95"]) == (0.0, (0.8, 1.2))
    assert list(row["judges"]["gold"]) == ["first", "last", "first_ci95", "last_ci95", "change", "change_ci95"]
    assert not {"card", "heldout", "heldout_score"} & row.keys()


def test_a_score_that_nothing_gave_is_not_there() -> None:
    row = to_json(replace(DPO, heldout=replace(HELDOUT, heldout_score=None)))
    assert [name for name in row if name.startswith("heldout_score")] == []


@pytest.mark.parametrize("result", [REWARD, DPO, CARD])
def test_what_was_written_reads_back_as_it_was(result: RewardResult | OfflineResult | PairCard) -> None:
    back = read(type(result), to_json(result))
    assert back == result
    assert repr(back) == repr(result)  # 3 has not become 3.0


def test_what_is_missing_or_of_another_type_is_none() -> None:
    result = read(StageResult, {"heldout_accuracy": 0.7, "judges": {"gold": {"first": 1.0}}, "notes": "text"})
    assert result.card.heldout_accuracy == 0.7
    assert [result.card.ece, result.heldout.judges, result.heldout.heldout_score, result.notes] == [None] * 4


@pytest.mark.parametrize(
    ("ends", "direction", "noise"),
    [((0.1, 0.5), "rose", 0.2), ((-0.5, -0.1), "fell", 0.2), ((-0.1, 0.1), "level", 0.1), (None, "unknown", 0.0)],
)
def test_a_change_has_a_direction_where_its_interval_leaves_out_zero(
    ends: tuple[float, float] | None, direction: str, noise: float
) -> None:
    change = Change(0.0, 1.0, change_ci95=ends)
    assert change.direction == direction
    assert change.noise == pytest.approx(noise)
