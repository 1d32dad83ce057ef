"""How much a device does at once, where a recipe leaves that to it."""

from pathlib import Path

import pytest
import tiny
import torch
from transformers import MambaConfig, MambaForCausalLM

from truing.config.defaults import ON_CPU
from truing.config.variants import with_changes
from truing.kernels import fused_layer
from truing.models import device
from truing.preflight import sizes
from truing.preflight.sizes import sizes_of, sizes_within
from truing.processes import group

NARROW = {"compute.dtype": "bfloat16", "sft.batch_size": 1000, "ppo.episodes": 1000, "rollout.max_new_tokens": 64}
TOKEN = 2 * 2 * (4 * 16 + 256)
"""Bytes that learning keeps of a token: 2 layers of numbers of 2 bytes, of hidden states of 16 four times, and of the
inputs and outputs of the products, 32 + 24 + 24 + 32 + 3·48 + ... of queries, keys, values, output and feed-forward"""
FUSED_TOKEN = TOKEN - 2 * 2 * (4 + 5) * 16
"""The same where layers are computed in one: no hidden state beside these inputs and outputs, and five fewer of them"""
CACHED = 2 * 2 * 2 * 8
"""Bytes of the keys and values of a token: 2 layers, each 8 numbers of 2 bytes, twice"""


def test_on_a_cpu_they_are_fixed_and_the_base_is_not_asked(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **dict.fromkeys(ON_CPU, None) | {"compute.dtype": "auto"})
    assert sizes_of(recipe, recipe.stages, lambda: pytest.fail("the base was read")) == ON_CPU


def test_several_processes_take_what_fits_into_the_smallest_of_their_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that share layers read the same rows, so all take as many at once."""
    recipe = tiny.recipe(tmp_path, **NARROW)
    monkeypatch.setattr(sizes, "device_of", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(device, "gpu_memory", lambda _: 10**12)
    monkeypatch.setattr(group, "all_gather", lambda memory: [memory, int(9000 * TOKEN / sizes.ROOM)])
    assert sizes_of(recipe, ["sft"], tiny.model)["compute.learn_tokens"] == 8192


@pytest.mark.parametrize(("size", "expected"), [(6000 * TOKEN, 4096), (9000 * TOKEN, 8192), (1e12, 32_768), (0, 2048)])
def test_as_many_tokens_as_fit_by_count_are_learnt_from_at_once(size: float, expected: int, tmp_path: Path) -> None:
    found = sizes_within(tiny.recipe(tmp_path, **NARROW), ["sft"], tiny.model(), size)
    assert found["compute.learn_tokens"] == expected
    assert found["compute.score_tokens"] == (2048 if expected == 2048 else 2 * expected)
    assert found["compute.dtype"] == "bfloat16"


@pytest.mark.parametrize(("changes", "expected"), [({}, 8192), ({"sft.method": "full"}, 4096)])
def test_of_layers_that_are_computed_in_one_more_fits(
    changes: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where frozen weights are computed with as they are; those that learn are cast."""
    monkeypatch.setattr(fused_layer, "MIN_FUSED_WEIGHTS", 1)
    learnt, model = 16 * tiny.model().num_parameters(), tiny.model().bfloat16()
    size = 8192 * (FUSED_TOKEN + TOKEN) / 2 + (learnt if changes else 0)
    found = sizes_within(tiny.recipe(tmp_path, **NARROW, **changes), ["sft"], model, size)
    assert found["compute.learn_tokens"] == expected


@pytest.mark.parametrize(("rows", "expected"), [(150, 128), (300, 256), (5000, 512)])
def test_as_many_rows_as_fit_by_count_are_sampled_side_by_side(rows: int, expected: int, tmp_path: Path) -> None:
    recipe = with_changes(tiny.recipe(tmp_path, **NARROW), {"data.max_length": 500, "ppo.minibatches": 1000})
    found = sizes_within(recipe, ["ppo"], tiny.model(), rows * 500 * CACHED)
    assert found["compute.rollout_rows"] == expected


def test_of_layers_without_attention_nothing_is_counted(tmp_path: Path) -> None:
    """So it is as on a CPU, but for what is computed in."""
    model = MambaForCausalLM(MambaConfig(vocab_size=tiny.VOCABULARY, hidden_size=16, num_hidden_layers=2, state_size=4))
    found = sizes_within(tiny.recipe(tmp_path, **NARROW), ["sft", "ppo"], model, 1e12)
    assert found == ON_CPU | {"compute.dtype": "bfloat16"}
