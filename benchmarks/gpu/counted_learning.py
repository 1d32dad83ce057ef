"""Kernels and bytes of a decoder layer on a GPU while an adapter on it learns, counted without one.

    python benchmarks/gpu/counted_learning.py          # the table of docs/gpu.md, in seconds on any machine

As `counted` counts a token's step: on outlines of models, as if no cache held anything. Of a layer between two others,
forward and backward, in bfloat16 with an adapter on all its linear layers, attention itself apart, which is the same on
all sides.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, PreTrainedConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu.counted import GPU, HALF, Count, Counting
from gpu.subjects import configs

from truing.config.sections import Lora
from truing.kernels import norms, packed_rows
from truing.kernels.backend import Backend, choose_backend
from truing.kernels.next_token import WHOLE
from truing.kernels.packed_rows import hidden_causal
from truing.kernels.precision import Precision
from truing.kernels.vocabulary import LogitTransform, Positions, token_logprobs
from truing.models.adapters import Adapters
from truing.models.roles import Role
from truing.preflight.shapes import shape_of

ROWS, TOKENS = 32, 512
FEW, MORE = 1, 3
"""Layers of the two models whose difference is what layers between others ask"""


class CountingNorms(Counting):
    """PyTorch's fused norm falls into parts on an outline, so another stands for it."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = super().__torch_dispatch__(operation, types, args, kwargs)
        if operation.namespace == "counted":
            self.count.add(args, returned, 0.0)
        return returned


@torch.library.custom_op("counted::rms_norm", mutates_args=())
def rms_norm(states: Tensor, shape: Sequence[int], weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The shapes that `aten::_fused_rms_norm` returns."""
    return torch.empty_like(states), states.new_empty(*states.shape[:-1], 1, dtype=torch.float32)


rms_norm.register_fake(rms_norm._init_fn)


class Attention(torch.autograd.Function):
    """Shapes of mixed values and of three gradients, for nothing."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(queries, keys, values)
        batch, heads, tokens, width = queries.shape
        return queries.new_empty(batch, tokens, heads, width)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(one) for one in ctx.saved_tensors)


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Inside, norms are what they are on one, and attention costs nothing."""
    backward = torch.ops.aten._fused_rms_norm_backward
    kernels = SimpleNamespace(_fused_rms_norm=rms_norm, _fused_rms_norm_backward=backward)

    def attention(_: Any, queries: Tensor, keys: Tensor, values: Tensor, *__: Any, **___: Any) -> tuple[Tensor, None]:
        return Attention.apply(queries, keys, values), None

    with (
        mock.patch.object(packed_rows, "sdpa_attention_forward", attention),
        mock.patch.multiple(norms, has_kernel=lambda _: True, aten=kernels),
    ):
        yield


def count_of(config: PreTrainedConfig, ours: bool) -> Count:
    """A forward and a backward of the whole backbone, by truing or by transformers and PEFT."""
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=HALF)  # type: ignore[no-untyped-call]
        model.eval().requires_grad_(False)
        backend = choose_backend(model, torch.device("cuda"), Precision(HALF, HALF)) if ours else Backend()
        backend.prepare(model)
        adapters = Adapters(model, Lora(), 0, backend)
        adapters.add("policy")
        role = Role(model, adapters, "policy", backend=backend)
        tokens = torch.zeros(ROWS, TOKENS, dtype=torch.long)
    role.select()
    with as_on_a_gpu(), CountingNorms() as counting:
        hidden = hidden_causal(model, tokens, tokens, lambda _: mock.MagicMock(), None)
        torch.autograd.grad(hidden, [*role.parameters()], torch.empty_like(hidden))
    return counting.count


def layer(config: PreTrainedConfig, ours: bool) -> Count:
    """What one layer asks."""
    few, more = (count_of(with_layers(config, layers), ours) for layers in (FEW, MORE))
    kernels, size, seconds = (
        (getattr(more, name) - getattr(few, name)) / (MORE - FEW) for name in ("kernels", "bytes", "seconds")
    )
    return Count(round(kernels), size, seconds)


def products(config: PreTrainedConfig) -> float:
    """Operations a token of a layer's frozen weights: two a weight forward, and two to the inputs."""
    with torch.device("meta"):
        return 4.0 * shape_of(AutoModelForCausalLM.from_config(config)).products  # type: ignore[no-untyped-call]


def position(config: PreTrainedConfig) -> Count:
    """The log-probability of a token and its slope, through the vocabulary, of as many positions as go at once."""
    width, words = config.hidden_size, config.vocab_size  # type: ignore[attr-defined]
    count = Positions.of(torch.device("cuda"), words).whole
    hidden, weight = (torch.empty(rows, width, dtype=HALF, device="meta") for rows in (count, words))
    with Counting() as counting:
        token_logprobs(hidden, weight, None, torch.zeros(count, dtype=torch.long, device="meta"), 1.0, LogitTransform())
    return Count(counting.count.kernels, counting.count.bytes / count, counting.count.seconds / count)


def distribution(config: PreTrainedConfig) -> Count:
    """Of a position, KL and entropy and what the reference says, through the vocabulary of both."""
    width, words = config.hidden_size, config.vocab_size  # type: ignore[attr-defined]
    count = Positions.of(torch.device("cuda"), words).whole
    hidden, weight = (torch.empty(rows, width, dtype=HALF, device="meta") for rows in (count, words))
    tokens = torch.zeros(count, dtype=torch.long, device="meta")
    with torch.no_grad(), Counting() as counting:
        logits, ref_logits = (F.linear(hidden, weight).to(Precision.reductions) for _ in range(2))
        WHOLE.distribution(logits, ref_logits, tokens)
    return Count(counting.count.kernels, counting.count.bytes / count, counting.count.seconds / count)


def with_layers(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    """The same model with so many."""
    return type(config)(**{**config.to_dict(), "num_hidden_layers": layers, "layer_types": None})


def main() -> None:
    """The table."""
    print("| a layer that learns | kernels | kB a token read and written | ns a token, at least | of it products |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, (config, _) in configs().items():
        for words, ours in (("transformers and PEFT", False), ("ours", True)):
            count, tokens = layer(config, ours), ROWS * TOKENS
            size, seconds = count.bytes / tokens / 1e3, count.seconds / tokens * 1e9
            share = products(config) / GPU.operations * 1e9 / seconds
            print(f"| {name}, {words} | {count.kernels} | {size:,.0f} | {seconds:,.0f} | {share:.0%} |")
    for name, (config, _) in configs().items():
        learning, telling = (f"{own(config).seconds * 1e6:.2f} µs" for own in (position, distribution))
        print(f"A position of {name} through its vocabulary: {learning}, its KL and entropy {telling}, at least.")


if __name__ == "__main__":
    main()
