"""Which reward model a policy's score rests on."""

from pathlib import Path

import pytest
from report.example_run import CARD, write_json, write_record, write_run

from truing.report.run_files import read_run
from truing.report.stages import scorer_of
from truing.report.verdict import verdicts

CHANCE = CARD | {"heldout_accuracy": 0.46, "heldout_accuracy_ci95": [0.33, 0.6], "heldout_pairs": 50}


@pytest.mark.parametrize(
    ("recipe", "policy", "scorer"),
    [
        ("", "ppo", "reward"),
        ("", "ppo-no-kl", "reward"),
        ("rewards: {sources: [{kind: function, path: 'a:b'}]}", "ppo", None),
        ("rewards: {sources: [{kind: function, path: 'a:b'}, {kind: stage}]}", "ppo", "reward"),
        ("variants: {no-kl: {rewards.sources: [{kind: model, path: m}]}}", "ppo-no-kl", None),
        ("variants: {no-kl: {rewards.sources: [{kind: model, path: m}]}}", "ppo", "reward"),
        ("variants: {ppo: {rewards.sources: [{kind: model, path: m}]}}", "ppo", "reward"),
    ],
)
def test_the_score_rests_on_the_stage_that_the_rewards_ask_for(
    recipe: str, policy: str, scorer: str | None, tmp_path: Path
) -> None:
    root = write_run(tmp_path)
    (root / "recipe.yaml").write_text(recipe, encoding="utf-8")
    run = read_run(root)
    (stage,) = (one for one in run.stages if one.name == policy)
    found = scorer_of(stage, run)
    assert (found.name if found else None) == scorer


def test_an_unsound_reward_model_leads_every_verdict_and_that_of_a_run_which_it_stopped(tmp_path: Path) -> None:
    root = write_run(tmp_path)
    write_json(root / "reward" / "result.json", CHANCE)
    told = verdicts(read_run(root))
    assert [one.tone for one in told] == ["bad", "bad"]
    assert all(one.headline.startswith("The reward model (reward) is not clear of chance") for one in told)
    for name in ("ppo", "ppo-no-kl"):
        for file in (root / name).iterdir():
            file.unlink()
    write_record(root, {"sft": "done", "reward": "done", "ppo": "pending", "ppo-no-kl": "pending"})
    (stopped,) = verdicts(read_run(root))
    assert (stopped.tone, stopped.headline) == ("bad", told[0].headline)
    assert stopped.findings[0] == "So ppo and ppo-no-kl was not begun."
