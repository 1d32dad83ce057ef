"""A run that was loaded gives its numbers as tables, its models as the library's, and its figures as pictures."""

import json
import re
import sys
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import tiny
import torch
from report.example_run import write_run
from transformers import AutoModelForCausalLM, AutoTokenizer

import truing
from truing.core.errors import DataError, InputError, RunError
from truing.notebook.figures import Figures
from truing.notebook.loaded import Run
from truing.pipeline.execute import run_pipeline
from truing.runs.directory import RunDirectory
from truing.runs.progress import SilentProgress
from truing.score import score_file


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("loaded")
    run_pipeline(tiny.recipe(place, **{"ppo.updates": 1}), place / "run", SilentProgress())
    loaded: Run = truing.load(place / "run")
    return loaded


@pytest.fixture
def example(tmp_path: Path) -> Run:
    """One without models."""
    loaded: Run = truing.load(str(write_run(tmp_path / "run", prompts=["<b>a</b>"], judge="taste")))
    return loaded


class Tags(HTMLParser):
    """The tags of a page, each with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_metrics_and_samples_are_the_lines_of_the_files(example: Run) -> None:
    lines = [json.loads(line) for line in (example.root / "ppo" / "metrics.jsonl").read_text().splitlines()]
    metrics = example.metrics[example.metrics.stage == "ppo"]
    assert metrics.score.dropna().tolist() == [line["score"] for line in lines if line.get("score") is not None]
    assert metrics.step.tolist() == [line["step"] for line in lines]
    assert [row for row in example.rows if row["stage"] == "ppo"] == [{"stage": "ppo"} | line for line in lines]
    assert {*example.samples.stage} == {"ppo", "ppo-no-kl"}
    assert {*example.samples.prompt} == {"<b>a</b>"}
    assert example.results["reward"] == json.loads((example.root / "reward" / "result.json").read_text())
    assert example.stages == dict.fromkeys(("sft", "reward", "ppo", "ppo-no-kl"), "done")


def test_without_pandas_a_table_says_what_there_is_instead(example: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pip install pandas.*\.rows") as missing:
        _ = example.metrics
    assert missing.value.code == "input/no-pandas"
    assert example.rows


def test_the_policy_is_the_librarys_and_answers_as_truing_sample_does(run: Run) -> None:
    plain = AutoModelForCausalLM.from_pretrained(run.root / "ppo" / "model").eval()
    words = AutoTokenizer.from_pretrained(run.root / "ppo" / "model")
    ids = torch.tensor([words.encode("ab?")])
    with torch.no_grad():
        assert torch.allclose(run.policy.model(ids).logits, plain(ids).logits, atol=1e-5)
    assert repr(run.policy) == f"Policy('{run.root / 'ppo' / 'model'}')"
    assert run.policy.tokenizer.encode("ab?") == words.encode("ab?")
    answers = run.policy.answers(["ab?", "c?"], tokens=4, seed=3)
    assert answers == run.policy.answers(["ab?", "c?"], tokens=4, seed=3)
    assert answers != run.policy.answers(["ab?", "c?"], tokens=4, seed=4)
    longest = run.policy.loaded.recipe.rollout.max_new_tokens
    assert run.policy.answers(["ab?"]) == run.policy.answers(["ab?"], tokens=longest, temperature=1.0)
    assert run.policy_of("sft").loaded.place == str(run.root / "sft" / "model")
    with pytest.raises(RunError, check=lambda error: error.code == "run/no-such-policy"):
        run.policy_of("reward")


def test_a_prompt_that_leaves_no_room_is_refused(run: Run) -> None:
    with pytest.raises(DataError, check=lambda error: error.where == "prompts[1]"):
        run.policy.answers(["a?", "e" * 60], tokens=8)


@pytest.mark.parametrize(
    ("prompts", "code", "told"),
    [
        ("one prompt", "data/one-text", r"`prompts` is one text.*prompts=\[text\]"),
        (["a?", ""], "data/empty-text", r"^prompts\[1\]: `prompt` is empty"),
        (["a?", " \n"], "data/blank-text", r"^prompts\[1\]: `prompt` has nothing but white space"),
        ([{"role": "user", "content": "a?"}], "data/not-text", r"`prompts\[0\]` is an object"),
    ],
)
def test_prompts_that_no_answer_can_follow_are_refused(run: Run, prompts: Any, code: str, told: str) -> None:
    with pytest.raises(DataError, match=told, check=lambda error: error.code == code):
        run.policy.answers(prompts, tokens=2)


def test_the_reward_takes_no_text_for_a_list_of_texts(run: Run) -> None:
    for prompts, responses in (("ab", ["a", "b"]), (["a?", "b?"], "ab")):
        with pytest.raises(DataError, check=lambda error: error.code == "data/one-text"):
            run.reward.score(prompts, responses)


def test_the_reward_is_that_of_truing_score(run: Run, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl", [{"prompt": "how?", "completion": text} for text in ("aa", "zzy")])
    expected = [score for _, score in score_file(RunDirectory(run.root), rows)]
    assert run.reward.score(["how?", "how?"], ["aa", "zzy"]) == pytest.approx(expected, abs=1e-6)
    turns = [{"role": "user", "content": "how?"}]
    assert len(run.reward.score([turns], ["aa"])) == 1
    assert repr(run.reward) == f"Reward('{run.root / 'reward'}')"


def test_figures_are_whole_pictures_without_scripts_or_addresses(example: Run, tmp_path: Path) -> None:
    assert isinstance(example.figures, Figures)
    assert len(example.figures) > 5
    for figure in example.figures:
        drawing = ElementTree.fromstring(figure.svg)
        assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
        used = set(re.findall(r"var\(--([\w-]+)\)", figure.svg))
        assert used <= set(re.findall(r"--([\w-]+):", figure.svg))
        assert not {"script", "a", "image", "foreignObject"} & {tag.tag.partition("}")[2] for tag in drawing.iter()}
    score = example.figures.named("Score")
    score.save(tmp_path / "score.svg")
    assert (tmp_path / "score.svg").read_text(encoding="utf-8") == score.svg
    with pytest.raises(KeyError, match="'Score'"):
        example.figures.named("Taste")
    assert [figure.title for figure in example.figures[:2]] == [one.title for one in list(example.figures)[:2]]


def test_a_notebook_shows_verdict_stages_and_figures_and_no_markup_of_others(example: Run) -> None:
    page = example._repr_html_()
    tags = Tags(page).found
    pictures = [attributes["src"] or "" for tag, attributes in tags if tag == "img"]
    assert pictures
    for source in pictures:
        kind, _, content = source.partition(",")
        assert kind == "data:image/svg+xml;base64"
        ElementTree.fromstring(b64decode(content))
    assert not {"script", "link", "style", "b>a"} & {tag for tag, _ in tags}
    for stage in example.stages:
        assert f"<td>{stage}</td>" in page
    assert "The reward rose" in page
    legend, _, _ = example.figures[0]._repr_html_().partition("<figure")
    assert [text.strip(" ·\n") for text in re.split(r"<[^>]*>", legend) if text.strip(" ·\n")] == list(
        example.figures[0].labels
    )
    assert [label.partition(",")[0] for label in example.figures[0].labels] == ["ppo", "ppo-no-kl"]


def test_a_run_that_is_none_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(RunError, check=lambda error: error.code == "run/no-run"):
        truing.load(tmp_path)
