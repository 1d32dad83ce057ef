"""Processes that each compute a slice of every layer, and of the vocabulary."""

import signal
from pathlib import Path

import pytest
import tiny
from faults.killed import SHORT, left_behind
from processes.read_in_parts import write_bases
from processes.several import (
    MANY_UPDATES,
    SOON,
    assert_same_responses,
    in_ranks,
    is_gone,
    kill,
    ranks,
    said,
    start,
    wait_for_lines,
)
from transformers import AutoModelForCausalLM

from truing.config.sections import Lora
from truing.core.errors import ModelError
from truing.models.adapters import Adapters
from truing.models.tensor_plan import tensor_plan
from truing.processes.parts import Parts
from truing.processes.tensor_parallel import Slices
from truing.runs.metrics import read_jsonl

pytestmark = pytest.mark.long

TENSOR = ("--tp", "2")
FULL = {"roles": "separate", "sft.method": "full"}
LONG = SHORT | FULL | MANY_UPDATES


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.recipe_file(tmp_path_factory.mktemp("cut"), shape=f"qwen3{tiny.IN_GROUPS}", **LONG)


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> Path:
    out = recipe.parent / "undisturbed"
    assert start(recipe, out, 2, *TENSOR).wait(300) == 0, said(out)
    return out


def test_one_is_killed_the_other_ends_and_the_run_goes_on_to_the_same_bytes(recipe: Path, undisturbed: Path) -> None:
    out = recipe.parent / "killed"
    going = start(recipe, out, 2, *TENSOR)
    wait_for_lines(out / "ppo" / "metrics.jsonl", 3, going)
    processes = ranks(going)
    kill(processes[1])
    assert going.wait(SOON) == 1
    assert all(map(is_gone, processes))
    assert start(recipe, out, 2, *TENSOR).wait(300) == 0, said(out)
    assert left_behind(out) == left_behind(undisturbed)


@pytest.mark.parametrize("more", [[], pytest.param([(4, TENSOR)], marks=pytest.mark.slow)])
def test_a_run_goes_on_in_other_layouts(
    recipe: Path, undisturbed: Path, more: list[tuple[int, tuple[str, ...]]]
) -> None:
    """Its layers in two, whole in one process, its rows of weights in two, and in two for each half of the rows."""
    out, lines = recipe.parent / f"layouts-{len(more)}", 2
    for processes, options in [(2, TENSOR), (1, ()), (2, ("--set", "compute.shard=true")), *more]:
        going = start(recipe, out, processes, *options)
        wait_for_lines(out / "ppo" / "metrics.jsonl", lines + 1, going)
        going.send_signal(signal.SIGTERM)
        assert going.wait(SOON) == 128 + signal.SIGTERM, said(out)
        lines = len(read_jsonl(out / "ppo" / "metrics.jsonl"))
        (*_, last) = sorted((out / "ppo" / "checkpoints").glob("step-*"))
        assert len(list(last.glob("shard-*.safetensors"))) == (0 if processes == 1 else 2)
    assert start(recipe, out, 2, *TENSOR).wait(300) == 0, said(out)
    assert_same_responses(out / "ppo", undisturbed / "ppo")


@pytest.mark.slow
def test_numbers_that_are_not_finite_are_told_once(recipe: Path) -> None:
    out = recipe.parent / "broken"
    going = start(recipe, out, 2, *TENSOR, "--set", "sft.optimiser.learning_rate=1e9")
    assert going.wait(SOON) == 1, said(out)
    assert said(out).count("sft step ") == 1, said(out)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((*TENSOR, "--set", "compute.shard=true"), "spreads weights that --tp has cut already"),
        (("--tp", "3"), "3 slices of each layer need 3 processes or a multiple of it, not 2"),
        ((*TENSOR, "--set", "lora.targets=[lm_head]", "--set", "roles=shared"), "a projection that --tp cuts"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_first_step(
    tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    recipe = tiny.recipe_file(tmp_path / "made", shape=f"llama{tiny.IN_GROUPS}", **{"stages": ["sft"]})
    out = tmp_path / "run"
    assert start(recipe, out, 2, *options).wait(SOON) == 2, said(out)
    assert said(out).count(told) == 1, said(out)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ("gpt2", "has no plan in transformers"),
        ("llama", "has 1 heads of keys and values, which 2 processes cannot share out"),
        ("gemma", "has embeddings of its own kind"),
    ],
)
def test_a_model_whose_layers_cannot_be_cut_is_refused(shape: str, told: str) -> None:
    model = tiny.model(shape)
    model.config.num_key_value_heads = 2 if shape == "gemma" else getattr(model.config, "num_key_value_heads", 1)
    with pytest.raises(ModelError, match=told) as refused:
        tensor_plan(model, 2)
    assert "Leave --tp out" in str(refused.value)


def test_a_second_adapter_finds_the_layers_that_carry_one() -> None:
    class Drawn(Parts):
        adapter_layers = Slices.adapter_layers

    adapters = Adapters(tiny.model(f"llama{tiny.IN_GROUPS}"), Lora(rank=2), seed=0, parts=Drawn())
    adapters.add("policy", above=1)
    adapters.add("critic", above=1)
    assert adapters.named_parameters("critic").keys() == adapters.named_parameters("policy").keys()


def test_a_vocabulary_of_which_a_process_would_have_nothing_is_refused() -> None:
    """Of five tokens, slices of two leave none for the fourth process."""
    model = tiny.model(f"llama{tiny.IN_GROUPS}", vocabulary=5)
    model.config.num_key_value_heads = 4
    with pytest.raises(ModelError, match="has 5 tokens, of which the last of 4 processes would have none"):
        tensor_plan(model, 4)


def test_a_plan_that_names_none_of_the_layers_is_none() -> None:
    """As where it is that of a part of the model."""
    model = tiny.model(f"llama{tiny.IN_GROUPS}")
    ways: dict[str, str] = model.config.base_model_tp_plan
    model.config.base_model_tp_plan = {f"language_model.{path}": way for path, way in ways.items()}
    with pytest.raises(ModelError, match="has no plan in transformers"):
        tensor_plan(model, 2)


def test_a_weight_beside_cut_ones_that_the_plan_leaves_out_is_refused() -> None:
    """It would work on a slice, and its gradient be that of the slice."""
    model = tiny.model(f"qwen3{tiny.IN_GROUPS}")
    ways: dict[str, str] = model.config.base_model_tp_plan
    model.config.base_model_tp_plan = {path: way for path, way in ways.items() if "q_norm" not in path}
    with pytest.raises(ModelError, match=r"has model.layers.0.self_attn.q_norm.weight, of which"):
        tensor_plan(model, 2)


SLICES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import tiny
import torch
from processes import read_in_parts
from truing.config.sections import Base, Compute
from truing.kernels.next_token import WHOLE
from truing.models.layout import base_to_train
from truing.processes import group
from truing.processes.tensor_parallel import Slice
from torch.distributed.device_mesh import init_device_mesh

with group.joined(tensor=2), torch.no_grad():
    torch.manual_seed(0)
    rows, words = 500, 301
    logits, other = 3 * torch.randn(2, rows, words)
    logits[:, 7] = -torch.inf
    other[:, 7] = -torch.inf
    tokens, uniforms = torch.randint(8, words, (rows,)), torch.rand(rows)
    uniforms[:2] = torch.tensor([0.0, 1.0])
    vocabulary = Slice(words, init_device_mesh("cpu", (2,)), group.in_step)
    own = slice(0, 151) if group.rank() == 0 else slice(151, words)
    mine, others = logits[:, own].contiguous(), other[:, own].contiguous()

    torch.testing.assert_close(vocabulary.log_softmax(mine), logits.log_softmax(-1)[:, own])
    torch.testing.assert_close(vocabulary.token_logprobs(mine, tokens, 0.7), WHOLE.token_logprobs(logits, tokens, 0.7))
    expected = WHOLE.distribution(logits, other, tokens)
    for found, right in zip(vocabulary.distribution(mine, others, tokens), expected):
        torch.testing.assert_close(found, right)
    (drawn, logprobs), (expected, their_logprobs) = vocabulary.draw(mine, uniforms), WHOLE.draw(logits, uniforms)
    assert torch.equal(drawn, expected)
    torch.testing.assert_close(logprobs, their_logprobs)

    read_in_parts.check(Path(sys.argv[2]), Compute())
    base = base_to_train(Base(path=f"{sys.argv[2]}/untied"), Compute(), by_adapter=False)
    kept = sum(base.parts.own_part(weight).numel() for weight in base.model.parameters())
    parts = group.all_gather(kept)
    if group.is_owner():
        print(*parts)
"""


def test_slices_of_a_vocabulary_say_what_the_whole_says_and_each_process_keeps_half(tmp_path: Path) -> None:
    write_bases(tmp_path)
    kept = [*map(int, in_ranks(SLICES, tmp_path, 2, str(Path(__file__).parents[1]), str(tmp_path)).split())]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "untied")
    norms = sum(weight.numel() for path, weight in model.named_parameters() if "norm" in path)
    whole = sum(weight.numel() for weight in model.parameters())
    assert sum(kept) == whole + norms  # which are whole in both
    assert max(kept) <= 0.53 * whole
