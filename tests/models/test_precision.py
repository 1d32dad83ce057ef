"""What trains is float32, whatever it is computed in; what is frozen is as narrow as the recipe says."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from truing.config.sections import Lora
from truing.core.batches import Sequences
from truing.kernels import packed_rows
from truing.kernels.packed_rows import hidden_packed
from truing.kernels.precision import Precision
from truing.models.layout import PpoRoles, RewardModelFiles, ppo_roles, trained_role
from truing.models.load import LoadedBase, load_base
from truing.models.roles import Role
from truing.models.save import merge, save_adapter, save_policy, save_reward_model
from truing.models.scoring import end_scores, response_logprobs, response_values
from truing.rollout.engine import Sampling

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [10, 11]]
BATCH = Sequences.collate(PROMPTS, [[9, EOS], [10, 11, 12, 13, EOS], [14], [15, 16, EOS]], PAD)


def _base(place: Path, trains: bool, shape: str = "llama", **changes: Any) -> LoadedBase:
    recipe = tiny.recipe(place, shape, **{"compute.dtype": "bfloat16", **changes})
    assert recipe.base is not None
    return load_base(recipe.base, recipe.compute, trains)


def _trained(place: Path, shape: str = "llama", **changes: Any) -> Role:
    return trained_role(_base(place, True, shape, **changes), "policy", None, seed=0)


def _float32(place: Path, shape: str) -> Role:
    return trained_role(tiny.load(tiny.recipe(place, shape)), "policy", None, seed=0)


def test_single_precision_is_left_alone() -> None:
    precision = Precision.of("float32", trains=True)
    assert precision == Precision.of("float32", trains=False) == Precision()
    with precision.autocast(torch.device("cpu")):
        assert not torch.is_autocast_enabled("cpu")
    states = torch.ones(1)
    assert precision.cast(states) is states


def _adamw(weights: list[nn.Parameter], loss: Any, steps: int = 20) -> torch.optim.AdamW:
    optimiser = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.0)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    return optimiser


def test_small_steps_move_weights_that_bfloat16_would_leave_where_they_are(tmp_path: Path) -> None:
    """Weights of 1, such as a norm's first, in steps of 0.001: half a step of bfloat16 below 1 is 0.002."""
    narrow = nn.Parameter(torch.ones(16, dtype=torch.bfloat16))
    _adamw([narrow], lambda: narrow.sum())
    assert torch.equal(narrow, torch.ones_like(narrow))
    role = _trained(tmp_path)
    before = {path: weight.detach().clone() for path, weight in role.named_parameters().items()}
    first = float(response_logprobs(role, BATCH).sum().detach())
    optimiser = _adamw(role.parameters(), lambda: -response_logprobs(role, BATCH).sum())
    assert float(response_logprobs(role, BATCH).sum().detach()) > first
    for path, weight in role.named_parameters().items():
        assert not torch.equal(weight, before[path]), path
        assert weight.dtype == torch.float32
        assert weight.grad is not None
        assert {weight.grad.dtype, *(part.dtype for part in optimiser.state[weight].values())} == {torch.float32}


def _reward(place: Path) -> RewardModelFiles:
    """The files of a reward stage in bfloat16."""
    files = RewardModelFiles(place / "model", place / "adapter")
    base = _base(place, False)
    role = trained_role(base, "reward", Lora(rank=2), seed=3, head=True)
    save_adapter(role, files.adapter)
    assert role.head is not None
    save_reward_model(merge(role), role.head, base.tokenizer, files.model)
    return files


def _roles(place: Path, layout: str, reward: RewardModelFiles | None) -> PpoRoles:
    recipe = tiny.recipe(place, roles=layout, **{"compute.dtype": "bfloat16"})
    assert recipe.base is not None
    return ppo_roles(recipe, recipe.base, reward)


def _dtypes(weights: Any) -> set[torch.dtype]:
    return {weight.dtype for weight in weights}


@pytest.mark.parametrize("layout", ["shared", "separate"])
@pytest.mark.parametrize("with_reward", [True, False])
def test_policy_and_critic_learn_in_single_precision_and_the_frozen_are_narrow(
    layout: str, with_reward: bool, tmp_path: Path
) -> None:
    roles = _roles(tmp_path, layout, _reward(tmp_path / "reward") if with_reward else None)
    for role in (roles.policy, roles.critic):
        assert _dtypes(role.parameters()) == {torch.float32}
    frozen = [roles.reference] if roles.reward is None else [roles.reference, roles.reward]
    for role in frozen:
        own = [weight for path, weight in role.model.named_parameters() if "lora" not in path]
        assert _dtypes(own) == {torch.bfloat16}
    assert response_logprobs(roles.reference, BATCH).dtype == torch.float32
    for role, figure in ((roles.policy, response_logprobs), (roles.critic, response_values)):
        value = figure(role, BATCH)
        assert value.dtype == torch.float32
        value.sum().backward()
    for role in (roles.policy, roles.critic):
        found = [weight.grad for weight in role.parameters() if weight.grad is not None]
        assert found
        assert _dtypes(found) == {torch.float32}
    if roles.reward is not None:
        assert end_scores(roles.reward, BATCH).dtype == torch.float32


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_what_is_computed_is_rounded_and_its_gradient_is_not_far_from_the_exact_one(shape: str, tmp_path: Path) -> None:
    mask, results = BATCH.response_mask, []
    for role in (_trained(tmp_path / "narrow", shape), _float32(tmp_path / "wide", shape)):
        found = response_logprobs(role, BATCH)[mask]
        found.sum().backward()
        results.append((found.detach(), torch.cat([w.grad.flatten() for w in role.parameters() if w.grad is not None])))
    (ours, gradient), (exact, exact_gradient) = results
    assert not torch.equal(ours, exact)
    torch.testing.assert_close(ours, exact, atol=0.2, rtol=0.05)
    assert float((gradient - exact_gradient).norm() / exact_gradient.norm()) < 0.05


@pytest.mark.parametrize("shape", tiny.SHAPES)
@pytest.mark.parametrize("pack", [True, False])
def test_sampling_and_learning_follow_one_policy(shape: str, pack: bool, tmp_path: Path) -> None:
    role = _trained(tmp_path, shape)
    rollout = tiny.sample(role, PROMPTS * 4, Sampling(8, 0.7, (EOS,), PAD, 64, pack), 0, "test", range(16))
    mask = rollout.sequences.response_mask
    forced = response_logprobs(role, rollout.sequences, 0.7).detach()
    difference = (rollout.logprobs - forced)[mask].abs()
    assert float(difference.max()) < 0.1
    assert float(difference.mean()) < 0.02


@pytest.mark.parametrize("pack", [True, False])
def test_every_product_is_computed_in_the_precision_of_the_recipe(pack: bool, tmp_path: Path) -> None:
    role, found = _trained(tmp_path), set[torch.dtype]()
    for layer in role.model.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda _, __, out: found.add(out.dtype))
    response_logprobs(role, BATCH).sum().backward()
    assert found == {torch.bfloat16}
    tiny.sample(role, PROMPTS, Sampling(4, 1.0, (EOS,), PAD, 64, pack), 0, "test", range(4))
    assert found == {torch.bfloat16}


@pytest.mark.parametrize("checkpointing", [True, False])
def test_packed_rows_and_layers_that_run_again_give_the_same(
    checkpointing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gradients(role: Role) -> list[Tensor]:
        found = response_logprobs(role, BATCH)
        return [found.detach(), *torch.autograd.grad(found.sum(), role.parameters())]

    plain = gradients(_trained(tmp_path / "plain"))
    monkeypatch.setattr(packed_rows, "MIN_LAYER_WEIGHTS", 1)
    role = _trained(tmp_path / "packed", **{"compute.gradient_checkpointing": checkpointing})
    assert role.backend.hidden is hidden_packed
    for ours, theirs in zip(gradients(role), plain, strict=True):
        assert float((ours - theirs).norm()) < 0.05 * float(theirs.norm()) + 1e-6


def test_a_model_is_saved_in_the_precision_of_the_recipe(tmp_path: Path) -> None:
    base = _base(tmp_path, trains=True)
    role = trained_role(base, "policy", None, seed=0)
    _adamw(role.parameters(), lambda: -response_logprobs(role, BATCH).sum(), steps=3)
    expected = {path: weight.detach().bfloat16() for path, weight in role.named_parameters().items()}
    save_policy(merge(role), base.tokenizer, tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert saved.keys() == expected.keys()
    assert all(torch.equal(weight, saved[path]) for path, weight in expected.items())


def test_the_head_of_a_saved_reward_model_is_not_rounded(tmp_path: Path) -> None:
    base = _base(tmp_path, trains=False)
    role = trained_role(base, "reward", Lora(rank=2), seed=3, head=True)
    assert role.head is not None
    save_reward_model(merge(role), role.head, base.tokenizer, tmp_path / "saved")
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    assert torch.equal(whole.score.weight, role.head.weight)
    assert not torch.equal(role.head.weight.bfloat16().float(), role.head.weight)
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").dtype == torch.bfloat16


def test_narrow_weights_are_not_trained_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="trains=True"):
        trained_role(_base(tmp_path, trains=False), "policy", None, seed=0)
