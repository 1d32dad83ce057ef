"""A model of whose layers every process computes a slice, by tensor parallel layers of `torch.distributed`.

The first layer of a pair is cut by its outputs, the second by its inputs, and what the second gives is summed over the
processes (Shoeybi et al. 2019, arXiv:1909.08053). So these go through the model together, on the same rows, and each
holds heads, a slice of the width between the pair, and a slice of the vocabulary.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Placement, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module
from torch.nn import functional as F
from transformers import PreTrainedModel

from truing.core.heap import keep_freed_blocks
from truing.kernels.next_token import (
    BLOCK_TOKENS,
    WHOLE,
    Vocabulary,
    block_of_draw,
    cumulated,
    in_blocks,
    place_in_block,
)
from truing.kernels.slices import CutByInputs, CutByOutputs, CutEmbedding, LinearDrawnWhole, Total, own_projection
from truing.processes.parts import Parts
from truing.processes.tensor_styles import BY_INPUTS, BY_OUTPUTS, INPUTS_SPLIT, OUTPUTS_GATHERED, SUMMED

InStep = Callable[[], AbstractContextManager[None]]
HALVES: dict[str, tuple[type[nn.Module], dict[str, Placement]]] = {
    BY_OUTPUTS: (CutByOutputs, {"weight": Shard(0), "bias": Shard(0)}),
    BY_INPUTS: (CutByInputs, {"weight": Shard(1), "bias": Replicate()}),
}
"""The halves of a pair: what computes a slice of each, and what is cut of it"""
STYLES: dict[str, ParallelStyle] = {
    **dict.fromkeys(OUTPUTS_GATHERED, ColwiseParallel(output_layouts=Replicate())),
    **dict.fromkeys(INPUTS_SPLIT, RowwiseParallel(input_layouts=Replicate())),
}
"""Of layers that are cut otherwise, as torch has it"""
ALREADY_THERE = None
"""By which torch is told that no process need hand its weights on: all have the same"""


class Slices(Parts):
    """This process's slices of a model."""

    adapter_layers: ClassVar[Mapping[type[nn.Module], type[nn.Module]]] = {nn.Linear: LinearDrawnWhole}

    def __init__(
        self, model: PreTrainedModel, plan: Mapping[str, str], mesh: DeviceMesh, in_step: InStep, writes: bool
    ) -> None:
        """Cuts the layers that a plan names, the embeddings and the projection to the vocabulary.

        Args:
            model: with whole weights, the same in all processes.
            plan: paths of modules to one of `tensor_styles.KNOWN`.
            mesh: of the processes that share the layers.
            in_step: what notices, inside, who of them is gone.
            writes: whether this process is the one, of those that have the same slices, which saves them.
        """
        keep_freed_blocks()  # in no step a layer is whole; given back at once, they took a ninth of an update
        self.writes = writes
        self._mesh, self._in_step = mesh, in_step
        self._styles: dict[nn.Module, str] = {}
        modules = dict(model.named_modules())
        for path, style in plan.items():
            self._styles[modules[path]] = style
            if style == SUMMED:
                for weight in modules[path].parameters():
                    _sum_gradients(weight, self._total)
            else:
                self._cut(modules[path], style)
        self._cut_vocabulary(model)

    def cut_adapter(self, model: PreTrainedModel, name: str) -> None:
        """Of a layer cut by its outputs the second factor is cut alike, of one cut by its inputs the first."""
        for layer in model.modules():
            if isinstance(layer, LoraLayer) and name in layer.lora_A:
                style = self._styles.get(layer.get_base_layer())
                factors = {BY_OUTPUTS: layer.lora_B, BY_INPUTS: layer.lora_A}
                if style in factors:
                    self._cut(factors[style][name], style)

    def _cut(self, module: nn.Module, style: str) -> None:
        """A layer of either half of a pair computes its slice by itself; what is cut otherwise, as torch has it."""
        if style not in HALVES:
            parallelize_module(module, self._mesh, STYLES[style], src_data_rank=ALREADY_THERE)
            return
        kind, placements = HALVES[style]
        for name, weight in [*module.named_parameters(recurse=False)]:
            self._distribute(module, name, weight, placements[name])
        self._computes(module, kind)

    def _computes(self, module: Any, kind: type[nn.Module]) -> None:
        module.__class__, module.total = kind, self._total

    def _distribute(self, module: nn.Module, name: str, weight: nn.Parameter, placement: Placement) -> None:
        part = distribute_tensor(weight, self._mesh, [placement], src_data_rank=ALREADY_THERE)
        setattr(module, name, nn.Parameter(part, requires_grad=weight.requires_grad))

    def _cut_vocabulary(self, model: Any) -> None:
        embeddings, projection = model.get_input_embeddings(), model.get_output_embeddings()
        is_tied = projection is not None and projection.weight is embeddings.weight
        embeddings.first = Slice(len(embeddings.weight), self._mesh, self._in_step).first
        self._distribute(embeddings, "weight", embeddings.weight, Shard(0))
        self._computes(embeddings, CutEmbedding)
        if is_tied:
            projection.weight = embeddings.weight
        elif projection is not None:
            for path, weight in [*projection.named_parameters()]:
                self._distribute(projection, path, weight, Shard(0))
        self.vocabulary = WHOLE if projection is None else Slice(len(projection.weight), self._mesh, self._in_step)

    def _total(self, part: Tensor) -> Tensor:
        part = part.contiguous()
        with self._in_step():
            distributed.all_reduce(part, group=self._mesh.get_group())
        return part


class Slice(Vocabulary):
    """The tokens of a vocabulary whose rows of the projection this process has."""

    def __init__(self, tokens: int, mesh: DeviceMesh, in_step: InStep) -> None:
        """Args:
        tokens: of the whole vocabulary.
        mesh: of the processes that have a slice each.
        in_step: what notices, inside, who of them is gone.
        """
        self._in_step = in_step
        self._group = mesh.get_group()
        self._size, self._rank = mesh.size(), mesh.get_local_rank()
        self._longest = -(-tokens // self._size)
        """Tokens of a slice; the last may have fewer"""
        self.first = min(self._rank * self._longest, tokens)
        """Of the tokens that this process has"""

    def logits(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """See `Vocabulary`."""
        assert isinstance(layer, nn.Linear)
        return F.linear(hidden, *own_projection(layer))

    def projection(self, layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """See `Vocabulary`."""
        return own_projection(layer)

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
        found = torch.stack([self.first + place.double(), weights[rows, place].double()])
        tokens, weight = self.total(torch.where(here, found, 0.0))
        return tokens.long(), (weight / upto[:, -1]).log().to(logits.dtype)

    def _places(self, tokens: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) where in this slice tokens are, and whether they are."""
        place = tokens - self.first
        here = (place >= 0) & (place < logits.shape[-1])
        return torch.where(here, place, 0), here

    def _largest(self, logits: Tensor) -> Tensor:
        return self._reduced(logits.amax(-1, keepdim=True), distributed.ReduceOp.MAX)

    def _reduced(self, part: Tensor, how: Any) -> Tensor:
        found = part.detach().clone(memory_format=torch.contiguous_format)
        with self._in_step():
            distributed.all_reduce(found, how, group=self._group)
        return found

    def _gathered(self, part: Tensor) -> Tensor:
        """(N, size · M) from (N, M) of each slice."""
        parts = [torch.empty_like(part) for _ in range(self._size)]
        with self._in_step():
            distributed.all_gather(parts, part.contiguous(), group=self._group)
        return torch.cat(parts, dim=-1)


def _sum_gradients(weight: nn.Parameter, total: Total) -> None:
    """Has each gradient that reaches a whole weight be the sum over the processes, each of which has that of a slice.

    Before it is added to those of other micro-batches: afterwards, these would be summed again.
    """
    learns = weight.requires_grad
    hooked = weight.requires_grad_(True)  # a frozen one takes no hook
    hooked.register_hook(lambda gradient: total(gradient.clone()))  # type: ignore[no-untyped-call]
    weight.requires_grad_(learns)
