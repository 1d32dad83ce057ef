"""A model's card has the figures of its result, no markup from data, and says what they do not show."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from truing.core.metrics import SCORE, score_as_given
from truing.core.results import StageResult, read
from truing.core.text import code_span, markdown
from truing.models.model_card import Made, language_model_use, limits_of, write_model_card

HOSTILE = "<script>alert(1)</script> | [x](javascript:y) `code` *b* _i_ &lt; \u202e\n# heading ![i](u)"
CHANGE = {"first": -0.0412, "last": 0.9, "first_ci95": [-0.2, 0.1], "last_ci95": [0.7, 1.1]}
CHANGE |= {"change": 0.9412, "change_ci95": [0.75, 1.13]}
KL = {"heldout_kl_first": -9.9e-8, "heldout_kl_last": 9.0712, "heldout_kl_first_ci95": [-2e-7, 4e-7]}
MADE = Made(
    heading="Policy of the stage ppo",
    how="truing made it.",
    start="`sft/model` of the same run",
    base="`owner/name`",
    hub_base="owner/name",
    rows=["preferences from `pairs.jsonl`"],
    pipeline_tag="text-generation",
    use=language_model_use(in_messages=False, trust_remote_code=False),
)


def card(place: Path, **result: Any) -> str:
    stage = read(StageResult, result)
    write_model_card(place, MADE, stage, limits_of(stage, 0.7, 48))
    return (place / "README.md").read_text(encoding="utf-8")


def test_it_has_the_figures_with_their_intervals(tmp_path: Path) -> None:
    heldout = {f"heldout_score_{key}": value for key, value in CHANGE.items()}
    pairs = {"heldout_accuracy": 0.765, "heldout_accuracy_ci95": [0.702, 0.818], "heldout_pairs": 200, "ece": 0.061}
    text = card(tmp_path, judges={"gold": CHANGE}, heldout_prompts=128, **heldout, **pairs, **KL)
    row = "-0.0412 [-0.2, 0.1] | 0.9 [0.7, 1.1] | +0.941 [0.75, 1.13] |"
    assert f"| Score, SFT deviations | {row}" in text
    assert f"| Judge: gold | {row}" in text
    assert "| on 200 held-out pairs | | 95% interval |" in text
    assert "| Accuracy | 76.5% | [70.2%, 81.8%] |" in text
    assert "drawn at temperature 0.7, of at most 48 tokens, to 128 held-out prompts" in text
    assert "| KL to the reference, nats a sequence | 0 [0, 0] | 9.07 | " in text
    assert "No judge outside of training" not in text
    assert "It began with `sft/model` of the same run. The base model of the run is `owner/name`." in text
    assert text.startswith(
        '---\nlibrary_name: transformers\npipeline_tag: text-generation\nbase_model: "owner/name"\n---\n'
    )


def test_it_says_what_nothing_confirmed_what_was_found_and_where_a_report_card_does_not_pass(tmp_path: Path) -> None:
    check = {
        "name": "cut",
        "title": "Half",
        "verdict": "warn",
        "finding": "It pays.",
        "measures": [],
        "why": "",
        "advice": "",
    }
    text = card(tmp_path, heldout_prompts=4, judges={}, findings=["The policy did not move."], checks=[check])
    assert "- No judge outside of training has confirmed that the score stands for quality.\n" in text
    assert "- The policy did not move.\n" in text
    assert "Of 1 questions of its report card, 0 pass.\n- warn: Half. It pays.\n" in text
    assert "Nothing that is held out." in text


def test_a_score_that_functions_gave_is_in_their_own_unit_and_misses_no_judge(tmp_path: Path) -> None:
    stage = read(
        StageResult, {"heldout_prompts": 4, "judges": {}} | {f"heldout_score_{k}": v for k, v in CHANGE.items()}
    )
    made = replace(MADE, score=score_as_given(SCORE, [False, False]))
    write_model_card(tmp_path, made, stage, limits_of(stage, 0.7, 48, by_functions=True))
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| Score, raw | -0.0412 " in text
    assert "- Functions alone gave the score, and no model: it is worth what they check.\n" in text
    assert "No judge outside of training" not in text


@pytest.mark.parametrize("where", ["judge", "finding", "story"])
def test_nothing_in_it_is_markup_from_data(where: str, tmp_path: Path) -> None:
    told: dict[str, dict[str, Any]] = {
        "judge": {"judges": {HOSTILE: CHANGE}},
        "finding": {"findings": [HOSTILE]},
        "story": {"guard_story": [HOSTILE]},
    }
    text = card(tmp_path, **told[where]).replace(markdown(HOSTILE), "")
    assert not {"alert", "\u202e", "heading"} & set(text.split())
    assert "script" not in text
    assert "\n# heading" not in text


def test_foreign_text_is_text_in_markdown() -> None:
    assert markdown("a_b <i> [l](u) `c` a|b") == r"a\_b \<i\> \[l\](u) \`c\` a\|b"
    assert code_span("a`b|c\n") == "`a⟨U+0060⟩b⟨U+007C⟩c⟨U+000A⟩`"
