"""Layers that run again in the backward give the same gradients, and keep less until then."""

from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor

from truing.config.sections import Lora
from truing.core.batches import Sequences
from truing.core.errors import ModelError
from truing.kernels.checkpointing import checkpoint_layers
from truing.models.layout import PpoRoles, ppo_roles, trained_role
from truing.models.load import LoadedBase
from truing.models.roles import Role
from truing.models.scoring import end_scores, response_logprobs, response_values
from truing.rollout.engine import Sampling

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [10, 11]]
BATCH = Sequences.collate(PROMPTS, [[9, EOS], [10, 11, 12, 13, EOS], [14], [15, 16, EOS]], PAD)


def _base(place: Path, shape: str, on: bool) -> LoadedBase:
    return tiny.load(tiny.recipe(place, shape, **{"compute.gradient_checkpointing": on}))


def _learnt(role: Role, batch: Sequences = BATCH) -> tuple[list[Tensor], int]:
    """What the role says of a batch and every gradient of a loss on it, and how many numbers were kept for these."""
    kept: dict[int, int] = {}
    parameters = {weight.data_ptr() for weight in role.model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in parameters:
            kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = end_scores(role, batch) if role.head is not None else response_logprobs(role, batch)
        loss = found.square().sum()
    for weight in role.parameters():
        weight.grad = None
    loss.backward()
    gradients = [weight.grad for weight in role.parameters() if weight.grad is not None]
    assert gradients
    return [found.detach(), *gradients], sum(kept.values())


@pytest.mark.parametrize("shape", tiny.SHAPES)
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("lora", [Lora(rank=2), None], ids=["adapter", "all weights"])
def test_gradients_are_the_same_and_less_is_kept_for_them(
    shape: str, head: bool, lora: Lora | None, tmp_path: Path
) -> None:
    results = []
    for on in (False, True):
        role = trained_role(_base(tmp_path, shape, on), "policy", lora, seed=1, head=head)
        with torch.no_grad():
            for weight in role.parameters():
                weight.add_(0.05)
        results.append(_learnt(role))
    (plain, kept), (again, kept_again) = results
    assert len(plain) == len(again)
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert kept_again < 0.5 * kept


def _roles(place: Path, shape: str, on: bool) -> PpoRoles:
    recipe = tiny.recipe(place, shape, **{"compute.gradient_checkpointing": on, "lora.layers": 0.5})
    assert recipe.base is not None
    return ppo_roles(recipe, recipe.base, None)


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_the_frozen_prefix_is_still_left_out_where_its_output_is_known(shape: str, tmp_path: Path) -> None:
    batch = tiny.sample(
        _roles(tmp_path, shape, False).policy, PROMPTS, Sampling(8, 1.0, (EOS,), PAD, 64), 0, "test", range(4)
    )
    assert batch.sequences.prefix_states is not None
    results = []
    for on in (False, True):
        roles, ran = _roles(tmp_path, shape, on), []
        assert roles.policy.prefix is not None
        for layer in roles.policy.prefix.layers[:1]:
            next(layer.children()).register_forward_hook(lambda *_, ran=ran: ran.append(True))
        results.append(_learnt(roles.policy, batch.sequences)[0])
        results[-1].append(response_values(roles.critic, batch.sequences).detach())
        assert not ran
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_without_a_gradient_a_layer_runs_once(tmp_path: Path) -> None:
    role, ran = Role(_base(tmp_path, "llama", on=True).model.requires_grad_(True)), []
    role.model.model.layers[0].input_layernorm.register_forward_hook(lambda *_: ran.append(True))
    with torch.no_grad():
        response_logprobs(role, BATCH)
    assert len(ran) == 1
    response_logprobs(role, BATCH).sum().backward()
    assert len(ran) == 3


def test_layers_that_are_not_known_are_refused() -> None:
    model = tiny.model()
    model.config.num_hidden_layers = 3
    with pytest.raises(ModelError, match=r"are not one list.*Set compute\.gradient_checkpointing: false"):
        checkpoint_layers(model)
