"""`truing sample` answers as the saved model does, and best-of-n gives the answer with the highest score."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from truing.config.sections import RolloutConfig
from truing.core import rng
from truing.core.errors import DataError, RewardError, RunError
from truing.data.datasets import PromptFile
from truing.pipeline.execute import run_pipeline
from truing.results import LanguageModel, open_result
from truing.runs.directory import RunDirectory
from truing.runs.progress import SilentProgress
from truing.sample import reward_for, sample_file
from truing.score import named_reward, score_file

PROMPTS = ["ab?", "c?", "de e?"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    place = tmp_path_factory.mktemp("sampled")
    return run_pipeline(tiny.recipe(place, stages=["sft", "reward"]), place / "run", SilentProgress())


@pytest.fixture(scope="module")
def model(run: RunDirectory) -> LanguageModel:
    return open_result(run, "sft")


@pytest.fixture
def prompts(tmp_path: Path) -> PromptFile:
    return PromptFile.read(tiny.write_rows(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS]))


def by_hand(run: RunDirectory, prompt: str, number: int, tokens: int, seed: int) -> str:
    """Inverse sampling by plain transformers: the first token whose cumulated chance is above a uniform draw."""
    place = run.stage("sft").model
    words, plain = AutoTokenizer.from_pretrained(place), AutoModelForCausalLM.from_pretrained(place).eval()
    ids = words.encode(prompt)
    start = len(ids)
    for uniform in rng.uniform(seed, "sample", number, count=tokens):
        with torch.no_grad():
            chances = plain(torch.tensor([ids])).logits[0, -1].double().softmax(-1)
        ids.append(int((chances.cumsum(-1) > uniform).nonzero()[0]))
        if ids[-1] == words.eos_token_id:
            break
    return words.decode(ids[start:], skip_special_tokens=True)


def test_answers_are_draws_from_the_saved_model_and_the_same_again(
    run: RunDirectory, model: LanguageModel, prompts: PromptFile
) -> None:
    answers = list(sample_file(model, prompts, 6, 1.0))
    assert [answer.row for answer in answers] == [f"{prompts.path}:{line}" for line in (1, 2, 3)]
    assert [answer.prompt for answer in answers] == PROMPTS
    expected = [by_hand(run, prompt, number, 6, model.recipe.seed) for number, prompt in enumerate(PROMPTS)]
    assert [answer.response for answer in answers] == expected
    assert list(sample_file(model, prompts, 6, 1.0)) == answers
    assert list(sample_file(model, prompts, 6, 1.0, seed=model.recipe.seed + 1)) != answers
    assert {answer.score for answer in answers} == {None}


def test_what_is_not_named_is_as_in_the_run(model: LanguageModel, prompts: PromptFile) -> None:
    rollout = RolloutConfig(max_new_tokens=3, temperature=2.5)
    other = replace(model, recipe=model.recipe.model_copy(update={"rollout": rollout}))
    assert list(sample_file(other, prompts)) == list(sample_file(model, prompts, 3, 2.5))
    assert list(sample_file(other, prompts, 6, 1.0)) == list(sample_file(model, prompts, 6, 1.0))
    assert (other.sampling(None, None).max_new_tokens, other.sampling(None, None).temperature) == (3, 2.5)


def test_best_of_n_without_a_reward_model_asks_for_a_reward(tmp_path: Path) -> None:
    run = run_pipeline(tiny.recipe(tmp_path, stages=["sft"]), tmp_path / "run", SilentProgress())
    assert reward_for(run, None, 1) is None
    with pytest.raises(RunError, check=lambda error: error.code == "run/nothing-to-choose-by", match="--reward"):
        reward_for(run, None, 2)


def test_best_of_n_is_the_answer_with_the_highest_score(
    run: RunDirectory, model: LanguageModel, prompts: PromptFile, tmp_path: Path
) -> None:
    answers = list(sample_file(model, prompts, 4, 1.0, best_of=5, reward=reward_for(run, None, 5)))
    texts = [
        by_hand(run, prompt, 5 * place + draw, 4, model.recipe.seed)
        for place, prompt in enumerate(PROMPTS)
        for draw in range(5)
    ]
    for place, answer in enumerate(answers):
        assert answer.scores is not None
        assert answer.score == max(answer.scores)
        assert answer.response == texts[5 * place + answer.scores.index(answer.score)]
        if answer.finished and answer.response:  # the score of a response that has ended is that of a row
            row = {"prompt": answer.prompt, "completion": answer.response}
            ((_, score),) = score_file(run, tiny.write_rows(tmp_path / "row.jsonl", [row]))
            assert answer.score == pytest.approx(score, abs=1e-4)


def test_how_many_are_drawn_side_by_side_changes_no_answer(
    run: RunDirectory, model: LanguageModel, prompts: PromptFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = reward_for(run, None, 3)
    answers = list(sample_file(model, prompts, 4, 1.0, best_of=3, reward=reward))
    monkeypatch.setattr("truing.sample.ROWS", 4)
    apart = list(sample_file(model, prompts, 4, 1.0, best_of=3, reward=reward))
    assert [(one.row, one.response) for one in apart] == [(one.row, one.response) for one in answers]
    assert [one.scores for one in apart] == [pytest.approx(one.scores, abs=1e-4) for one in answers]


def test_any_reward_may_choose_and_one_that_has_no_number_is_refused(
    run: RunDirectory, model: LanguageModel, prompts: PromptFile, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text("def longest(prompts, responses):\n    return [len(one) for one in responses]\n")
    named = named_reward(f"{tmp_path / 'own.py'}:longest")
    for answer in sample_file(model, prompts, 4, 1.0, best_of=3, reward=named):
        assert answer.score == len(answer.response)
    assert reward_for(run, None, 1) is None
    (tmp_path / "nan.py").write_text("def none(prompts, responses):\n    return [float('nan') for _ in responses]\n")
    with pytest.raises(RewardError):
        list(sample_file(model, prompts, 4, 1.0, best_of=2, reward=named_reward(f"{tmp_path / 'nan.py'}:none")))


def test_a_function_is_given_the_columns_of_the_prompts_row(model: LanguageModel, tmp_path: Path) -> None:
    rows = [{"prompt": "ab?", "answer": "a"}, {"prompt": "c?", "answer": "z"}]
    prompts = PromptFile.read(tiny.write_rows(tmp_path / "prompts.jsonl", rows), columns=True)
    (tmp_path / "own.py").write_text(
        "def counted(prompts, responses, answer):\n"
        "    return [one.count(wanted) for one, wanted in zip(responses, answer, strict=True)]\n"
    )
    named = named_reward(f"{tmp_path / 'own.py'}:counted")
    for answer, row in zip(sample_file(model, prompts, 6, 1.0, best_of=4, reward=named), rows, strict=True):
        assert answer.score == answer.response.count(row["answer"])


def test_a_prompt_that_leaves_no_room_for_its_answer_is_refused_before_anything_is_drawn(
    model: LanguageModel, tmp_path: Path
) -> None:
    rows = tiny.write_rows(tmp_path / "long.jsonl", [{"prompt": "a?"}, {"prompt": "e" * 60}])
    with pytest.raises(DataError) as refused:
        next(sample_file(model, PromptFile.read(rows), 8, 1.0))
    assert (refused.value.code, refused.value.where) == ("data/beyond-context", f"{rows}:2")
    assert str(refused.value.hint) == "Shorten it, or ask for at most 4 with --tokens (in Python, tokens=)."


def test_all_prompts_that_leave_no_room_are_named_and_how_each_may_be_mended(
    model: LanguageModel, tmp_path: Path
) -> None:
    rows = tiny.write_rows(tmp_path / "long.jsonl", [{"prompt": "e" * length} for length in (60, 2, 70, *[64] * 19)])
    with pytest.raises(DataError) as refused:
        next(sample_file(model, PromptFile.read(rows), 8, 1.0))
    told = str(refused.value).splitlines()
    assert told[0] == f"{rows}: 21 problems."
    assert "60 tokens and may be answered with 8" in told[1]
    assert told[2] == f"  {rows}:3: the prompt has 70 tokens; the model reads 64 in all. Shorten the prompt."
    assert told[-1].strip() == "... and 1 more."
