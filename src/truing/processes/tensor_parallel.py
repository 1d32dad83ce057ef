"""A model of whose layers every process computes a slice, by tensor parallel layers of `torch.distributed`.

The first layer of a pair is cut by its outputs, the second by its inputs, and what the second gives is summed over the
processes (Shoeybi et al. 2019, arXiv:1909.08053). So these go through the model together, on the same rows, and each
holds heads, a slice of the width between the pair, and a slice of the vocabulary.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module
from torch.nn import functional as F
from transformers import PreTrainedModel

from truing.core.heap import give_back_large_blocks
from truing.kernels.next_token import (
    BLOCK_TOKENS,
    WHOLE,
    Vocabulary,
    block_of_draw,
    cumulated,
    in_blocks,
    place_in_block,
)
from truing.processes import group
from truing.processes.parts import Parts
from truing.processes.tensor_styles import BY_INPUTS, BY_OUTPUTS, INPUTS_SPLIT, OUTPUTS_GATHERED, SUMMED

STYLES: dict[str, ParallelStyle] = {
    BY_OUTPUTS: ColwiseParallel(),
    BY_INPUTS: RowwiseParallel(),
    **dict.fromkeys(OUTPUTS_GATHERED, ColwiseParallel(output_layouts=Replicate())),
    **dict.fromkeys(INPUTS_SPLIT, RowwiseParallel(input_layouts=Replicate())),
}


class LinearDrawnWhole(Linear):
    """PEFT's low-rank layer on one that is cut, drawn for the whole of it, as in one process, and only then cut too.

    It is by "Linear" in its name that PEFT knows what carries an adapter already for a linear layer.
    """

    def _get_in_out_features(self, module: Any) -> tuple[int, int]:
        return module.in_features, module.out_features


class Slices(Parts):
    """This process's slices of a model."""

    adapter_layers: ClassVar[Mapping[type[nn.Module], type[nn.Module]]] = {nn.Linear: LinearDrawnWhole}

    def __init__(self, model: PreTrainedModel, plan: Mapping[str, str], mesh: DeviceMesh, writes: bool) -> None:
        """Cuts the layers that a plan names, the embeddings and the projection to the vocabulary.

        Args:
            model: with whole weights, the same in all processes.
            plan: paths of modules to one of `tensor_styles.KNOWN`.
            mesh: of the processes that share the layers.
            writes: whether this process is the one, of those that have the same slices, which saves them.
        """
        give_back_large_blocks()
        self.writes = writes
        self._mesh = mesh
        self._styles: dict[nn.Module, str] = {}
        modules = dict(model.named_modules())
        for path, style in plan.items():
            self._styles[modules[path]] = style
            if style == SUMMED:
                for weight in modules[path].parameters():
                    _sum_gradients(weight, mesh)
            else:
                self._cut(modules[path], STYLES[style])
        self._cut_vocabulary(model)

    def cut_adapter(self, model: PreTrainedModel, name: str) -> None:
        """Of a layer cut by its outputs the second factor is cut alike, of one cut by its inputs the first."""
        for layer in model.modules():
            if isinstance(layer, LoraLayer) and name in layer.lora_A:
                style = self._styles.get(layer.get_base_layer())
                factors = {BY_OUTPUTS: layer.lora_B, BY_INPUTS: layer.lora_A}
                if style in factors:
                    self._cut(factors[style][name], STYLES[style])

    def _cut(self, module: nn.Module, style: ParallelStyle) -> None:
        parallelize_module(module, self._mesh, style, src_data_rank=None)  # all have the same weights already

    def _cut_vocabulary(self, model: Any) -> None:
        embeddings, projection = model.get_input_embeddings(), model.get_output_embeddings()
        is_tied = projection is not None and projection.weight is embeddings.weight
        padding, embeddings.padding_idx = embeddings.padding_idx, None  # it would be taken for a place in the slice
        self._cut(embeddings, RowwiseParallel(input_layouts=Replicate()))
        if padding is not None:
            embeddings.register_forward_hook(partial(_without_gradient_of, padding))
        if is_tied:
            projection.weight = embeddings.weight
        elif projection is not None:
            for path, weight in projection.named_parameters():
                rows = distribute_tensor(weight, self._mesh, [Shard(0)], src_data_rank=None)
                setattr(projection, path, nn.Parameter(rows, requires_grad=weight.requires_grad))
        self.vocabulary = WHOLE if projection is None else Slice(len(projection.weight), self._mesh)


class Slice(Vocabulary):
    """The tokens of a vocabulary whose rows of the projection this process has."""

    def __init__(self, tokens: int, mesh: DeviceMesh) -> None:
        """Args:
        tokens: of the whole vocabulary.
        mesh: of the processes that have a slice each.
        """
        self._group = mesh.get_group()
        self._size, self._rank = mesh.size(), mesh.get_local_rank()
        self._longest = -(-tokens // self._size)
        """Tokens of a slice; the last may have fewer"""
        self._first = min(self._rank * self._longest, tokens)

    def logits(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """See `Vocabulary`."""
        assert isinstance(layer, nn.Linear)
        return F.linear(hidden, *self.projection(layer))

    def projection(self, layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """See `Vocabulary`."""
        return _local(layer.weight), None if layer.bias is None else _local(layer.bias)

    def log_softmax(self, logits: Tensor) -> Tensor:
        """See `Vocabulary`."""
        shifted = logits - self._largest(logits)
        return shifted - self.total(shifted.exp().sum(-1, keepdim=True)).log()

    def of_tokens(self, logprobs: Tensor, tokens: Tensor) -> Tensor:
        """See `Vocabulary`."""
        place, here = self._places(tokens, logprobs)
        return self.total(torch.where(here, logprobs.gather(1, place[:, None]).squeeze(1), 0.0))

    def subtract_one_(self, slopes: Tensor, tokens: Tensor) -> None:
        """See `Vocabulary`."""
        place, here = self._places(tokens, slopes)
        slopes.scatter_add_(1, place[:, None], -here.to(slopes.dtype)[:, None])

    def total(self, part: Tensor) -> Tensor:
        """See `Vocabulary`."""
        return self._reduced(part, distributed.ReduceOp.SUM)

    def token_logprobs(self, logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
        """See `Vocabulary`."""
        return self.of_tokens(self.log_softmax(logits if temperature == 1 else logits / temperature), tokens)

    def draw(self, logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """See `Vocabulary`. Only sums of blocks of tokens go from one process to the others."""
        rows, count = torch.arange(len(logits), device=logits.device), -(-self._longest // BLOCK_TOKENS)
        weights, blocks = in_blocks((logits - self._largest(logits)).exp_(), count)
        upto = cumulated(self._gathered(blocks.sum(-1)))
        block, within = block_of_draw(upto, uniforms)
        here = block // count == self._rank
        own = torch.where(here, block - self._rank * count, 0)
        place = (own * BLOCK_TOKENS + place_in_block(blocks[rows, own], within)).clamp(max=logits.shape[-1] - 1)
        found = torch.stack([self._first + place.double(), weights[rows, place].double()])
        tokens, weight = self.total(torch.where(here, found, 0.0))
        return tokens.long(), (weight / upto[:, -1]).log().to(logits.dtype)

    def _places(self, tokens: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) where in this slice tokens are, and whether they are."""
        place = tokens - self._first
        here = (place >= 0) & (place < logits.shape[-1])
        return torch.where(here, place, 0), here

    def _largest(self, logits: Tensor) -> Tensor:
        return self._reduced(logits.amax(-1, keepdim=True), distributed.ReduceOp.MAX)

    def _reduced(self, part: Tensor, how: Any) -> Tensor:
        found = part.detach().clone(memory_format=torch.contiguous_format)
        with group.in_step():
            distributed.all_reduce(found, how, group=self._group)
        return found

    def _gathered(self, part: Tensor) -> Tensor:
        """(N, size · M) from (N, M) of each slice."""
        parts = [torch.empty_like(part) for _ in range(self._size)]
        with group.in_step():
            distributed.all_gather(parts, part.contiguous(), group=self._group)
        return torch.cat(parts, dim=-1)


def _local(weight: Tensor) -> Tensor:
    """This process's rows, through which a gradient flows back."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def _without_gradient_of(padding: int, _: nn.Module, inputs: tuple[Tensor], embedded: Tensor) -> Tensor:
    """Embeddings (..., D) of tokens (...), that of `padding` with no gradient, as a layer that is whole has it."""
    (tokens,) = inputs
    return torch.where((_local(tokens) == padding)[..., None], embedded.detach(), embedded)


def _sum_gradients(weight: nn.Parameter, mesh: DeviceMesh) -> None:
    """Has each gradient that reaches a whole weight be the sum over the processes, each of which has that of a slice.

    Before it is added to those of other micro-batches: afterwards, these would be summed again.
    """

    def summed(gradient: Tensor) -> Tensor:
        found = gradient.contiguous().clone()
        with group.in_step():
            distributed.all_reduce(found, group=mesh.get_group())
        return found

    learns = weight.requires_grad
    weight.requires_grad_(True).register_hook(summed)  # type: ignore[no-untyped-call]  # a frozen one takes none
    weight.requires_grad_(learns)
