"""An adapter on another one is, stacked with it, one adapter on the base of both, and is taken out again to the bit."""

from pathlib import Path

import pytest
import tiny
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from truing.config.sections import Lora
from truing.models.adapters import Adapters
from truing.models.roles import Role
from truing.models.save import merge, name_base, save_adapter
from truing.models.stacking import stack

TOKENS = torch.tensor([[1, 2, 3, 9, 27, 4]])
ATTENTION: dict[str, str | list[str]] = {"llama": ["q_proj", "v_proj"], "gpt2": ["c_attn"]}
LOWER = Lora(rank=3, alpha=2.0)


@torch.no_grad()
def _logits(model: torch.nn.Module) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=TOKENS).logits
    return logits


def _trained(model: PreTrainedModel, lora: Lora, directory: Path, above: int = 0) -> Role:
    """A saved adapter whose weights have moved, none as another."""
    adapters = Adapters(model.requires_grad_(False), lora, seed=lora.rank)
    adapters.add("policy", above)
    with torch.no_grad():
        for number, weight in enumerate(adapters.parameters("policy")):
            weight.add_(torch.linspace(-0.2, 0.3, weight.numel()).roll(number).view_as(weight))
    role = Role(model, adapters, "policy")
    save_adapter(role, directory)
    return role


@pytest.mark.parametrize("shape", ATTENTION)
@pytest.mark.parametrize("everywhere", [True, False])
def test_a_stack_on_the_base_is_the_adapter_on_the_merged_model(shape: str, everywhere: bool, tmp_path: Path) -> None:
    """Of other rank and scale, and in the same layers or in a few of them."""
    merged = merge(_trained(tiny.model(shape), LOWER, tmp_path / "lower"))
    name_base(tmp_path / "lower", "somewhere")
    upper = Lora(rank=2, targets="all-linear" if everywhere else ATTENTION[shape])
    role = _trained(merged, upper, tmp_path / "upper", above=0 if everywhere else 1)
    own = load_file(tmp_path / "upper" / "adapter_model.safetensors")
    assert stack(tmp_path / "upper", tmp_path / "lower")

    assert role.adapters is not None
    role.adapters.load("again", str(tmp_path / "upper"))
    again = role.adapters.named_parameters("again")
    assert again.keys() == own.keys()
    assert all(torch.equal(again[path], weight) for path, weight in own.items())

    found = _logits(PeftModel.from_pretrained(tiny.model(shape), tmp_path / "upper"))
    torch.testing.assert_close(found, _logits(merge(role)), atol=1e-4, rtol=1e-4)


def test_what_cannot_be_stacked_stays_as_it_is(tmp_path: Path) -> None:
    upper, lower, grouped = tmp_path / "upper", tmp_path / "lower", tmp_path / "grouped"
    for directory in (upper, lower, grouped):
        _trained(tiny.model(), LOWER, directory)
    name_base(grouped, "somewhere")
    weights = load_file(grouped / "adapter_model.safetensors")
    halved = {path: weight[:, :1].contiguous() if "lora_B" in path else weight for path, weight in weights.items()}
    save_file(halved, grouped / "adapter_model.safetensors")
    before = {file.name: file.read_bytes() for file in upper.iterdir()}
    assert not stack(upper, lower)  # which names no base
    assert not stack(upper, grouped)  # whose matrices have not the rank between them
    assert {file.name: file.read_bytes() for file in upper.iterdir()} == before
