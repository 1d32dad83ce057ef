"""A run whose reward, judge and guard know the row: each is given the answer of the prompt, from the first look to the
last step and when the run is taken up again.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.config.recipe import Recipe
from truing.config.sections import Source
from truing.core.errors import RewardError, TrainingError
from truing.estimate.rehearsal import rehearse
from truing.pipeline.execute import run_pipeline
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
