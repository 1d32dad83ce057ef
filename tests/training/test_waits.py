"""How often learning waits for a device: however many micro-batches a batch has, and columns a batch of responses."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Self

import pytest
import tiny
import torch
from fake_device import FAKE, fake_device

from truing.config.algorithms import Dpo, Kto, Orpo, Ppo, Reward, Simpo
from truing.config.recipe import Recipe
from truing.config.sections import Lora, Optimiser
from truing.core.batches import Sequences
from truing.core.experience import Experience
from truing.core.rows import PairRows, RatedRows, TokenRows
from truing.functional import gae
from truing.kernels import fused_layer, packed_rows
from truing.kernels.backend import choose_backend
from truing.kernels.precision import Precision
from truing.models.adapters import Adapters
from truing.models.heads import scalar_head
from truing.models.roles import Role
from truing.models.scoring import response_logprobs
from truing.stages.dpo import ReferencedRows, preference_loss
from truing.stages.grpo import LOSSES
from truing.stages.kto import ReferencedRatings, rating_loss
from truing.stages.orpo import odds_loss
from truing.stages.ppo import policy_loss, value_loss
from truing.stages.reward import pair_loss
from truing.stages.sft import completion_loss
from truing.stages.simpo import margin_loss
from truing.training.learner import Learner, Trained


@dataclass(frozen=True)
class Numbers:
    """A batch of numbers that go to no device."""

    values: Sequence[float]
    names: Sequence[str] = field(default=())

    def __len__(self) -> int:
        return len(self.values)

    @property
    def count(self) -> int:
        return len(self)

    @property
    def token_counts(self) -> list[int]:
        return [1] * len(self)

    def rows(self, index: Sequence[int]) -> Self:
        return type(self)([self.values[row] for row in index])

    def to(self, _: torch.device) -> Sequence[float]:
        return self.values


@pytest.mark.parametrize("budget", [100, 1])
def test_a_batch_is_waited_for_once_and_a_step_twice(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "backward", lambda _: None)  # autograd asks for a real device
    with fake_device() as device:
        weight = torch.nn.Parameter(torch.ones(3, device=FAKE))
        trained = tiny.trained("policy", 0.1, weight)
        trained.role.model.device = FAKE  # type: ignore[misc]
        learner = Learner([trained], Optimiser(learning_rate=0.1, warmup=0.0), steps=3, token_budget=budget)

        def loss(values: Sequence[float]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            mean = sum(values) / len(values)
            return (weight * mean).sum(), {"accuracy": weight.sum(), "ratio_max_deviation": weight.max() * max(values)}

        found = learner.forward_backward(Numbers([1.0, 2.0, 3.0, 6.0]), loss)
        assert sum(device.waits.values()) == 1
        weight.grad = torch.full((3,), 3.0, device=FAKE)
        norm = learner.step()
        assert sum(device.waits.values()) == 3
    assert found == {"loss": 9.0, "accuracy": 3.0, "ratio_max_deviation": 6.0}
    assert norm == pytest.approx(3 * 3**0.5)


@pytest.mark.parametrize("columns", [2, 50])
def test_advantages_of_a_device_are_found_on_the_host(columns: int) -> None:
    rewards, mask = torch.linspace(-1, 1, 3 * columns).view(3, columns), torch.ones(3, columns, dtype=torch.bool)
    expected = gae(rewards, rewards.flip(0), mask)
    with fake_device() as device:
        there = [part.to(FAKE) for part in (rewards, rewards.flip(0), mask)]
        device.waits.clear()
        device.kernels = 0
        found = gae(*there)
        assert sum(device.waits.values()) <= 5  # there and back
        assert device.kernels <= 6
        here = [part.cpu() for part in found]
    assert all(map(torch.equal, here, expected))


EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
PROMPTS = [(1,), (2, 3), (4, 5, 6), (7,), (8, 9), (10,)]
SHORT = TokenRows(PROMPTS, [(*[16 + n % 3] * (1 + n % 4), EOS) for n in range(6)], PAD)
LONG = TokenRows(PROMPTS, [(20 + n % 5,) * (6 - n % 3) for n in range(6)], PAD)


def _losses(role: Role, sequences: Sequences) -> dict[str, tuple[Any, Any]]:
    """A batch and a loss of every stage."""
    numbers = torch.zeros(len(sequences), 6, device=FAKE)
    groups = torch.arange(len(sequences), device=FAKE)
    experience = Experience(
        sequences, numbers, numbers, groups, numbers, numbers, ref_logprobs=numbers, kl_price=groups
    )
    pairs, ref = PairRows(SHORT, LONG, [0.0] * 6), numbers[:, 0]
    ratings = ReferencedRatings(RatedRows(SHORT, [True, False] * 3), ref, LONG, ref, ref[0])
    logprobs = partial(response_logprobs, role)
    return {
        "sft": (SHORT, lambda batch: completion_loss(role, batch)),
        "reward": (pairs, lambda batch: pair_loss(role, batch, Reward())),
        "policy": (experience, lambda batch: policy_loss(role, batch, Ppo(), 1.0)),
        "critic": (experience, lambda batch: value_loss(role, batch, Ppo())),
        "grpo": (experience, lambda batch: LOSSES["k3_in_loss"](logprobs(batch.sequences), batch, Recipe())),
        "kto": (ratings, lambda batch: rating_loss(role, batch, Kto())),
        "orpo": (pairs, partial(odds_loss(Orpo()), role)),
        "simpo": (pairs, partial(margin_loss(Simpo()), role)),
        **{
            variant: (ReferencedRows(pairs, ref, ref), partial(preference_loss, role, settings=Dpo(variant=variant)))
            for variant in VARIANTS
        },
    }


VARIANTS: tuple[Literal["sigmoid", "robust", "ipo"], ...] = ("sigmoid", "robust", "ipo")
STAGES = ["sft", "reward", "policy", "critic", "grpo", "kto", "orpo", "simpo", *VARIANTS]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("least", [1, fused_layer.MIN_FUSED_WEIGHTS], ids=["fused", "plain"])
def test_a_forward_waits_for_nothing(
    stage: str, dtype: torch.dtype, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16, rows of different lengths are laid end to end."""
    monkeypatch.setattr(fused_layer, "MIN_FUSED_WEIGHTS", least)
    own, fused = fused_layer._computed, list[object]()
    monkeypatch.setattr(fused_layer, "_computed", lambda layer, *a, **k: fused.append(layer) or own(layer, *a, **k))
    monkeypatch.setattr(torch.Tensor, "backward", lambda _: None)  # autograd asks for a real device
    monkeypatch.setattr(packed_rows, "varlen_attn", lambda queries, *_, **__: queries)
    with fake_device() as device:
        model, head = tiny.model().to(dtype).to(FAKE), scalar_head(tiny.model(), seed=1, bias=True).to(FAKE)
        role = Role(model, head=head, backend=choose_backend(model, FAKE, Precision(dtype, dtype)))
        role.backend.prepare(model)
        batch, loss = _losses(role, Sequences.collate(LONG.prompts, LONG.responses, PAD).to(FAKE))[stage]
        learner = Learner([Trained(stage, role, 0.1)], Optimiser(learning_rate=0.1), steps=3, token_budget=20)
        assert len(role.micro_batches(batch.token_counts, 20)) > 1
        device.waits.clear()
        learner.forward_backward(batch, loss)
        assert sum(device.waits.values()) == 1
    assert bool(fused) == (least == 1)


def test_float32_adapters_of_fused_layers_stay_on_the_device_and_wait_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused_layer, "MIN_FUSED_WEIGHTS", 1)
    monkeypatch.setattr(packed_rows, "varlen_attn", lambda queries, *_, **__: queries)
    model = tiny.model("qwen").bfloat16().requires_grad_(False)
    backend = choose_backend(model, FAKE, Precision(torch.bfloat16, torch.bfloat16))
    backend.prepare(model)
    adapters = Adapters(model, Lora(rank=2), 0, backend)
    adapters.add("policy")
    with fake_device() as device:
        role = Role(model.to(FAKE), adapters, "policy", backend=backend)
        role.select()
        batch = Sequences.collate(LONG.prompts, LONG.responses, PAD).to(FAKE)
        device.waits.clear()
        hidden = role.hidden(batch.tokens, batch.attention_mask, None, batch.token_counts)
        assert (hidden.device, hidden.requires_grad) == (FAKE, True)
        assert not +device.waits
