"""`truing judge` puts any reward to the test on any pairs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from rewards.llm_server import serving
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trust.cases import named

from truing.core.errors import ModelError, RewardError, RunError
from truing.functional import wilson_interval
from truing.judge import judge
from truing.pipeline.execute import run_pipeline
from truing.rewards.sources import ClassifierReward
from truing.runs.directory import RunDirectory
from truing.runs.progress import SilentProgress

LONGEST = "def score(prompts, responses):\n    return [float(len(text)) for text in responses]\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    place = tmp_path_factory.mktemp("judged")
    return run_pipeline(tiny.recipe(place, stages=["reward"]), place / "run", SilentProgress())


def pairs_file(place: Path, count: int = 30) -> Path:
    """Of which every third prefers the shorter answer; the sources are two."""
    rows = [
        {
            "prompt": f"what {tiny.LETTERS[i % 26]}{i // 26}?",
            "chosen": chosen,
            "rejected": rejected,
            "source": "ab"[i % 2],
        }
        for i, (chosen, rejected) in enumerate(
            [("a dog. it ran", "z"), ("a cat. it sat", "zz"), ("a", "zebras. many")] * 10
        )
    ]
    return tiny.write_rows(place / "pairs.jsonl", rows[:count])


def test_the_model_of_a_run_is_judged_by_the_scores_of_plain_transformers(run: RunDirectory, tmp_path: Path) -> None:
    pairs = pairs_file(tmp_path)
    place = run.stage("reward").model
    words, model = (
        AutoTokenizer.from_pretrained(place),
        AutoModelForSequenceClassification.from_pretrained(place).eval(),
    )

    def score(row: dict[str, str], side: str) -> float:
        with torch.no_grad():
            return float(model(torch.tensor([[*words.encode(row["prompt"] + row[side]), words.eos_token_id]])).logits)

    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    gaps = [score(row, "chosen") - score(row, "rejected") for row in rows]
    right = sum(gap > 0 for gap in gaps)
    found = judge(str(run.root), pairs)
    assert (found.card.heldout_accuracy, found.card.heldout_accuracy_ci95) == (right / 30, wilson_interval(right, 30))
    assert found.card.score_gap_mean == pytest.approx(sum(gaps) / 30, abs=1e-4)
    assert found.card.longer_wins_accuracy == pytest.approx(2 / 3)
    assert named(found.checks)["batch"].verdict == "pass"
    for other in (run.root / "reward", place):
        assert judge(str(other), pairs) == replace(found, reward=str(other))


def test_pairs_that_the_run_learnt_from_are_told_as_such_wherever_their_file_lies(
    run: RunDirectory, tmp_path: Path
) -> None:
    learnt = Path(run.lineage.facts["inputs"]["data.preferences"]["path"])
    copied = Path(shutil.copyfile(learnt, tmp_path / "copied.jsonl"))
    for pairs in (learnt, copied):
        (warning,) = judge(str(run.root), pairs).warnings
        assert warning.startswith(f"{pairs} has the pairs that the run learnt from")
    assert judge(str(run.root), pairs_file(tmp_path)).warnings == []


def test_a_function_that_measures_length_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "rule.py").write_text(LONGEST)
    found = judge(f"{tmp_path / 'rule.py'}:score", pairs_file(tmp_path))
    verdicts = {name: check.verdict for name, check in named(found.checks).items()}
    failed = {name for name, verdict in verdicts.items() if verdict == "fail"}
    assert failed >= {"longer-wins", "length-correlation", "polite-phrase", "repeated-sentence", "as-an-ai"}
    assert (verdicts["cut"], verdicts["batch"], verdicts["foreign-answer"]) == ("pass", "pass", "warn")
    assert (verdicts["calibration"], verdicts["overfitting"], verdicts["source"]) == ("not measured",) * 3
    assert found.verdict == "fail"


def test_of_three_pairs_nothing_is_said(run: RunDirectory, tmp_path: Path) -> None:
    found = judge(str(run.root), pairs_file(tmp_path, 3))
    assert {check.verdict for check in found.checks} == {"not measured"}
    assert found.verdict == "not measured"


def _judge_file(place: Path, base_url: str) -> Path:
    (place / "rubric.txt").write_text("The longer is better: {response}")
    recipe = place / "judges.yaml"
    judge = f"{{base_url: '{base_url}', model: m, rubric: rubric.txt}}"
    recipe.write_text(f"world: {{}}\nllm_judges: {{strict: {judge}}}\nrewards: {{on_bad_score: drop}}\n")
    return recipe


def test_an_llm_judge_is_found_out_as_a_function_is(tmp_path: Path) -> None:
    with serving(lambda asked: f"Score: {min(10, len(asked.removeprefix('The longer is better: ')))}") as server:
        recipe, pairs = _judge_file(tmp_path, server.base_url), pairs_file(tmp_path)
        found = judge(f"{recipe}:strict", pairs)
        assert (found.card.heldout_accuracy, found.card.longer_wins_accuracy) == (pytest.approx(2 / 3),) * 2
        assert named(found.checks)["length-correlation"].verdict == "fail"
        texts = {json.dumps(body) for body in server.asked}
        assert len(texts) == len(server.asked), "no answer is asked about twice"
        assert found.notes == [
            f"LLM judge strict: {len(texts)} answers by {len(texts)} calls, {7 * len(texts):,} tokens read and "
            f"{2 * len(texts):,} written."
        ]
        server.answer = lambda asked: "hm"
        with pytest.raises(RewardError, match="answered 'hm'") as refused:
            judge(f"{recipe}:strict", pairs)
        assert refused.value.code == "rewards/llm-judge-fails"


def test_a_judge_that_no_recipe_has_or_that_a_run_has_is_not_asked(run: RunDirectory, tmp_path: Path) -> None:
    with serving(lambda asked: "Score: 5") as server:
        recipe, pairs = _judge_file(tmp_path, server.base_url), pairs_file(tmp_path)
        with pytest.raises(RewardError, match=r"there are strict.*Did you mean .*judges\.yaml:strict\?") as refused:
            judge(f"{recipe}:strickt", pairs)
        assert refused.value.code == "rewards/no-llm-judge"
        with pytest.raises(RewardError, match="would have your texts sent to a server of their choice") as refused:
            judge(f"{shutil.copy(recipe, run.root / 'judges.yaml')}:strict", pairs)
        assert refused.value.code == "rewards/in-a-run"
        assert server.asked == []


def test_what_has_no_reward_model_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no finished reward model of a stage ppo"):
        judge(str(run.root / "ppo"), pairs_file(tmp_path))


@pytest.mark.parametrize(
    ("typed", "hint"), [("runs/mien", "Did you mean runs/mine?"), ("runs/other", "Name a run"), ("./x", "Name a run")]
)
def test_a_directory_that_is_not_there_is_told_and_nobody_else_is_asked_for_it(
    typed: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(ClassifierReward, "load", lambda path, *_: asked.append(path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "run.json").write_text("{}")
    with pytest.raises(ModelError) as refused:
        judge(typed, pairs_file(tmp_path))
    assert (refused.value.code, refused.value.where) == ("model/no-such-path", typed)
    assert str(refused.value.hint).startswith(hint)
    assert not asked


def test_what_may_be_a_hub_id_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked(Exception):  # noqa: N818
        pass

    def load(path: str, *_: object) -> None:
        raise Asked(path)

    monkeypatch.setattr(ClassifierReward, "load", load)
    monkeypatch.chdir(tmp_path)
    for name in ("org/judge", "judge"):
        with pytest.raises(Asked, match=name):
            judge(name, pairs_file(tmp_path))
