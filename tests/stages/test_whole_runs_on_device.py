"""Whole runs on a device that is none: nothing of the host meets what lies there, from loading a base to its model/.

Autograd asks for a real device, so no gradient is taken; what a file is written from is fetched first.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from fake_device import FAKE, fake_device
from peft import peft_model
from torch import Tensor
from transformers import PreTrainedModel

from truing.models import device, save
from truing.pipeline.execute import run_pipeline
from truing.runs.progress import SilentProgress

RUNS = {
    "sft, reward and ppo": {"stages": ["sft", "reward", "ppo"]},
    "dpo": {"stages": ["dpo"]},
    "kto": {"stages": ["kto"]},
    "grpo": {"stages": ["reward", "grpo"], "grpo.penalty": "corrected_k3_in_loss", "grpo.drop_even_groups": True},
}
MORE: dict[str, dict[str, Any]] = {
    "all weights": {"stages": ["reward", "ppo"], "roles": "separate"},
    "bfloat16": {"stages": ["sft", "reward", "ppo"], "compute.dtype": "bfloat16"},
    "members": {"stages": ["reward", "ppo"], "reward.members": 2},
    "prefix": {"stages": ["reward", "ppo"], "lora.layers": 0.5},
    "guard": {"stages": ["reward", "ppo"], "ppo.updates": 2, "guard.mode": "rollback", "guard.look_every": 1},
    "orpo": {"stages": ["orpo"]},
    "simpo": {"stages": ["simpo"]},
    "rloo": {"stages": ["reward", "rloo"]},
    "reinforce": {"stages": ["reward", "reinforce"]},
    "gpt2": {"stages": ["sft", "reward", "ppo"], "shape": "gpt2"},
}


def _fetched(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in tensors.items()}


@pytest.fixture(autouse=True)
def device_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    write, adapter_of = save.save_file, peft_model.get_peft_model_state_dict
    write_model: Callable[..., Any] = PreTrainedModel.save_pretrained

    def save_model(model: PreTrainedModel, *place: Any, **options: Any) -> None:
        write_model(
            model, *place, **options | {"state_dict": _fetched(options.get("state_dict") or model.state_dict())}
        )

    monkeypatch.setattr(device, "SUPPORTED", (FAKE.type,))
    monkeypatch.setattr(Tensor, "backward", lambda _: None)
    monkeypatch.setattr(save, "save_file", lambda tensors, *rest: write(_fetched(tensors), *rest))
    monkeypatch.setattr(peft_model, "get_peft_model_state_dict", lambda *of, **how: _fetched(adapter_of(*of, **how)))
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", save_model)


@pytest.mark.parametrize("name", [*RUNS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_a_run_on_a_device_finds_all_that_it_needs_there(name: str, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **(RUNS | MORE)[name], **{"compute.device": str(torch.device(FAKE))})
    with fake_device() as there:
        run = run_pipeline(recipe, tmp_path / "run", SilentProgress())
    assert there.kernels > 0
    assert all(run.stage(stage).result.exists() for stage in recipe.stages)
