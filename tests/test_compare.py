"""`truing compare` says what differs between runs, puts their figures and answers side by side, and what cannot be."""

import json
import shutil
from pathlib import Path

import pytest
from report.example_run import write_run

from truing.compare import OTHER_PROMPTS, OTHER_REWARD, OTHER_START, compare


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs that differ in β, and in what the reward model was made of."""
    first = write_run(tmp_path / "a", ("sft", "reward", "ppo"))
    second = write_run(tmp_path / "b", ("sft", "reward", "ppo"), responses=("arrived late .", "is best best best ."))
    for run, beta in ((first, 0.05), (second, 0.5)):
        (run / "recipe.yaml").write_text(f"name: example\nworld: {{}}\nppo: {{kl: {{beta: {beta}}}}}\n")
        record(run, "reward", {"model/model.safetensors": "ab" * 32})
        record(run, "sft", {"model/model.safetensors": "cd" * 32, "model/README.md": str(run)})
    return first, second


def record(run: Path, stage: str, files: dict[str, str]) -> None:
    document = json.loads((run / "run.json").read_text())
    next(one for one in document["stages"] if one["name"] == stage)["files"] = files
    (run / "run.json").write_text(json.dumps(document))


def test_it_says_what_differs_and_puts_figures_and_answers_side_by_side(two: tuple[Path, Path]) -> None:
    first, second = two
    found = compare(two)
    assert [(one.run, one.differences) for one in found.differing] == [(str(second), ["ppo.kl.beta: 0.05 → 0.5"])]
    assert found.warnings == []
    assert [(one.run, one.stage) for one in found.policies] == [(str(first), "ppo"), (str(second), "ppo")]
    assert {len(line.cells) for line in found.figures} == {2}
    last = [json.loads((run / "ppo" / "metrics.jsonl").read_text().splitlines()[-1]) for run in two]
    updates = next(line for line in found.figures if line.title == "Updates")
    assert [cell.measured for cell in updates.cells] == [one["step"] for one in last]
    answers = [response.text for response in found.samples.exchanges[0].responses]
    assert answers == ["arrived late .", "is lovely and sturdy .", "is best best best ."]
    assert {(one.run, one.stage, one.state) for one in found.stages} >= {(str(first), "sft", "done")}


def test_what_cannot_be_compared_is_said(two: tuple[Path, Path], tmp_path: Path) -> None:
    record(two[1], "reward", {"model/model.safetensors": "ef" * 32})
    assert compare(two).warnings == [OTHER_REWARD]
    record(two[1], "sft", {"model/model.safetensors": "01" * 32})
    assert compare(two).warnings == [OTHER_REWARD, OTHER_START]
    shutil.rmtree(two[1])
    write_run(two[1], ("ppo",), prompts=["another :"])
    assert OTHER_PROMPTS in compare(two).warnings


def test_a_variant_with_rewards_of_its_own_is_not_compared_by_score(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", ("sft", "reward", "ppo", "ppo-no-kl"))
    for changes, warnings in (("{ppo.kl.beta: 0}", []), ("{rewards.missing_eos.value: 2}", [OTHER_REWARD])):
        (run / "recipe.yaml").write_text(f"name: example\nworld: {{}}\nvariants: {{no-kl: {changes}}}\n")
        assert compare([run]).warnings == warnings


def test_scores_of_another_llm_judge_or_of_a_function_that_was_changed_are_of_another_reward(tmp_path: Path) -> None:
    one, other = (write_run(tmp_path / name, ("sft", "reward", "ppo")) for name in "ab")

    rewards = "rewards: {sources: [{kind: judge, path: strict}, {kind: function, path: r:f}]}"

    def found(model: str, digest: str) -> list[str]:
        for run, by, content in ((one, "m", "ab"), (other, model, digest)):
            judges = {
                "strict": {"base_url": "http://h", "model": by},
                "other": {"base_url": "http://h", "model": run.name},
            }
            (run / "recipe.yaml").write_text(f"world: {{}}\n{rewards}\nllm_judges: {json.dumps(judges)}\n")
            document = json.loads((run / "run.json").read_text())
            document["inputs"] |= {"rewards.sources.1": {"path": str(run / "r.py"), "sha256": content}}
            (run / "run.json").write_text(json.dumps(document))
        return compare([one, other]).warnings

    assert found("m", "ab") == []
    assert found("n", "ab") == [OTHER_REWARD]
    assert found("m", "cd") == [OTHER_REWARD]


def test_a_variant_that_is_called_as_its_stage_is_not_taken_for_the_base(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", ("ppo", "ppo-ppo"))
    (run / "recipe.yaml").write_text("world: {}\nvariants: {ppo: {rewards.missing_eos.value: 2}}\n")
    assert OTHER_REWARD in compare([run]).warnings


def test_a_function_of_equal_files_at_two_places_is_one_reward(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, ("sft", "ppo")) for name in "ab"]

    def found(*digests: str) -> list[str]:
        for run, content in zip(runs, digests, strict=True):
            rewards = f"{{sources: [{{kind: function, path: '{run}/rules.py:right'}}]}}"
            judged = f"{{other: {{rewards.sources: [{{kind: function, path: '{run}/rules.py:other'}}]}}}}"
            (run / "recipe.yaml").write_text(f"world: {{}}\nrewards: {rewards}\nvariants: {judged}\n")
            document = json.loads((run / "run.json").read_text())
            document["inputs"] |= {"rewards.sources.0": {"path": f"{run}/rules.py", "sha256": content}}
            (run / "run.json").write_text(json.dumps(document))
        return compare(runs).warnings

    assert found("ab", "ab") == []
    assert found("ab", "cd") == [OTHER_REWARD]


def test_a_run_without_a_policy_shows_its_stages(tmp_path: Path) -> None:
    found = compare([write_run(tmp_path / "a", ("sft", "reward"))])
    assert (found.policies, found.figures, found.samples.exchanges) == ([], [], [])
    assert all(one.outcome for one in found.stages)
