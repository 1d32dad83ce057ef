"""The report card of a reward, as a person is shown it."""

import json
from pathlib import Path

import tiny
from cli.conftest import Command


def test_the_card_is_printed_and_written(tmp_path: Path, truing: Command) -> None:
    rule = tmp_path / "rule.py"
    rule.write_text("def score(prompts, responses):\n    return [float(len(text)) for text in responses]\n")
    pairs = [{"prompt": f"what {i}?", "chosen": f"it ran {i}. far", "rejected": "no"} for i in range(30)]
    rows = tiny.write_rows(tmp_path / "pairs.jsonl", pairs)
    said = truing("judge", f"{rule}:score", rows, "--out", tmp_path / "card.json")
    assert said.code == 0
    assert "A polite phrase buys nothing" in said.out
    assert "longer-wins: Who is beaten by a ruler" in said.out
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["verdict"], card["heldout_pairs"]) == ("fail", 30)
    assert [check["name"] for check in card["checks"]][:2] == ["accuracy", "longer-wins"]
