"""A run whose reward, judge and guard know the row: each is given the answer of the prompt, from the first look to the
last step and when the run is taken up again.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tiny
from rewards.llm_server import serving

from truing.config.recipe import Recipe
from truing.config.sections import Source
from truing.core.errors import RewardError, TrainingError
from truing.estimate.rehearsal import rehearse
from truing.pipeline.execute import run_pipeline
from truing.pipeline.rows import check_inputs
from truing.runs.files import read_json
from truing.runs.metrics import read_jsonl
from truing.runs.progress import SilentProgress
from truing.stages.online import Update

RULES = """
def reward(prompts, responses, answer):
    assert [one == prompt[::-1] for prompt, one in zip(prompts, answer, strict=True)] == [True] * len(responses)
    return [float(sum(map(ord, response))) for response in responses]

async def judge(prompts, responses, answer, messages):
    assert [turns[0]["content"][::-1] for turns in messages] == answer
    return [float(one in response) for one, response in zip(answer, responses, strict=True)]

def pairs(prompts, pairs, **columns):
    assert columns == {"answer": [prompt[::-1] for prompt in prompts]}
    return [0.5 for _ in pairs]
"""


def _recipe(place: Path, **changes: Any) -> Recipe:
    """Prompts with an answer each: themselves from the back."""
    place.mkdir()
    (place / "rules.py").write_text(RULES)
    rules = str(place / "rules.py")
    rows = [{"prompt": row["prompt"], "answer": row["prompt"][::-1]} for row in tiny.demonstrations()]
    return tiny.recipe(
        place,
        **{
            "stages": ["sft", "ppo"],
            "data.prompts": Source(path=str(tiny.write_rows(place / "prompts.jsonl", rows))).model_dump(),
            "rewards.sources": [{"kind": "function", "path": f"{rules}:reward"}],
            "evaluation.judges": {"right": f"{rules}:judge"},
            "guard": {"mode": "warn", "judge": {"kind": "pairs", "path": f"{rules}:pairs"}, "look_every": 1},
            "ppo.updates": 3,
            "checkpoints.every_steps": 1,
        }
        | changes,
    )


def test_a_prompt_of_several_rows_is_asked_once_for_all_that_its_scorers_take_of_them(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path / "run", **{"guard.mode": "off"})
    rows = [{"prompt": "ab", "answer": "ba", "annotator": number} for number in range(3)]
    rows += [{"prompt": row["prompt"], "answer": row["prompt"][::-1]} for row in tiny.demonstrations()]
    assert recipe.data.prompts is not None
    tiny.write_rows(Path(recipe.data.prompts.path), rows)
    checked = check_inputs(recipe)
    assert checked is not None
    assert len(checked[0].rows["prompts"]) == len({row["prompt"] for row in rows})


def _looks(root: Path) -> list[Any]:
    rows = [json.loads(line) for line in (root / "ppo" / "samples.jsonl").read_text().splitlines()]
    return [(row["step"], row["prompt"], row["response"], row["judges"]) for row in rows]


def test_every_scorer_of_a_run_is_given_the_row_of_its_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = _recipe(tmp_path / "made")
    run_pipeline(recipe, tmp_path / "whole", SilentProgress(), rehearse=rehearse)
    step = Update.run

    def failing(self: Update, number: int, beta: float) -> dict[str, Any]:
        if number == 2:
            raise TrainingError("the loss became nan.")
        return step(self, number, beta)

    with monkeypatch.context() as patched:
        patched.setattr(Update, "run", failing)
        with pytest.raises(TrainingError):
            run_pipeline(recipe, tmp_path / "broken", SilentProgress(), rehearse=rehearse)
    run_pipeline(recipe, tmp_path / "broken", SilentProgress(), rehearse=rehearse)
    assert _looks(tmp_path / "broken") == _looks(tmp_path / "whole")
    forked = recipe.model_copy(update={"ppo": recipe.ppo.model_copy(update={"updates": 1})})
    run_pipeline(forked, tmp_path / "forked", SilentProgress(), fork_of=tmp_path / "whole", rehearse=rehearse)
    assert (tmp_path / "forked" / "ppo" / "result.json").exists()


def test_a_column_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path / "made")
    (tmp_path / "made" / "rules.py").write_text(
        RULES.replace("def pairs(prompts, pairs,", "def pairs(prompts, pairs, rank,")
    )
    with pytest.raises(RewardError, match="takes `rank`, and no row has a column of that name; there are `answer`"):
        run_pipeline(recipe, tmp_path / "run", SilentProgress(), rehearse=rehearse)
    assert not (tmp_path / "run").exists()


def _judging(asked: str) -> str:
    """Of a pair the first, and of a response a score by its letters, where the rubric has the answer of the prompt."""
    prompt, answer = re.search(r"<prompt>\n(.*?)\n</prompt>", asked, re.DOTALL), re.search(r"Right is (.*)", asked)
    assert prompt
    assert answer
    assert answer[1] == prompt[1][::-1]
    if "<first>" in asked:
        return "Better: first"
    return f"Score: {1 + sum(map(ord, asked.partition('<response>')[2])) % 10}"


def test_a_language_model_rewards_judges_and_guards_and_is_asked_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-secret")
    rubric = tmp_path / "rubric.txt"
    rubric.write_text("Right is {answer}")
    with serving(_judging) as server:
        judge = {"base_url": server.base_url, "model": "m", "rubric": str(rubric), "key_variable": "JUDGE_KEY"}
        recipe = _recipe(
            tmp_path / "made",
            **{
                "llm_judges": {"strict": judge, "other": judge | {"model": "n"}},
                "rewards.sources": [
                    {"kind": "judge", "path": "strict"},
                    {"kind": "function", "path": f"{tmp_path / 'made' / 'rules.py'}:reward"},
                ],
                "evaluation.judges": {"helpful": "other"},
                "guard": {"mode": "warn", "judge": {"kind": "llm", "path": "other"}, "look_every": 1, "labels": 12},
            },
        )
        run = run_pipeline(recipe, tmp_path / "run", SilentProgress(), rehearse=rehearse)
        in_rehearsal = 1 + 1 + 2  # a response to each of reward and judge, a pair in both orders
        kept = read_jsonl(run.llm_answers)
        assert len({row["asked"] for row in kept}) == len(kept) == len(server.asked) - in_rehearsal
        result = read_json(run.stage("ppo").result)
        used = result["llm_judges"]
        assert used["strict"]["calls"] + used["other"]["calls"] == len(kept)
        assert (used["other"]["first_preferred"], used["other"]["contradicted"]) == (1.0, 1.0)
        assert any("the response shown first won 100%" in note for note in result["notes"])
        assert set(result["parts"]) == {"strict", "reward"}
        assert set(result["judges"]) == {"helpful"}
        logged = read_jsonl(run.stage("ppo").metrics)
        assert all({"update_part_strict", "update_part_reward"} <= row.keys() for row in logged[1:])
        asked = len(server.asked)
        forked = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"judges": {}})})
        run_pipeline(forked, tmp_path / "forked", SilentProgress(), fork_of=run.root, rehearse=None)
        assert len(server.asked) == asked  # the same policy says what the first one said
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"sk-secret" not in written
