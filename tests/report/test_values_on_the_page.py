"""What the page says is what the files say."""

import json
from pathlib import Path
from typing import Any

import pytest
from report.example_run import CARD, UPDATES, evaluations, gold, kl, score, write_json, write_run
from report.reading import Page, report

from truing.core.metrics import GLOSSARY

HACKED = {"ppo": False, "ppo-no-kl": True, "dpo": False}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", ("sft", "reward", *HACKED))


@pytest.fixture(scope="module")
def page(root: Path) -> Page:
    return report(root)


def minus(text: str) -> str:
    return text.replace("-", "−")


def result(root: Path, stage: str) -> dict[str, Any]:
    return json.loads((root / stage / "result.json").read_text())


def changed(metrics: dict[str, Any], prefix: str = "") -> str:
    """A change as the comparison tells it, to two decimals."""
    first, last, change = (metrics[f"{prefix}{key}"] for key in ("first", "last", "change"))
    bounds = ["[{:.2f}, {:.2f}]".format(*metrics[f"{prefix}{key}_ci95"]) for key in ("first", "last", "change")]
    return minus(f"{first:.2f} → {last:.2f} {bounds[0]} → {bounds[1]} change {change:+.2f} {bounds[2]}")


def test_variants_stand_side_by_side_with_score_and_judge(root: Path, page: Page) -> None:
    rows = page.tables["policy"]
    assert rows[""] == ["ppo, β = 0.1", "ppo-no-kl, β = 0", "dpo, β = 0.1"]
    assert rows["Score, SFT deviations"] == [changed(result(root, name), "heldout_score_") for name in HACKED]
    assert rows["Judge: gold"] == [changed(result(root, name)["judges"]["gold"]) for name in HACKED]
    assert rows["KL to the reference, nats a sequence"] == [f"0.00 → {kl(UPDATES, h):.2f}" for h in HACKED.values()]
    assert rows["Length, tokens"] == ["16.0 → 10.0"] * 3
    assert rows["EOS rate, % of responses"] == ["95.0% → 95.0%"] * 3
    assert rows["Entropy, nats a token"] == ["1.68 → 1.30", "1.68 → 1.30", "–"]
    assert rows["Ratio check"] == ["3.2 × 10⁻⁶", "3.2 × 10⁻⁶", "–"]
    assert rows["Updates"] == ["20"] * 3


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("Score, SFT deviations", score),
        ("Judge: gold, judge&#39;s scale", gold),
        ("KL to the reference, nats a sequence", kl),
    ],
)
def test_curves_pass_through_the_values(page: Page, label: str, value: Any) -> None:
    for series, hacked in enumerate(HACKED.values()):
        drawn = page.curve(label, series)
        assert [step for step, _ in drawn] == pytest.approx(evaluations(), abs=0.05)
        expected = [value(step, hacked) for step in evaluations()]
        assert [height for _, height in drawn] == pytest.approx(
            expected, abs=0.005 * (max(expected) - min(expected) + 3)
        )


def test_the_reward_model_has_its_interval_its_calibration_and_its_baseline(page: Page) -> None:
    rows = page.tables["reward"]
    assert rows["Accuracy"] == [
        "68.6% [57.0%, 78.3%]",
        "Share of the 70 held-out pairs whose preferred side scores higher; ties count half. "
        "The interval lies above chance (50%) and 'longer wins'.",
    ]
    assert rows["Longer wins"][0] == "47.9% [36.6%, 59.4%]"
    assert rows["Calibration error"][0] == "4.1%"
    assert rows["Pair loss"][0] == "0.60"
    assert rows["Score gap"][0] == "0.61"
    assert rows["Score-length correlation"][0] == "−0.18"
    assert rows["Score mean and deviation"][0] == "0.31 ± 0.92"
    assert "Calibration" in page.drawing("Calibration")


@pytest.mark.parametrize(
    ("ci95", "told"),
    [
        ([0.49, 0.7], " It is not clear of 'longer wins'."),
        ([0.45, 0.7], " It is not clear of chance (50%) and 'longer wins'."),
    ],
)
def test_an_accuracy_that_is_not_clear_of_its_rivals_says_so(tmp_path: Path, ci95: list[float], told: str) -> None:
    root = write_run(tmp_path / "run", ("reward",))
    longer = {"longer_wins_accuracy": 0.58, "longer_wins_ci95": [0.46, 0.69]}
    low = ci95[0] + 0.02 if told.count("chance") == 0 else ci95[0]
    write_json(root / "reward" / "result.json", CARD | longer | {"heldout_accuracy_ci95": [low, ci95[1]]})
    assert report(root).tables["reward"]["Accuracy"][1].endswith(told)


def test_fine_tuning_tells_its_loss(page: Page) -> None:
    assert page.tables["sft"]["Loss, nats a token"][0] == "5.21 → 1.55"
    assert page.tables["sft"]["Perplexity"][0] == "4.70"


def test_a_loss_is_drawn_as_what_it_is_in_its_stage(page: Page) -> None:
    labels = [attributes.get("aria-label") for name, attributes in page.tags if name == "svg"]
    assert [labels.count(loss) for loss in ("Loss, nats a token", "Pair loss, nats a pair", "DPO loss")] == [1, 1, 1]


def test_stages_tell_their_outcome(page: Page) -> None:
    told = {name: cells[-1] for name, cells in page.tables["stages"].items()}
    assert told["sft"] == "Held-out loss 5.21 → 1.55 nats a token. 5,400 of 5,400 rows kept."
    assert (
        told["reward"] == "68.6% of 70 held-out pairs right [57.0%, 78.3%]; 'longer wins' 47.9%. 630 of 630 rows kept."
    )
    ends = f"Score 0.02 → {score(20, False):.2f}; gold 0.05 → {gold(20, False):.2f}; KL {kl(20, False):.2f} nats."
    assert told["ppo"] == ends
    assert (
        told["dpo"]
        == f"68.6% of 70 held-out pairs right [57.0%, 78.3%]; 'longer wins' 47.9%. {ends} 630 of 630 rows kept."
    )


def test_every_metric_on_the_page_is_defined_in_the_glossary(page: Page) -> None:
    defined = {metric.title for metric in GLOSSARY} | {metric.heading for metric in GLOSSARY}
    assert all(title in page.text("glossary") for title in defined)
    shown = {row for section in ("sft", "reward", "dpo", "policy") for row in page.tables[section]} - {""}
    drawn = {attributes["aria-label"] for name, attributes in page.tags if name == "svg" and "aria-label" in attributes}
    named = {"Held-out accuracy", "Calibration"}  # drawings of rows that are in a table
    assert {name for name in (shown | drawn) - named if not name.startswith("Judge: ")} <= defined
