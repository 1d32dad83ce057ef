"""Who holds how many models, and what is held for the backward, moments and checkpoints beside them."""

from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.config.recipe import Recipe
from truing.doctor.lengths import Lengths, read_lengths
from truing.doctor.phase import Phase
from truing.doctor.phases import phases
from truing.doctor.rollouts import sampling
from truing.doctor.shadow import Shadow
from truing.doctor.stopwatch import seconds
from truing.doctor.work import sampled
from truing.models.load import outline_base


def _shadow(recipe: Recipe) -> Shadow:
    assert recipe.base is not None
    checkpointing = recipe.compute.gradient_checkpointing
    return Shadow(outline_base(recipe.base, recipe.compute).model, recipe.lora, True, checkpointing)


def _phases(recipe: Recipe) -> dict[str, Phase]:
    assert recipe.base is not None
    lengths = read_lengths(recipe, outline_base(recipe.base, recipe.compute))
    return {f"{phase.stage} {phase.name}": phase for phase in phases(recipe, _shadow(recipe), lengths)}


def _examined(place: Path, **changes: Any) -> dict[str, Phase]:
    return _phases(tiny.recipe(place, **{"stages": ["sft", "reward", "ppo", "dpo"], **changes}))


def test_shared_roles_hold_one_model_and_separate_ones_four(tmp_path: Path) -> None:
    shadow = _shadow(tiny.recipe(tmp_path))
    shared, separate = (_examined(tmp_path, roles=roles) for roles in ("shared", "separate"))
    assert shared["ppo learn"].parts["weights"] == shadow.weights
    assert shared["ppo learn"].parts["adapters"] == 3 * shadow.adapter()
    # Reward model and critic have no vocabulary projection.
    assert separate["ppo score"].parts["weights"] == 2 * shadow.weights + 2 * shadow.backbone
    assert separate["dpo learn"].parts["weights"] == 2 * shadow.weights + shadow.backbone


def test_adam_keeps_two_numbers_for_each_that_learns(tmp_path: Path) -> None:
    shadow = _shadow(tiny.recipe(tmp_path))
    shared = _examined(tmp_path)
    separate = _examined(tmp_path, roles="separate", **{"sft.method": "full", "compute.learn_tokens": 1})
    assert shared["sft learn"].parts["moments"] == 2 * shadow.adapter()
    assert shared["ppo learn"].parts["moments"] == 2 * 2 * shadow.adapter()
    for phase in ("rollout", "score"):  # from the second update on
        assert shared[f"ppo {phase}"].parts["moments"] == shared["ppo learn"].parts["moments"]
    assert shared["dpo rollout"].parts["moments"] == shared["dpo learn"].parts["moments"]
    assert separate["sft learn"].parts["moments"] == 2 * shadow.weights
    assert separate["ppo learn"].parts["moments"] == 2 * (shadow.weights + shadow.backbone)
    assert separate["ppo checkpoint"].parts["copies"] == 3 * (shadow.weights + shadow.backbone)


@pytest.mark.parametrize(
    ("field", "phase", "part"),
    [
        ("learn_tokens", "ppo learn", "activations"),
        ("learn_tokens", "reward learn", "activations"),
        ("rollout_rows", "ppo rollout", "cache"),
        ("score_tokens", "ppo score", "activations"),
    ],
)
def test_smaller_parts_hold_less(field: str, phase: str, part: str, tmp_path: Path) -> None:
    whole, small = _examined(tmp_path)[phase], _examined(tmp_path, **{f"compute.{field}": 1})[phase]
    assert small.parts[part] < whole.parts[part]


def test_fewer_adapted_layers_hold_less_and_their_trunk_is_kept(tmp_path: Path) -> None:
    whole, half = _examined(tmp_path), _examined(tmp_path, **{"lora.layers": 0.5})
    assert half["ppo learn"].parts["activations"] < whole["ppo learn"].parts["activations"]
    assert half["ppo learn"].parts["rollout"] > whole["ppo learn"].parts["rollout"]
    assert half["reward learn"].parts == whole["reward learn"].parts  # the reward model keeps all layers


def test_a_reward_from_elsewhere_needs_no_reward_model(tmp_path: Path) -> None:
    rewards = [{"kind": "function", "path": "letters:letter_a", "weight": 1.0, "normalise": False}]
    alone = _examined(tmp_path, stages=["ppo"], roles="separate", **{"rewards.sources": rewards})
    shadow = _shadow(tiny.recipe(tmp_path))
    assert alone["ppo learn"].parts["weights"] == 2 * shadow.weights + shadow.backbone


def test_a_foreign_classifier_is_weighed_by_its_files(tmp_path: Path) -> None:
    tiny.classifier(tmp_path / "judge")
    rewards = [{"kind": "model", "path": str(tmp_path / "judge"), "weight": 1.0, "normalise": False}]
    phase = _examined(tmp_path, stages=["ppo"], **{"rewards.sources": rewards})["ppo learn"]
    assert phase.parts["reward classifiers"] == (tmp_path / "judge" / "model.safetensors").stat().st_size


def test_weights_are_packed_while_a_rollout_lasts_and_where_the_recipe_says_so(tmp_path: Path) -> None:
    recipe = {"base.path": str(tiny.directory(tmp_path / "wide", "llama"))}
    packed, plain = (_examined(tmp_path, **recipe, **{"compute.pack_weights": pack}) for pack in (True, False))
    assert {key for key, phase in packed.items() if "packed weights" in phase.parts} == {
        "reward rollout",
        "ppo rollout",
        "dpo rollout",
    }
    assert not any("packed weights" in phase.parts for phase in plain.values())


def test_layers_that_run_again_hold_less(tmp_path: Path) -> None:
    plain, again = (
        _examined(tmp_path, **{"compute.gradient_checkpointing": checkpointing}) for checkpointing in (False, True)
    )
    for phase in ("sft learn", "reward learn", "ppo learn", "dpo learn"):
        assert again[phase].parts["activations"] < plain[phase].parts["activations"]
    assert again["ppo score"].parts == plain["ppo score"].parts


def test_a_rollout_that_fills_the_context_is_timed_within_it(tmp_path: Path) -> None:
    """Positions that a model has learnt end with its context, of 64 tokens here."""
    recipe = tiny.recipe(tmp_path, "gpt2", **{"rollout.max_new_tokens": 4, "ppo.episodes": 4, "stages": ["sft", "ppo"]})
    shadow, said = _shadow(recipe), sampled(Lengths([], [], [60] * 4), recipe, 4)
    phase = sampling("ppo", {"weights": 0.0, "adapters": 0.0}, said, shadow, recipe)
    assert all(seconds(work, shadow, None) > 0 for work in phase.work)
