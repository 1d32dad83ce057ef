"""Models answer a file of prompts before the page opens, once; their answers are what `truing sample` draws."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.core.errors import InputError
from truing.core.records import Sample
from truing.data.datasets import PromptFile
from truing.labelling.collection import AskedModels, Wanted, items_to_ask
from truing.labelling.model_answers import answers_beside
from truing.pipeline.execute import run_pipeline
from truing.results import open_result, open_start
from truing.runs.directory import RunDirectory
from truing.runs.progress import SilentProgress
from truing.sample import Drawn, reward_for, sample_file

PROMPTS = ["ab?", "c?", "de e?"]
HOW: dict[str, Any] = {"tokens": 6, "temperature": 1.0, "seed": 3}


class Notes(SilentProgress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    place = tmp_path_factory.mktemp("asked")
    return run_pipeline(tiny.recipe(place, stages=["sft", "reward"]), place / "run", SilentProgress())


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return tiny.write_rows(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])


def ask(prompts: Path, *models: object, **how: Any) -> list[dict[str, Any]]:
    asking = AskedModels(list(map(str, models)), **(HOW | how))
    file = answers_beside(prompts.with_suffix(".labels.db"), prompts, asking, SilentProgress())
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_run_is_asked_for_its_policy_and_its_start(run: RunDirectory, prompts: Path) -> None:
    sides = [
        [one.response for one in sample_file(model, PromptFile.read(prompts), **HOW)]
        for model in (open_start(run, "sft"), open_result(run, "sft"))
    ]
    expected = [(prompt, [*pair]) for prompt, *pair in zip(PROMPTS, *sides, strict=True) if len(set(pair)) == 2]
    rows = ask(prompts, run.root)
    assert [(row["prompt"], row["answers"]) for row in rows] == expected
    assert {tuple(row["sources"]) for row in rows} == {(f"{run.root}, start", f"{run.root}, sft")}
    items = items_to_ask(Wanted(prompts.with_suffix(".labels.answers.jsonl"), random_share=0.0), "pairs")
    assert [(item.prompt, list(item.answers)) for item in items] == expected


def test_one_model_gives_two_draws(run: RunDirectory, prompts: Path, tmp_path: Path) -> None:
    twice = tiny.write_rows(tmp_path / "twice.jsonl", [{"prompt": prompt} for prompt in PROMPTS for _ in (1, 2)])
    drawn = [one.response for one in sample_file(open_result(run, "sft"), PromptFile.read(twice), **HOW)]
    expected = [pair for pair in zip(drawn[::2], drawn[1::2], strict=True) if len(set(pair)) == 2]
    assert [tuple(row["answers"]) for row in ask(prompts, run.stage("sft").model)] == expected


def test_two_models_give_one_answer_each(run: RunDirectory, prompts: Path) -> None:
    policy, base = open_result(run, "sft"), open_start(run, "sft")
    rows = ask(prompts, run.root, base.place)
    sides = [[one.response for one in sample_file(model, PromptFile.read(prompts), **HOW)] for model in (policy, base)]
    assert [tuple(row["answers"]) for row in rows] == [pair for pair in zip(*sides, strict=True) if len(set(pair)) == 2]
    assert rows[0]["sources"] == [str(run.root), base.place]


def test_the_best_by_the_runs_reward_stands_against_a_draw_of_its_own(run: RunDirectory, tmp_path: Path) -> None:
    prompts = tiny.write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"{letter}?"} for letter in "abcdefghijkl"])
    how = HOW | {"seed": 4}  # at 3, no single draw happens to be the best of all
    rows = ask(prompts, run.root, **how, best_of=3)
    asked, best = PromptFile.read(prompts), reward_for(run, None, 4)
    four = sample_file(open_result(run, "sft"), asked, **how, best_of=4, reward=best)
    scores = {str(one.prompt): one.scores or [] for one in four}
    singles, others = zip(*((scores[row["prompt"]][0], scores[row["prompt"]][1:]) for row in rows), strict=True)
    assert any(single > max(rest) for single, rest in zip(singles, others, strict=True))  # which are not chosen again
    for row, single, rest in zip(rows, singles, others, strict=True):
        assert row["scores"] == pytest.approx([single, max(rest)])
        assert row["sources"] == [f"{run.root}, sft", f"{run.root}, sft, best of 3"]


def test_nobody_is_asked_twice_and_other_answers_are_refused(
    run: RunDirectory, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ask(prompts, run.root)
    monkeypatch.setattr("truing.labelling.model_answers.drawn_answers", None)
    assert ask(prompts, run.root) == rows
    with pytest.raises(InputError) as refused:
        ask(prompts, run.root, seed=4, tokens=5)
    assert refused.value.code == "input/other-answers"
    assert "(tokens, seed)" in str(refused.value)
    prompts.write_text(prompts.read_text() + '{"prompt": "new?"}\n')
    with pytest.raises(InputError, match="prompts"):
        ask(prompts, run.root)


def test_alike_answers_are_counted_and_left_out(run: RunDirectory, prompts: Path) -> None:
    model, said = run.stage("sft").model, Notes()
    labels = prompts.with_suffix(".labels.db")
    with pytest.raises(InputError) as refused:
        answers_beside(labels, prompts, AskedModels([str(model), str(run.root)], **HOW), said)
    assert refused.value.code == "input/alike-answers"
    assert said.notes == ["3 of 3 prompts were answered alike; they are left out."]
    assert not labels.with_suffix(".answers.jsonl").exists()


def test_answers_that_no_row_may_have_are_counted_and_left_out(
    run: RunDirectory, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that has nothing to say ends at once; one that speaks in bytes may say NUL."""
    drawn = [["", "b"], ["a\0", "b"], ["a", "b"]]

    def answered(model: Any, file: PromptFile, *_: Any) -> list[Drawn]:
        return [
            Drawn(prompt, [Sample(prompt.prompt, text, (), (), True, "") for text in texts])
            for prompt, texts in zip(file.prompts, drawn, strict=True)
        ]

    monkeypatch.setattr("truing.labelling.model_answers.drawn_answers", answered)
    said = Notes()
    file = answers_beside(prompts.with_suffix(".labels.db"), prompts, AskedModels([str(run.stage("sft").model)]), said)
    assert [item.answers for item in items_to_ask(Wanted(file), "pairs")] == [("a", "b")]
    assert said.notes == ["2 of 3 prompts had an answer that no row may have, as an empty one; left out."]


@pytest.mark.parametrize(
    ("models", "best_of", "code"),
    [
        (("RUN", "RUN", "RUN"), None, "input/too-many-models"),
        (("RUN", "RUN"), 2, "input/no-best"),
        (("MODEL",), 2, "input/no-best"),
    ],
)
def test_what_cannot_be_asked_so_is_refused_before_a_model_is_loaded(
    run: RunDirectory, prompts: Path, models: tuple[str, ...], best_of: int | None, code: str
) -> None:
    named = {"RUN": run.root, "MODEL": run.stage("sft").model}
    with pytest.raises(InputError) as refused:
        ask(prompts, *(named[one] for one in models), best_of=best_of)
    assert refused.value.code == code
    with pytest.raises(InputError) as no_file:
        ask(run.root, run.root)
    assert no_file.value.code == "input/no-prompts"


def test_a_conversation_is_asked_and_kept_as_messages(run: RunDirectory, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "ab?"}]
    rows = ask(tiny.write_rows(tmp_path / "chats.jsonl", [{"prompt": turns}]), run.root, tokens=4)
    assert [row["prompt"] for row in rows] == [turns]
