import base64
import hashlib
import html
import json
import re
from pathlib import Path

import pytest
from report.example_run import PROMPTS, write_json, write_lines, write_record, write_run
from report.reading import Page, report

from truing.core.errors import RunError
from truing.report import write_report

HOSTILE = (
    "<script>alert(1)</script> \"><img src=x onerror='x'> ' {{ 7*7 }} {% raw %} &lt; "
    "\u202egnp\u202c \x00 </svg> $\\alpha$"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def page(root: Path) -> Page:
    return report(root)


def test_the_page_asks_for_nothing_outside_itself(page: Page) -> None:
    assert not {name for name, _ in page.tags} & {"link", "img", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.tags:
        assert not {"src", "srcset", "action", "ping"} & attributes.keys(), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        links = [value for name, value in attributes.items() if name in ("href", "xlink:href")]
        assert all(link.startswith("#") for link in links), tag
    assert not re.findall(r"https?:|@import|url\((?!#)", page.html)


def test_a_policy_in_the_page_forbids_fetches_and_all_scripts_but_the_one_that_it_has(page: Page) -> None:
    (policy,) = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", page.html, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    asked = ["default-src 'none'", "style-src 'unsafe-inline'", f"script-src 'sha256-{allowed}'"]
    assert policy.split("; ")[:3] == asked
    assert page.html.count("<script") == 1
    assert not re.findall(r"innerHTML|insertAdjacentHTML|document\.write|eval|Function\(|import|fetch", script)


def test_every_link_in_the_page_leads_somewhere_and_ids_are_unique(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {value[1:] for _, a in page.tags for name, value in a.items() if name in ("href", "xlink:href")}
    clips = set(re.findall(r"url\(#([^)]+)\)", page.html))
    assert links | clips <= set(ids)
    assert {"verdict", "stages", "sft", "reward", "policy", "responses", "lineage", "glossary"} <= links


def test_no_path_of_the_machine_is_on_the_page(root: Path, page: Page) -> None:
    assert str(root) not in page.html
    assert "world/base" in page.text("lineage")
    assert "ab" * 32 in page.text("lineage")


def test_two_writes_give_the_same_bytes(root: Path, page: Page) -> None:
    assert write_report(root).read_text(encoding="utf-8") == page.html


def test_the_verdict_comes_first_then_its_curves(page: Page) -> None:
    assert [a["id"] for name, a in page.tags if name == "section"] == [
        *("verdict", "stages", "sft", "reward", "policy", "responses", "lineage", "glossary")
    ]
    drawings = [a["aria-label"] for name, a in page.tags if name == "svg" and "aria-label" in a]
    assert drawings[:3] == [
        "Score, SFT deviations",
        "Judge: gold, judge's scale",
        "KL to the reference, nats a sequence",
    ]


def test_warnings_are_counted_in_the_verdict_and_told_below_the_curves(page: Page) -> None:
    told = "Warnings · ppo-no-kl, β = 0 Responses shrank from 16.0 to 7.9 tokens on average."
    assert page.text("verdict").count("1 warning below.") == 1
    assert page.text("verdict").endswith(told)


def test_the_summary_says_what_was_learnt_from_what(page: Page) -> None:
    assert (
        "Supervised fine-tuning from 5,400 demonstrations, reward model from 630 preference pairs, "
        "PPO (ppo, β = 0.1) and PPO (ppo-no-kl, β = 0)." in page.text("")
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Hostile wherever text comes from data, from people or from the machine."""
    root = tmp_path_factory.mktemp("runs") / "run"
    write_run(root, ("sft", "reward", "ppo"), judge=HOSTILE, prompts=[HOSTILE], responses=(HOSTILE, HOSTILE))
    write_json(root / "recipe.yaml", {"name": HOSTILE, "base": {"path": HOSTILE}})  # JSON is YAML
    write_json(root / "sft" / "result.json", {"notes": [HOSTILE], "truncation": HOSTILE})
    closing = json.loads((root / "ppo" / "result.json").read_text())
    write_json(root / "ppo" / "result.json", closing | {"warnings": [HOSTILE]})
    record = json.loads((root / "run.json").read_text())
    write_json(root / "run.json", record | {"versions": {HOSTILE: HOSTILE}, "threads": HOSTILE})
    return report(root)


@pytest.mark.parametrize(
    ("section", "times"),
    [("", 3), ("verdict", 4), ("stages", 3), ("policy", 1), ("responses", 5), ("lineage", 3)],
)
def test_foreign_text_is_shown_as_it_is(hostile: Page, section: str, times: int) -> None:
    shown = HOSTILE.replace("\u202e", "⟨U+202E⟩").replace("\u202c", "⟨U+202C⟩").replace("\x00", "⟨U+0000⟩")
    assert "".join(hostile.texts[section]).count(shown) == times


def test_foreign_text_does_nothing(hostile: Page, page: Page) -> None:
    assert {name for name, _ in hostile.tags} <= {name for name, _ in page.tags}
    assert {name for _, a in hostile.tags for name in a} <= {name for _, a in page.tags for name in a}
    assert not {"\x00", "\u202e"} & set(hostile.html)


def test_a_text_of_100_kb_is_cut_with_its_size_told(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", ("ppo",), prompts=["p" * 100_000], responses=("before", "a" * 100_000))
    (root / "ppo" / "metrics.jsonl").unlink()
    page = report(root)
    assert "a" * 4000 + " … 96,000 more characters" in page.html
    assert "p" * 4001 not in page.html
    assert len(page.html) < 200_000


def test_a_recipe_that_is_no_yaml_leaves_a_page(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", ("sft",))
    (root / "recipe.yaml").write_bytes(b"\xff: [")
    assert report(root).text("").count(root.name)


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run\.json"):
        write_report(tmp_path)


def test_the_base_model_is_named_without_its_place(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", ("sft",))
    write_json(root / "recipe.yaml", {"name": "own", "base": {"path": "/home/somebody/models/pythia"}})
    page = report(root)
    assert "Base model: pythia." in page.text("")
    assert "somebody" not in page.html


@pytest.mark.parametrize("stages", [("sft",), ("sft", "reward"), ("ppo",), ("sft", "dpo"), ()])
def test_any_choice_of_stages_gives_a_whole_page(tmp_path: Path, stages: tuple[str, ...]) -> None:
    page = report(write_run(tmp_path / "run", stages))
    rows = page.tables["stages"]
    assert {name: cells[0] for name, cells in rows.items() if cells[0] == "done"} == dict.fromkeys(stages, "done")
    assert {name for name, cells in rows.items() if cells == ["not part of this run"]} == {"sft", "reward"} - set(
        stages
    )
    headline = re.findall(r"</span>([^<]*)</h2>", page.html)
    if not {"ppo", "dpo"} & set(stages):
        assert headline == [
            "Nothing was optimised for a reward or by preferences in this run, so there is no policy to judge."
        ]
    assert html.unescape(page.html.split("</title>")[0]).endswith("example · truing report")


def test_a_run_that_has_only_begun_says_what_is_to_come(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", ())
    write_record(root, {"sft": "running", "reward": "pending", "ppo": "pending"})
    page = report(root)
    assert {name: cells[:2] for name, cells in page.tables["stages"].items() if name != "Stage"} == {
        "sft": ["begun, not finished", "–"],
        "reward": ["not begun", "–"],
        "ppo": ["not begun", "–"],
    }
    assert "No verdict yet: ppo left no figures so far." in page.text("verdict")
    assert "not finished" in page.text("")


def test_a_stage_that_failed_half_way_shows_what_it_measured(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    write_record(root, {"sft": "done", "reward": "done", "ppo": "running", "ppo-no-kl": "pending"})
    (root / "ppo" / "result.json").unlink()
    lines = (root / "ppo" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (root / "ppo" / "metrics.jsonl").write_text("".join(lines[:12]) + lines[12][:30])
    for file in (root / "ppo-no-kl").iterdir():
        file.unlink()
    page = report(root)
    assert "Not finished: these are the figures so far." in page.text("verdict")
    assert "11 updates so far." in page.text("verdict")
    assert [step for step, _ in page.curve("KL to the reference, nats a sequence", 0)] == pytest.approx(
        [0, 5, 10], abs=0.1
    )
    assert page.tables["policy"][""] == ["ppo, β = 0.1"]
    assert page.tables["stages"]["ppo-no-kl"][0] == "not begun"


def test_a_stage_of_a_kind_unknown_to_this_version_is_named(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", ("sft",))
    write_record(root, {"sft": "done", "grpo": "done"})
    assert report(root).tables["stages"]["grpo"][0] == "done"


def test_a_result_of_another_version_shows_what_can_be_read(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", ("reward", "ppo"))
    closing = json.loads((root / "ppo" / "result.json").read_text())
    write_json(root / "ppo" / "result.json", {"beta": "low", "judges": closing["judges"] | {"taste": 3}, "new": {}})
    write_json(root / "reward" / "result.json", {"heldout_accuracy": 0.7, "heldout_accuracy_ci95": 0.6})
    page = report(root)
    assert page.tables["reward"]["Accuracy"][0] == "70.0%"
    assert "Longer wins" not in page.tables["reward"]
    assert page.tables["policy"][""] == ["ppo, β = 0.1"]  # from its metrics
    assert page.tables["policy"]["Judge: gold"][0].startswith("0.05 → ")


def test_every_prompt_is_shown_with_its_response_before_and_after(page: Page) -> None:
    text = page.text("responses")
    assert [text.count(prompt) for prompt in PROMPTS] == [1] * len(PROMPTS)
    assert text.count("arrived late . … cut off") == len(PROMPTS)
    assert text.count("is lovely and sturdy .") == 2 * len(PROMPTS)


def test_the_parts_of_a_summed_reward_have_a_curve_and_a_line_each(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", ("ppo",))
    rows = [json.loads(line) for line in (root / "ppo" / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {"part_length": 0.25 * row["step"], "part_rules": -1.0} if "heldout_score" in row else {}
    write_lines(root / "ppo" / "metrics.jsonl", rows)
    page = report(root)
    drawings = [a["aria-label"] for name, a in page.tags if name == "svg" and "aria-label" in a]
    assert [drawn for drawn in drawings if drawn.startswith("Part")] == [
        "Part of the score: length, SFT deviations",
        "Part of the score: rules, SFT deviations",
    ]
    assert page.text("policy").count("Part: length 0.00 → 5.00") == 1
