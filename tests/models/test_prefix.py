"""What lies below every adapter runs once: roles that begin with its output say what they say without."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from truing.core.batches import Sequences
from truing.core.errors import ModelError
from truing.models import layout
from truing.models.layout import PpoRoles, ppo_roles
from truing.models.prefix import frozen_prefix_of, prefix_depth
from truing.models.roles import Role
from truing.models.scoring import response_logprobs, response_values
from truing.rollout.engine import Sampling

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [4], [10, 11]]


def _roles(place: Path, shape: str, layers: float = 0.5) -> PpoRoles:
    recipe = tiny.recipe(place, shape, **{"lora.layers": layers})
    assert recipe.base is not None
    roles = ppo_roles(recipe, recipe.base, None)
    with torch.no_grad():
        for role in (roles.policy, roles.critic):
            for weight in role.parameters():
                weight.add_(0.05)
    return roles


def _sampled(role: Role) -> Sequences:
    return tiny.sample(role, PROMPTS, Sampling(8, 1.0, (EOS,), PAD, rows=3), 0, "test", range(5)).sequences


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_every_role_says_the_same_from_what_sampling_kept(shape: str, tmp_path: Path) -> None:
    roles = _roles(tmp_path, shape)
    kept = _sampled(roles.policy)
    assert kept.prefix_states is not None
    plain = replace(kept, prefix_states=None)
    for role, figure in (
        (roles.policy, response_logprobs),
        (roles.reference, response_logprobs),
        (roles.critic, response_values),
    ):
        results = []
        for batch in (kept.rows([4, 0, 2, 1]), plain.rows([4, 0, 2, 1])):
            for weight in role.parameters():
                weight.grad = None
            found = figure(role, batch)[batch.response_mask]
            gradient = found.square().sum()
            if role is not roles.reference:
                gradient.backward()
            results.append([found.detach(), *(w.grad.clone() for w in role.parameters() if w.grad is not None)])
        assert len(results[0]) == len(results[1])
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4 * max(1.0, float(other.abs().max())), rtol=0)


def test_the_prefix_does_not_run_where_its_output_is_known(tmp_path: Path) -> None:
    roles = _roles(tmp_path, "llama")
    kept = _sampled(roles.policy)
    ran: list[bool] = []
    roles.base.model.model.layers[0].mlp.register_forward_hook(lambda *_: ran.append(True))
    with torch.no_grad():
        response_logprobs(roles.policy, kept)
        assert not ran
        response_logprobs(roles.policy, replace(kept, prefix_states=None))
    assert ran


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_no_adapter_of_policy_and_critic_stands_in_the_prefix(shape: str, tmp_path: Path) -> None:
    roles = _roles(tmp_path, shape)
    assert roles.policy.adapters is not None
    for name in ("policy", "critic"):
        paths = [path for path, _ in roles.policy.adapters.peft.named_parameters() if f".{name}." in path]
        assert paths
        assert not any(".0." in path for path in paths)


def test_a_model_without_a_prefix_is_told_and_trained_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not _roles(tmp_path / "with", "llama").base.notes
    monkeypatch.setattr(layout, "frozen_prefix_of", lambda *_: None)
    assert not _roles(tmp_path / "all layers", "llama", layers=1.0).base.notes
    roles = _roles(tmp_path / "without", "llama")
    (note,) = roles.base.notes
    assert "LlamaForCausalLM needs more of its lower layers" in note
    assert _sampled(roles.policy).prefix_states is None


def test_the_share_of_layers_is_counted_from_the_top() -> None:
    model = tiny.model()  # of two layers
    assert [prefix_depth(model, share) for share in (1.0, 0.6, 0.5, 0.01)] == [0, 1, 1, 1]
    assert frozen_prefix_of(model, 0) is None


def test_a_share_of_layers_that_are_not_known_is_refused() -> None:
    model = tiny.model()
    model.config.num_hidden_layers = 3
    assert prefix_depth(model, 1.0) == 0
    with pytest.raises(ModelError, match=r"are not one list.*Set lora\.layers: 1\."):
        prefix_depth(model, 0.5)


def test_a_model_whose_upper_layers_need_more_has_no_prefix() -> None:
    model = tiny.model()
    first, second = model.model.layers
    seen: list[torch.Tensor] = []
    first.mlp.register_forward_hook(lambda _, __, out: seen.append(out))
    second.register_forward_hook(lambda _, __, out: out + seen.pop() if seen else out)
    assert frozen_prefix_of(model, 1) is None


@pytest.mark.parametrize("shape", ["gptj", "falcon"])
def test_layers_that_return_more_than_hidden_states_make_a_prefix(shape: str) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 8}
    names = {"gptj": {"rotary_dim": 4}, "falcon": {}}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(shape, **sizes, **names[shape])).eval()
    prefix = frozen_prefix_of(model, 1)
    assert prefix is not None
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    with torch.no_grad():
        with prefix.capture() as states:
            whole = model(tokens).logits
        with prefix.skip(states[0]):
            torch.testing.assert_close(model(tokens).logits, whole)
        torch.testing.assert_close(model(tokens).logits, whole)


def test_a_model_that_fails_without_its_lower_layers_has_no_prefix() -> None:
    model = tiny.model()
    first, second = model.model.layers
    seen: list[torch.Tensor] = []
    first.mlp.register_forward_hook(lambda _, __, out: seen.append(out))
    second.register_forward_hook(lambda _, __, out: out + seen.pop())
    assert frozen_prefix_of(model, 1) is None
