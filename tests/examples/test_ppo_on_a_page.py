"""PPO on a page is the PPO of the stage, step by step, and a script that a student can run."""

import importlib
import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from forked import zygote
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from truing.config.recipe import Recipe
from truing.core import rng
from truing.core.experience import Experience
from truing.models.layout import ppo_roles
from truing.stages import update as updating

PAGE = Path(__file__).parents[2] / "examples" / "ppo_on_a_page.py"
METRICS = {"score": "score", "kl": "kl_exact", "entropy": "entropy", "clipped": "clip_fraction", "length": "length"}
"""What the page prints, and the stage's names for it"""

EPISODES = 16
SETTINGS = {
    "updates": 2,
    "epochs": 2,
    "minibatches": 2,
    "gamma": 0.95,
    "gae_lambda": 0.9,
    "clip_range": 0.1,
    "value_clip_range": 0.15,
    "value_coefficient": 0.3,
}
SAMPLING = {"max_new_tokens": 10, "temperature": 0.8}
"""What page and stage call by one name; no default of theirs"""
OPTIMISER = {"learning_rate": 2e-3, "adam_eps": 1e-4, "max_grad_norm": 0.7}
PENALTIES = {"beta": 0.2, "missing_eos_penalty": 0.5}


@dataclass(frozen=True)
class StageUpdate:
    """What the stage was given in one update, and what it made of it."""

    prompts: list[str]
    uniforms: Tensor
    """(B, max_new_tokens)"""
    orders: list[Tensor]
    """(B,) rows, one an epoch"""
    before: dict[str, Tensor]
    """Weights, by the page's names for them"""
    after: dict[str, Tensor]
    experience: Experience
    metrics: dict[str, float]


def stage_updates(place: Path, shape: str, monkeypatch: pytest.MonkeyPatch) -> list[StageUpdate]:
    """The stage's first two updates of a model that is written to `place / "base"`."""
    recipe = recipe_of_the_same(place, shape)
    roles = ppo_roles(recipe, tiny.job(recipe, place, "ppo").start, None)
    assert roles.critic.head is not None
    critic = nn.ModuleDict({"backbone": roles.critic.model.base_model, "head": roles.critic.head})
    learnt = nn.ModuleDict({"policy": roles.policy.model, "critic": critic})
    update = tiny.ppo_update(recipe, roles)
    seen: list[Experience] = []
    learn = updating.learn
    monkeypatch.setattr(
        updating, "learn", lambda experience, *rest: (seen.append(experience), learn(experience, *rest))[1]
    )
    updates = []
    for number in (1, 2):
        episodes = range((number - 1) * EPISODES, number * EPISODES)
        before = deepcopy(learnt.state_dict())
        metrics = update.run(number, PENALTIES["beta"])
        asked = [prompt.text for prompt in update.rollouts.prompts.of_episodes(episodes, recipe.seed)]
        uniforms = [rng.uniform(recipe.seed, "rollout", one, count=SAMPLING["max_new_tokens"]) for one in episodes]
        orders = [rng.permutation(recipe.seed, "minibatches", number, epoch, count=EPISODES) for epoch in (0, 1)]
        drawn = torch.tensor(np.stack(uniforms)), [torch.tensor(order) for order in orders]
        updates.append(StageUpdate(asked, *drawn, before, deepcopy(learnt.state_dict()), seen[-1], metrics))
    return updates


def recipe_of_the_same(place: Path, shape: str) -> Recipe:
    """The stage's words for the page's settings."""
    changes = {
        **{f"ppo.{name}": value for name, value in SETTINGS.items()},
        **{f"rollout.{name}": value for name, value in SAMPLING.items()},
        **{f"ppo.optimiser.{name}": value for name, value in OPTIMISER.items()},
        "ppo.optimiser.warmup": 0.0,
        "ppo.optimiser.schedule": "linear",
        "ppo.episodes": EPISODES,
        "rewards.missing_eos.value": PENALTIES["missing_eos_penalty"],
        "rewards.sources": [{"kind": "function", "path": "letters:letter_a", "normalise": False}],
        "roles": "separate",
    }
    return tiny.recipe(place, shape, **changes)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(PAGE.parent))
    yield importlib.import_module(PAGE.stem)
    sys.modules.pop(PAGE.stem)


def state_of(page: ModuleType, base: Path) -> Any:
    """The page's state before its first update."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    return page.start_from(model, tokenizer, page.Settings(**SETTINGS, **SAMPLING, **OPTIMISER, **PENALTIES))


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_the_page_is_the_stage_step_by_step(
    shape: str, page: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = stage_updates(tmp_path, shape, monkeypatch)
    state = state_of(page, tmp_path / "base")
    learnt = nn.ModuleDict({"policy": state.policy, "critic": state.critic})
    for stage in updates:
        learnt.load_state_dict(stage.before)  # of the critic's head, and lest rounding adds up over updates
        found, figures = page.update(state, stage.prompts, tiny.letter_a, stage.uniforms, stage.orders)
        expected, mask = stage.experience, stage.experience.sequences.response_mask
        assert torch.equal(found.sequences.mask == 1, mask)
        assert torch.equal(found.sequences.response[mask], expected.sequences.response_tokens[mask])
        for name in ("old_logprobs", "old_values", "advantages", "returns"):
            same(name, getattr(found, name)[mask], getattr(expected, name)[mask])
        for name, weight in learnt.state_dict().items():
            same(name, weight, stage.after[name], atol=2e-6)  # they move by up to 1e-3 a step
        assert figures == pytest.approx({name: stage.metrics[theirs] for name, theirs in METRICS.items()}, abs=1e-5)
    # What would hide a difference: no KL (policy and reference are one in the first update), no padding, no clipping.
    assert stage.metrics["kl_exact"] > 1e-2
    assert stage.metrics["clip_fraction"] > 0
    assert stage.metrics["value_clip_fraction"] > 0
    assert 0 < stage.metrics["eos_rate"] < 1
    assert len(set(map(len, stage.prompts))) > 1


def same(name: str, found: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, rtol=0.0, atol=atol, msg=lambda told: f"{name}: {told}")


def test_the_page_notices_dropout_because_the_ratio_is_not_1(page: ModuleType, tmp_path: Path) -> None:
    state = state_of(page, tiny.directory(tmp_path, "gpt2"))
    state.policy.train()
    uniforms = torch.full((4, 10), 0.5, dtype=torch.float64)
    with pytest.raises(AssertionError, match="the ratio is not 1"):
        page.update(state, ["ab?", "c?", "d?", "e?"], tiny.letter_a, uniforms, [torch.arange(4)])


def test_the_script_runs_offline_and_improves_on_what_it_imitated(tmp_path: Path) -> None:
    small = ["--sft_steps", "60", "--updates", "8", "--batch_size", "32", "--max_new_tokens", "24"]
    printed, told, place = tmp_path / "printed", tmp_path / "told", tmp_path / "place"
    place.mkdir()
    offline = {"HF_HUB_OFFLINE": "1", "TMPDIR": str(place)}
    ran = zygote().start(small, printed, errors=told, environment=offline, script=PAGE)
    assert ran.wait() == 0, told.read_text()
    line = r"^update +\d+" + "".join(rf"  {name} +(\S+)" for name in METRICS) + "$"
    figures = np.array(re.findall(line, printed.read_text(), re.M), dtype=float)
    assert figures.shape == (8, 5)
    assert np.isfinite(figures).all()
    score, kl, *_ = figures.T
    assert score[-3:].mean() > score[:3].mean() + 0.3
    assert kl[0] == 0 < kl[-1]
    assert printed.read_text().count("\n  before ") == printed.read_text().count("\n  after ") == 5
    assert not list(place.iterdir()), "the world is gone"
