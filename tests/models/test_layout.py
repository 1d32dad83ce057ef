"""Four roles, on one base or on models of their own: the same at the start, and each unmoved by the others."""

from pathlib import Path

import one_dnn
import pytest
import tiny
import torch
from peft.tuners.lora.layer import Linear as LoraLinear

from truing.config.recipe import Recipe
from truing.config.sections import Lora
from truing.core.batches import Sequences
from truing.core.normalisation import Normalisation
from truing.kernels.cpu.adapted import AdaptedLinear
from truing.models.layout import PpoRoles, RewardModelFiles, ppo_roles, trained_role
from truing.models.roles import Role
from truing.models.save import merge, save_adapter, save_normalisation, save_reward_model
from truing.models.scoring import end_scores, response_logprobs

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
BATCH = Sequences.collate([[1, 2, 3], [4], [5, 6]], [[9, EOS], [10, 11, 12, 13, EOS], [14]], PAD)
NORMALISATION = Normalisation(mean=0.7, std=2.5)
LAYOUTS = ["shared", "separate"]


def _recipe(place: Path, layout: str, shape: str = "llama") -> Recipe:
    return tiny.recipe(place, shape, roles=layout)


def _reward_stage(recipe: Recipe, place: Path) -> RewardModelFiles:
    """The files of a reward model whose adapter and head have moved."""
    base = tiny.load(recipe)
    role = trained_role(base, "reward", Lora(rank=2), seed=3, head=True)
    with torch.no_grad():
        for weight in role.parameters():
            weight.add_(0.05)
    files = RewardModelFiles(model=place / "model", adapter=place / "adapter")
    save_adapter(role, files.adapter)
    merged = merge(role)
    assert role.head is not None
    save_reward_model(merged, role.head, base.tokenizer, files.model)
    save_normalisation(NORMALISATION, files.model)
    return files


def _roles(place: Path, layout: str, shape: str = "llama", with_reward: bool = True) -> PpoRoles:
    recipe = _recipe(place, layout, shape)
    assert recipe.base is not None
    return ppo_roles(recipe, recipe.base, _reward_stage(recipe, place) if with_reward else None)


@torch.no_grad()
def _figures(role: Role) -> torch.Tensor:
    """What a role says of the batch: scores where it has a head, else log-probabilities."""
    if role.head is not None:
        return end_scores(role, BATCH)
    return response_logprobs(role, BATCH)[BATCH.response_mask]


def _train(role: Role) -> None:
    loss = end_scores(role, BATCH).sum() if role.head is not None else response_logprobs(role, BATCH).sum()
    loss.backward()
    weights = [weight for weight in role.parameters() if weight.grad is not None]
    torch.optim.SGD(weights, lr=0.1).step()


@pytest.mark.parametrize("shape", ["llama", "gpt2", "qwen"])
def test_both_layouts_begin_with_the_same_four_roles(shape: str, tmp_path: Path) -> None:
    shared, separate = (_roles(tmp_path / layout, layout, shape) for layout in LAYOUTS)
    assert shared.reward is not None
    assert separate.reward is not None
    for one, other in [
        (shared.policy, separate.policy),
        (shared.reference, separate.reference),
        (shared.critic, separate.critic),
        (shared.reward, separate.reward),
    ]:
        torch.testing.assert_close(_figures(one), _figures(other), atol=1e-4, rtol=1e-4)
    assert shared.normalisation == separate.normalisation == NORMALISATION


@pytest.mark.parametrize("shape", ["llama", "qwen"])
def test_shared_roles_say_what_pefts_own_layers_do(shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_dnn.computes_everything(monkeypatch)
    roles = _roles(tmp_path, "shared", shape)
    assert roles.reward is not None
    assert any(isinstance(layer, AdaptedLinear) for layer in roles.base.model.modules())
    asked = (roles.policy, roles.reference, roles.critic, roles.reward)
    found = [_figures(role) for role in asked if role is not None]
    monkeypatch.setattr(AdaptedLinear, "forward", LoraLinear.forward)
    for ours, role in zip(found, asked, strict=True):
        assert role is not None
        torch.testing.assert_close(ours, _figures(role), atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_policy_begins_as_the_reference(layout: str, tmp_path: Path) -> None:
    roles = _roles(tmp_path, layout)
    assert torch.equal(_figures(roles.policy), _figures(roles.reference))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_critic_begins_as_the_normalised_reward(layout: str, tmp_path: Path) -> None:
    roles = _roles(tmp_path, layout)
    assert roles.reward is not None
    expected = (_figures(roles.reward) - NORMALISATION.mean) / NORMALISATION.std
    torch.testing.assert_close(_figures(roles.critic), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("trained", ["policy", "critic"])
def test_training_one_role_moves_no_other(layout: str, trained: str, tmp_path: Path) -> None:
    roles = _roles(tmp_path, layout)
    names = ["policy", "reference", "critic", "reward"]
    before = {name: _figures(getattr(roles, name)) for name in names}
    _train(getattr(roles, trained))
    moved = [name for name in names if not torch.equal(_figures(getattr(roles, name)), before[name])]
    assert moved == [trained]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_policy_and_critic_have_anything_to_train(layout: str, tmp_path: Path) -> None:
    roles = _roles(tmp_path, layout)
    assert roles.reward is not None
    learnt = {id(weight) for role in (roles.policy, roles.critic) for weight in role.parameters()}
    assert all(weight.requires_grad for role in (roles.policy, roles.critic) for weight in role.parameters())
    assert roles.reward.head is not None
    assert not roles.reward.head.weight.requires_grad
    assert not learnt & {id(weight) for weight in roles.reward.parameters()}
    assert layout == "shared" or not any(weight.requires_grad for weight in roles.reference.parameters())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_without_a_reward_stage_has_a_critic_all_the_same(layout: str, tmp_path: Path) -> None:
    roles = _roles(tmp_path, layout, with_reward=False)
    assert roles.reward is None
    assert roles.normalisation == Normalisation()
    before = _figures(roles.reference)
    _train(roles.critic)
    assert torch.equal(_figures(roles.reference), before)


def test_a_role_trained_in_full_moves_every_weight(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, "separate")
    base = tiny.load(recipe)
    role = trained_role(base, "policy", None, seed=0)
    assert {id(weight) for weight in role.parameters()} == {id(weight) for weight in base.model.parameters()}
    assert all(weight.requires_grad for weight in role.parameters())


def test_shared_roles_hold_every_weight_of_the_base_once(tmp_path: Path) -> None:
    """Bytes are counted by where they lie in memory: four roles cost the base, three adapters and two heads."""
    roles = _roles(tmp_path, "shared")
    adapters, critic, reward = roles.policy.adapters, roles.critic.head, roles.reward and roles.reward.head
    assert adapters is not None
    assert critic is not None
    assert reward is not None
    four = {role.model for role in (roles.policy, roles.reference, roles.critic, roles.reward) if role}
    added = [weight for name in ("policy", "critic", "reward_model") for weight in adapters.parameters(name)]
    assert _bytes(*four, critic, reward) == _bytes(tiny.model(), critic, reward) + sum(w.nbytes for w in added)


def _bytes(*modules: torch.nn.Module) -> int:
    tensors = [tensor for module in modules for tensor in [*module.parameters(), *module.buffers()]]
    return sum({tensor.data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())
