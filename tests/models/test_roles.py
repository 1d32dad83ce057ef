"""Adapters on one base are models of their own, and the reference is the base as it stands."""

import pytest
import tiny
import torch

from truing.config.sections import Lora
from truing.models.adapters import Adapters
from truing.models.roles import Role

TOKENS = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 33]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


def _disturb(role: Role) -> None:
    with torch.no_grad():
        for weight in role.parameters():
            weight.add_(0.1)


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_hidden_state_and_projection_give_the_models_own_logits(shape: str) -> None:
    model = tiny.model(shape)
    role = Role(model)
    with torch.no_grad():
        expected = model(input_ids=TOKENS, attention_mask=MASK).logits
        found = role.logits(role.hidden(TOKENS, MASK))
    torch.testing.assert_close(found[MASK.bool()], expected[MASK.bool()], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_a_fresh_adapter_changes_nothing_and_a_trained_one_only_its_own_role(shape: str) -> None:
    model = tiny.model(shape)
    adapters = Adapters(model, Lora(rank=2), seed=0)
    adapters.add("policy")
    adapters.add("critic")
    policy, critic, reference = Role(model, adapters, "policy"), Role(model, adapters, "critic"), Role(model, adapters)
    with torch.no_grad():
        before = reference.hidden(TOKENS, MASK)
        assert torch.equal(policy.hidden(TOKENS, MASK), before)
        _disturb(policy)
        assert not torch.allclose(policy.hidden(TOKENS, MASK), before, atol=1e-2)
        assert torch.equal(reference.hidden(TOKENS, MASK), before)
        assert torch.equal(critic.hidden(TOKENS, MASK), before)


def test_only_the_role_that_ran_collects_gradients() -> None:
    model = tiny.model().requires_grad_(False)
    adapters = Adapters(model, Lora(rank=2), seed=0)
    adapters.add("policy")
    adapters.add("critic")
    policy, critic = Role(model, adapters, "policy"), Role(model, adapters, "critic")
    _disturb(critic)
    policy.hidden(TOKENS, MASK).square().sum().backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in policy.parameters())
    assert all(weight.grad is None for weight in critic.parameters())
    assert all(weight.grad is None for name, weight in model.named_parameters() if "lora" not in name)


@pytest.mark.parametrize("targets", [["q_proj"], ["q_proj", "lm_head"]])
def test_logits_are_the_roles_own_whoever_ran_before(targets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Roles take turns of them; an adapter is put in force for that only where the projection carries one."""
    model = tiny.model()
    weight = model.lm_head.weight.detach().clone()
    adapters = Adapters(model, Lora(rank=2, alpha=2.0, targets=targets), seed=0)
    adapters.add("policy")
    policy, reference = Role(model, adapters, "policy"), Role(model, adapters)
    _disturb(policy)
    own = adapters.named_parameters("policy")
    name = "base_model.model.lm_head.lora_{}.weight"
    added = own[name.format("B")] @ own[name.format("A")] if "lm_head" in targets else torch.zeros_like(weight)
    hidden = torch.randn(3, weight.shape[1], generator=torch.Generator().manual_seed(0))
    turns: list[str | None] = []
    select = Adapters.select
    monkeypatch.setattr(Adapters, "select", lambda self, name: (turns.append(name), select(self, name)))
    with torch.no_grad():
        for role, expected in [(policy, weight + added), (reference, weight), (policy, weight + added)]:
            torch.testing.assert_close(role.logits(hidden), hidden @ expected.t(), atol=1e-5, rtol=1e-5)
    assert turns == (["policy", None, "policy"] if "lm_head" in targets else [])


def test_adapters_are_a_function_of_the_seed() -> None:
    def weights(seed: int) -> torch.Tensor:
        adapters = Adapters(tiny.model(), Lora(rank=2), seed)
        adapters.add("policy")
        return torch.cat([weight.flatten() for weight in adapters.parameters("policy")])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_parameters_are_named_by_paths_that_tell_no_role_apart() -> None:
    """They are those of the adapter's file, and of the model where all weights learn; a head comes last."""
    model = tiny.model()
    adapters = Adapters(model, Lora(rank=2, targets=["q_proj"]), seed=0)
    for name in ("policy", "critic"):
        adapters.add(name)
    paths = [
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{side}.weight"
        for layer in (0, 1)
        for side in "AB"
    ]
    policy = Role(model, adapters, "policy").named_parameters()
    critic = Role(model, adapters, "critic", torch.nn.Linear(16, 1)).named_parameters()
    assert list(policy) == paths
    assert list(critic) == [*paths, "head.weight", "head.bias"]
    assert not {id(weight) for weight in policy.values()} & {id(weight) for weight in critic.values()}
    whole = Role(tiny.model())
    assert list(whole.named_parameters()) == [path for path, _ in whole.model.named_parameters()]
    scored = Role(whole.model, head=torch.nn.Linear(16, 1, bias=False)).named_parameters()
    assert list(scored) == [*(path for path, _ in whole.model.base_model.named_parameters()), "head.weight"]
