"""Packed rows give what padded rows give, in every family that is packed, and nothing is computed for padding."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from kernels.documented_attention import row_by_row
from torch import Tensor
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from truing.config.sections import Lora
from truing.core.batches import Sequences
from truing.kernels import packed_rows
from truing.kernels.backend import Backend, choose_backend
from truing.kernels.checkpointing import checkpoint_layers
from truing.kernels.packed_rows import PackedRows, hidden_causal, hidden_packed, hidden_varlen
from truing.kernels.precision import Precision
from truing.models.adapters import Adapters
from truing.models.exactness import exact_backend
from truing.models.prefix import frozen_prefix_of
from truing.models.roles import Role
from truing.models.scoring import end_scores, forward_in_micro_batches, response_logprobs

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NARROW = Precision(torch.bfloat16, torch.bfloat16)
PAD = len(tiny.LETTERS) + 1
BATCH = Sequences.collate(
    [[1, 2, 3], [4], [5, 6, 7, 8, 9], [10, 11], [3]], [[9, 12], [10, 11, 12, 13], [14, 2, 3], [15, 16, 20], [1]], PAD
)


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are packed however small they are."""
    monkeypatch.setattr(packed_rows, "MIN_LAYER_WEIGHTS", 1)


def _model(shape: str) -> PreTrainedModel:
    if shape != "qwen3":
        return tiny.model(shape)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8, "vocab_size": PAD + 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return Qwen3ForCausalLM(Qwen3Config(**sizes, **heads, initializer_range=0.3)).eval()


def _packed(model: PreTrainedModel, **parts: Any) -> Role:
    """A role whose backend packs rows."""
    role = Role(model, backend=choose_backend(model, CPU, Precision()), **parts)
    assert role.backend.hidden is hidden_packed
    return role


def _learnt(role: Role) -> list[Tensor]:
    """What a role says of the batch, and every gradient of a loss on it."""
    found = response_logprobs(role, BATCH)
    weights = [weight for weight in role.parameters() if weight.requires_grad]
    return [found.detach(), *torch.autograd.grad(found.square().sum(), weights)]


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("shape", ["llama", "qwen", "qwen3"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_rows_are_read_as_padded_rows_are(shape: str, checkpointing: bool) -> None:
    model = _model(shape)
    if checkpointing:
        checkpoint_layers(model)
    for ours, theirs in zip(_learnt(_packed(model)), _learnt(Role(model)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("any_size")
def test_adapters_above_a_frozen_prefix_go_on_from_its_states() -> None:
    model = tiny.model().requires_grad_(False)
    prefix = frozen_prefix_of(model, 1)
    assert prefix is not None
    adapters = Adapters(model, Lora(rank=2), seed=0)
    adapters.add("policy", above=1)
    role = _packed(model, adapters=adapters, adapter="policy", prefix=prefix)
    padded = replace(role, backend=Backend())
    tokens, mask = BATCH.tokens, BATCH.attention_mask
    with prefix.capture() as states, torch.no_grad():
        whole = padded.hidden(tokens, mask)
    with torch.no_grad():
        rest = role.hidden(tokens, mask, states[0])
        broken = role.hidden(tokens, mask, states[0] + 1)
    torch.testing.assert_close(rest[mask.bool()], whole[mask.bool()], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(broken[mask.bool()], whole[mask.bool()], atol=1e-2)


@pytest.mark.usefixtures("any_size")
def test_every_token_is_computed_once_and_no_padding() -> None:
    model = tiny.model()
    role, seen = _packed(model), list[torch.Size]()
    model.base_model.register_forward_pre_hook(
        lambda _, __, named: seen.append(named["input_ids"].shape), with_kwargs=True
    )
    forward_in_micro_batches(role, BATCH, 1000, lambda rows, _: (response_logprobs(role, rows),))
    assert seen == [(1, int(BATCH.lengths.sum()) - 1)]  # the last token of the longest row is not read


@pytest.mark.usefixtures("any_size")
def test_no_row_sees_another() -> None:
    role = _packed(tiny.model(), head=torch.nn.Linear(16, 1))
    with torch.no_grad():
        together = end_scores(role, BATCH)
        alone = torch.cat([end_scores(role, BATCH.rows([row])) for row in range(len(BATCH))])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_places_positions_and_equal_neighbours() -> None:
    rows = PackedRows([2, 2, 3], 3, CPU)
    assert rows.positions.tolist() == [[0, 1, 0, 1, 0, 1, 2]]
    assert rows.seqlens == [(2, 2), (1, 3)]
    tokens = torch.tensor([[1, 2, 0], [3, 4, 0], [5, 6, 7]])
    assert rows.pack(tokens).tolist() == [[1, 2, 3, 4, 5, 6, 7]]
    assert rows.unpack(rows.pack(tokens[..., None])).squeeze(2).tolist() == tokens.tolist()


@pytest.mark.usefixtures("any_size")
def test_a_forward_that_fails_leaves_the_models_own_attention() -> None:
    role = _packed(tiny.model())
    with pytest.raises(IndexError):
        role.hidden(BATCH.tokens + 1000, BATCH.attention_mask)


@pytest.mark.parametrize("shape", ["llama", "qwen", "qwen3"])
@pytest.mark.parametrize("keys_for_each", [False, True])
def test_rows_that_are_padded_on_the_right_need_no_mask(
    shape: str, keys_for_each: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_rows, "_wants_keys_for_each", lambda *_: keys_for_each)  # as CUDA does in float32
    backend = choose_backend(_model(shape), CUDA, Precision())
    assert backend.hidden is hidden_causal
    plain, bare = (
        Role(_model(shape), backend=replace(Backend(), hidden=of)) for of in (Backend().hidden, hidden_causal)
    )
    for role in (plain, bare):
        role.model.requires_grad_(True)
    for found, expected in zip(_learnt(bare), _learnt(plain), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_model_that_looks_through_windows_keeps_its_mask() -> None:
    for model in (tiny.model("gemma"), tiny.model("gpt2")):
        assert choose_backend(model, CUDA, NARROW).hidden is Backend().hidden


@pytest.mark.parametrize("shape", ["llama", "qwen", "qwen3"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_rows_for_a_kernel_that_reads_different_lengths_are_read_as_padded_rows_are(
    shape: str, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_rows, "varlen_attn", row_by_row)
    model = _model(shape)
    if checkpointing:
        checkpoint_layers(model)
    ours, theirs = (Role(model, backend=backend) for backend in (Backend(hidden=hidden_varlen), Backend()))
    for found, expected in zip(_learnt(ours), _learnt(theirs), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def _without_gradient_of_queries(queries: Tensor, *others: Any, **options: Any) -> Tensor:
    return row_by_row(queries.detach(), *others, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kernel", "expected"), [(row_by_row, hidden_varlen), (_without_gradient_of_queries, hidden_causal)]
)
def test_a_kernel_is_taken_if_its_backward_is_that_of_each_row_alone(
    kernel: Any, expected: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_rows, "varlen_attn", kernel)
    model = _model("qwen3").to(dtype).requires_grad_(False)
    backend = Backend(precision=Precision(dtype, dtype), hidden=hidden_varlen)
    found, notes = exact_backend(model, backend, PAD)
    assert found.hidden is expected
    assert len(notes) == (expected is hidden_causal)


@pytest.mark.parametrize("shape", ["llama", "qwen", "qwen3"])
def test_a_gpu_reads_rows_of_different_lengths_in_bfloat16(shape: str) -> None:
    """By what PyTorch's own kernel says of shapes and numbers where there is no memory."""
    model = _model(shape).bfloat16().to("meta")
    backend = choose_backend(model, CUDA, NARROW)
    assert backend.micro_batches([9, 2, 5, 3], 19) == [[0, 2, 3, 1]]
    tokens = BATCH.tokens.to("meta")
    hidden = backend.hidden(model, tokens, tokens, lambda _: nullcontext(), None, BATCH.token_counts)
    assert (hidden.shape, hidden.dtype) == ((*tokens.shape, 16), torch.bfloat16)


def test_where_there_is_no_such_kernel_rows_are_padded_and_that_is_told() -> None:
    """As on this CPU."""
    backend = choose_backend(tiny.model(), CUDA, NARROW)
    found, notes = exact_backend(tiny.model(), replace(Backend(), hidden=backend.hidden), PAD)
    assert found.hidden is hidden_causal
    assert notes == ["LlamaForCausalLM is not read exactly in rows of different lengths, so they are padded."]
    assert found.micro_batches([9, 2, 5, 3], 19) != [[0, 2, 3, 1]]
