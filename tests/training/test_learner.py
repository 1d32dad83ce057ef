"""The one training path: what a step does depends neither on how its batch was cut nor on anything but the formula."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from peft import get_peft_model_state_dict
from torch import Tensor

from truing.config.algorithms import Reward
from truing.config.sections import Optimiser
from truing.core.batches import Batch, Sequences
from truing.core.errors import RunError, TrainingError
from truing.core.experience import Experience
from truing.core.rows import PairRows, TokenRows
from truing.functional import ppo_policy_loss
from truing.models.heads import scalar_head
from truing.models.layout import PpoRoles, ppo_roles
from truing.models.roles import Role
from truing.models.scoring import response_logprobs, response_values
from truing.stages.reward import pair_loss
from truing.stages.sft import completion_loss
from truing.training import learner
from truing.training.learner import Learner, Trained, learning_rate_factor

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
PROMPTS = [(1,), (2, 3), (4, 5, 6), (7,), (8, 9), (10,), (11, 12, 13, 14), (15,)]
SHORT = TokenRows(PROMPTS, [(*[16 + n % 3] * (1 + n % 4), EOS) for n in range(8)], PAD)
LONG = TokenRows(PROMPTS, [(20 + n % 5,) * (6 - n % 3) for n in range(8)], PAD)
PAIRS = PairRows(SHORT, LONG, [0.0] * 8)


def _role() -> Role:
    model = tiny.model()
    return Role(model, head=scalar_head(model, seed=1, bias=True))


def _experience(role: Role) -> Experience:
    sequences = Sequences.collate(LONG.prompts, LONG.responses, PAD)
    with torch.no_grad():
        logprobs, values = response_logprobs(role, sequences), response_values(role, sequences)
    advantages = torch.linspace(-1, 1, logprobs.numel()).reshape(logprobs.shape)
    groups, returns = torch.arange(8), values + advantages
    return Experience(sequences, logprobs - 0.1 * advantages, advantages, groups, values, returns)


def _policy_loss(role: Role) -> Callable[[Experience], tuple[Tensor, dict[str, Tensor]]]:
    def loss(batch: Experience) -> tuple[Tensor, dict[str, Tensor]]:
        logprobs = response_logprobs(role, batch.sequences)
        return ppo_policy_loss(logprobs, batch.old_logprobs, batch.advantages, batch.sequences.response_mask)

    return loss


def _learner(*weights: torch.nn.Parameter, budget: int = 1000, rate: float = 1e-2, **settings: Any) -> Learner:
    optimiser = Optimiser(**{"learning_rate": rate, "warmup": 0.0, "schedule": "constant", **settings})
    return Learner([tiny.trained("policy", rate, *weights)], optimiser, steps=10, token_budget=budget)


LOSSES: dict[str, Callable[[Role], tuple[Batch, Any]]] = {
    "sft": lambda role: (SHORT, lambda batch: completion_loss(role, batch)),
    "reward": lambda role: (PAIRS, lambda batch: pair_loss(role, batch, Reward())),
    "ppo": lambda role: (_experience(role), _policy_loss(role)),
}


@pytest.mark.parametrize("stage", LOSSES)
def test_one_micro_batch_of_eight_is_eight_of_one(stage: str) -> None:
    after, figures = [], []
    for budget in (1000, 1):
        role = _role()
        batch, loss = LOSSES[stage](role)
        learner = _learner(*role.model.parameters(), budget=budget, adam_eps=1e-3)
        figures.append(learner.forward_backward(batch, loss) | {"norm": learner.step()})
        after.append(torch.cat([weight.detach().flatten() for weight in role.model.parameters()]))
    torch.testing.assert_close(after[0], after[1], atol=1e-6, rtol=0)
    assert figures[0] == pytest.approx(figures[1], rel=1e-4, abs=1e-6)
    start = torch.cat([weight.detach().flatten() for weight in tiny.model().parameters()])
    assert (after[0] - start).abs().max() > 1e-3


def test_the_largest_deviation_of_a_batch_is_that_of_its_worst_part() -> None:
    role = _role()
    batch = _experience(role)
    weights = list(role.model.parameters())
    whole = _learner(*weights).forward_backward(batch, _policy_loss(role))
    deviation = (0.1 * batch.advantages[batch.sequences.response_mask]).exp().sub(1).abs().max()
    parts = _learner(*weights, budget=1).forward_backward(batch, _policy_loss(role))
    assert parts["ratio_max_deviation"] == pytest.approx(float(deviation), rel=1e-4)
    assert whole["ratio_max_deviation"] == pytest.approx(float(deviation), rel=1e-4)


def _descend(gradient: list[float], max_grad_norm: float) -> tuple[list[float], float]:
    """What one step takes from weights whose gradient this is, with an ε so large that Adam becomes plain descent."""
    weight = torch.nn.Parameter(torch.zeros(len(gradient)))
    learner = _learner(weight, rate=1e6, adam_eps=1e6, max_grad_norm=max_grad_norm)
    learner.forward_backward(SHORT, lambda batch: ((weight * torch.tensor(gradient)).sum(), {}))
    norm = learner.step()
    return (-weight.detach()).tolist(), norm


@pytest.mark.parametrize(("limit", "expected"), [(10.0, [3.0, -4.0]), (1.0, [0.6, -0.8])])
def test_the_joint_gradient_is_clipped_to_its_norm(limit: float, expected: list[float]) -> None:
    moved, norm = _descend([3.0, -4.0], limit)
    assert norm == pytest.approx(5.0)
    assert moved == pytest.approx(expected, rel=1e-4)


def test_each_group_has_its_own_learning_rate() -> None:
    one, two = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimiser = Optimiser(learning_rate=1e-2, warmup=0.0)
    groups = [tiny.trained("policy", 1e-2, one), tiny.trained("critic", 5e-2, two)]
    learner = Learner(groups, optimiser, steps=4, token_budget=1000)
    learner.forward_backward(SHORT, lambda batch: ((one + two).sum(), {}))
    learner.step()
    # The first step of Adam moves every weight by its learning rate.
    assert [one.item(), two.item()] == pytest.approx([-1e-2, -5e-2], rel=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_the_hint(value: float) -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(TrainingError, match=r"^optimiser step 1: the loss became (nan|inf) on row 1 of 8, row 2 "):
        _learner(weight).forward_backward(SHORT, lambda batch: ((weight * value).sum(), {}))


def test_a_gradient_that_is_no_number_moves_nothing_and_names_the_hint() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    learner = _learner(weight)
    learner.forward_backward(SHORT, lambda batch: (weight.sqrt().sum(), {}))  # slope ∞ at 0
    with pytest.raises(
        TrainingError, match=r"^optimiser step 1: the gradient's norm became inf\. Lower the learning rate"
    ):
        learner.step()
    assert weight.item() == 0.0


LINEAR = [1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
SCHEDULES = {
    ("linear", 0.2): LINEAR,
    ("constant", 0.2): [1 / 3, 2 / 3, *[1.0] * 8],
    ("cosine", 0.2): [1 / 3, 2 / 3, *(math.cos(math.pi * n / 16) ** 2 for n in range(8))],
    ("linear", 0.0): [1 - n / 10 for n in range(10)],
    ("linear", 1.0): [n / 11 for n in range(1, 11)],
}


@pytest.mark.parametrize(("schedule", "warmup"), SCHEDULES)
def test_the_learning_rate_rises_and_falls_by_the_formula(schedule: str, warmup: float) -> None:
    optimiser = Optimiser.model_validate({"learning_rate": 1.0, "schedule": schedule, "warmup": warmup})
    factors = [learning_rate_factor(step, 10, optimiser) for step in range(10)]
    assert factors == pytest.approx(SCHEDULES[schedule, warmup])


def test_a_learner_follows_the_schedule() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    learner = _learner(weight, schedule="linear", warmup=0.2)
    figures = [learner.train_step(SHORT, lambda batch: (weight.sum(), {})) for _ in range(10)]
    assert [step["grad_norm"] for step in figures] == [1.0] * 10
    rates = [step["learning_rate"] for step in figures]
    assert rates == pytest.approx([1e-2 * factor for factor in LINEAR])


def _of_roles(place: Path, **changes: Any) -> tuple[PpoRoles, Learner]:
    recipe = tiny.recipe(place, **changes)
    assert recipe.base is not None
    roles = ppo_roles(recipe, recipe.base, None)
    trained = [Trained("policy", roles.policy, 1e-2), Trained("critic", roles.critic, 1e-2)]
    return roles, Learner(trained, Optimiser(learning_rate=1e-2), steps=10, token_budget=1000)


@pytest.mark.parametrize("layout", ["shared", "separate"])
def test_what_is_saved_goes_by_the_paths_of_the_parameters(layout: str, tmp_path: Path) -> None:
    roles, learner = _of_roles(tmp_path, roles=layout)
    for role in (roles.policy, roles.critic):
        for weight in role.parameters():
            weight.grad = torch.ones_like(weight)
    learner.step()
    tensors = learner.tensors()
    weights = {f"{name}/{path}": weight for name in ("policy", "critic") for path, weight in _paths(roles, name)}
    assert all(torch.equal(tensors[f"weights/{path}"], weight.detach()) for path, weight in weights.items())
    moments = {f"{kind}/{path}" for path in weights for kind in ("step", "exp_avg", "exp_avg_sq")}
    assert tensors.keys() == {f"weights/{path}" for path in weights} | moments | {"steps"}


def _paths(roles: PpoRoles, name: str) -> list[tuple[str, Tensor]]:
    """What a role learns, as PEFT names an adapter's weights and torch those of a module."""
    role = {"policy": roles.policy, "critic": roles.critic}[name]
    if role.adapters is not None:
        own = get_peft_model_state_dict(role.adapters.peft, adapter_name=name)
    else:
        own = dict((role.model if role.head is None else role.model.base_model).named_parameters())
    head = {} if role.head is None else {"head.weight": role.head.weight, "head.bias": role.head.bias}
    return [*own.items(), *head.items()]


def test_a_checkpoint_of_other_weights_is_refused_by_the_first_path_and_changes_nothing(tmp_path: Path) -> None:
    _, learner = _of_roles(tmp_path / "one", **{"lora.rank": 3})
    roles, narrower = _of_roles(tmp_path / "other", **{"lora.rank": 2})
    before = [weight.detach().clone() for weight in roles.policy.parameters()]
    first = next(path for path in learner.tensors() if path.startswith("weights/")).removeprefix("weights/")
    assert first.startswith("policy/")
    assert ".layers.0." in first
    with pytest.raises(RunError, match=rf"lacks {re.escape(first)}\b"):
        narrower.restore(learner.tensors())
    assert all(map(torch.equal, before, roles.policy.parameters()))


@pytest.mark.parametrize(("adapter", "times"), [(None, 1), ("policy", 0)])
def test_what_a_step_frees_is_kept_where_all_weights_learn(
    monkeypatch: pytest.MonkeyPatch, adapter: str | None, times: int
) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(learner, "keep_all_freed_blocks", lambda: kept.append(True))
    one: Any = tiny.trained("policy", 1e-3, torch.nn.Parameter(torch.zeros(5, 3)))
    one.role.adapter = adapter
    Learner([one], Optimiser(learning_rate=1e-3), steps=1, token_budget=64)
    assert len(kept) == times
