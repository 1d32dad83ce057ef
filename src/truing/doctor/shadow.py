"""A base model without its weights: how much there is of it, and what passes through it cost.

A pass is counted on copies of one and of five layers, and grows with each further layer as it grew between these: what
is counted in seconds for five layers would take minutes for eighty. It is timed on a copy of all layers, where these
weigh little enough.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from truing.config.sections import Lora
from truing.core.errors import ModelError, first_line
from truing.doctor import passes
from truing.doctor.four_bit import FourBitLinear
from truing.doctor.passes import Pass, Shape
from truing.doctor.tally import Cost, given_shapes, shapes_alone
from truing.kernels.backbone import decoder_layers
from truing.kernels.backend import choose_backend
from truing.kernels.checkpointing import checkpoint_layers
from truing.kernels.cpu.linear import MIN_WEIGHTS
from truing.kernels.precision import Precision
from truing.models.adapters import Adapters
from truing.models.prefix import prefix_depth
from truing.models.roles import Role

FEW, MORE = 1, 5
"""Layers of the copies that are counted"""
TIMED_BYTES = 1e9
"""Weights of the deeper of the copies that are timed, at most, where it has more than `MORE` layers"""


@dataclass(frozen=True)
class Depths:
    """Layers of two copies; both are the model itself where its layers are not a list."""

    few: int
    more: int

    def grown(self, few: float, more: float, layers: int) -> float:
        """A figure of so many layers, from those of the two copies."""
        if self.few == self.more:
            return more
        return few + (more - few) * (layers - self.few) / (self.more - self.few)


class Shadow:
    """A model on torch's meta device, asked for sizes."""

    def __init__(self, model: PreTrainedModel, lora: Lora, cpu: bool, checkpointing: bool = False) -> None:
        """Args:
        model: on the meta device.
        lora: of its adapters.
        cpu: whether it will run on a CPU, with the linear layers made for that.
        checkpointing: whether its layers run again in the backward.
        """
        self._model, self._lora, self._cpu, self._checkpointing = model, lora, cpu, checkpointing
        self._backend = choose_backend(
            model, torch.device("cpu" if cpu else "cuda"), Precision(model.dtype, model.dtype)
        )
        found = decoder_layers(model)
        self.layers = 0 if found is None else len(found[1])
        self.counted = Depths(min(FEW, self.layers), min(MORE, self.layers))
        self.timed = Depths(self.counted.few, max(self.counted.more, min(self.layers, self._light(TIMED_BYTES))))
        self.width = int(model.config.hidden_size)
        self.vocabulary = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
        self.dtype = model.dtype
        self._known: dict[tuple[object, ...], Cost] = {}
        """What has been counted"""

    @property
    def weights(self) -> int:
        """Bytes."""
        return _bytes(self._model.parameters())

    @property
    def backbone(self) -> int:
        """Bytes without the vocabulary projection, where that is not the embedding as well."""
        return _bytes(self._model.base_model.parameters())

    @property
    def whole(self) -> float:
        """Bytes of the weights as they were before any was quantised; 0 where none is."""
        quantised = [layer for layer in self._model.modules() if isinstance(layer, FourBitLinear)]
        more = sum(layer.whole - layer.weight.nbytes for layer in quantised)
        return float(self.weights + more) if quantised and self._cpu else 0.0

    @property
    def largest(self) -> int:
        """Bytes of the largest weight."""
        return max(_bytes([weight]) for weight in self._model.parameters())

    @property
    def packed(self) -> int:
        """Bytes of the copies that sampling keeps of linear weights."""
        if not self._cpu or self._model.dtype != torch.float32:
            return 0
        linear = (module.weight for module in self._model.modules() if type(module) is nn.Linear)
        return sum(weight.nbytes for weight in linear if weight.numel() >= MIN_WEIGHTS)

    def below(self, share: float) -> int:
        """Layers below the lowest that is adapted, where the upper `share` is.

        Raises:
            ModelError: there is no telling which these are.
        """
        return prefix_depth(self._model, share)

    def adapter(self, above: int = 0) -> float:
        """Bytes of an adapter in all layers but the lowest `above`."""
        depths = self.counted
        few, more = (_bytes(self.copy(layers, "adapter").parameters()) for layers in (depths.few, depths.more))
        return depths.grown(few, more, self.layers - above)

    def kept_token(self) -> float:
        """Bytes that the key-value cache holds of one token."""

        def cached(layers: int) -> float:
            role = self.copy(layers, "frozen")
            with shapes_alone(), torch.no_grad():
                given_shapes(role.model)
                tokens = torch.zeros(1, 2, dtype=torch.long)
                cache = getattr(role.forward(tokens, torch.ones_like(tokens), use_cache=True), "past_key_values", None)
                parts = [part for layer in getattr(cache, "layers", []) for part in (layer.keys, layer.values)]
                return sum(part.nbytes for part in parts if isinstance(part, Tensor)) / 2

        return self.counted.grown(cached(self.counted.few), cached(self.counted.more), self.layers)

    def learning(self, shapes: Sequence[Shape], trained: str, head: bool, above: int = 0, given: bool = False) -> Cost:
        """Forward over each shape in turn, then one backward; gradients themselves are not in it.

        trained: `full`, or `adapter` in all layers but the lowest `above`, which do not run where their output is
        `given`. head: whether a scalar head is learnt from, and not log-probabilities.
        """
        work = partial(passes.learn, shapes=shapes, head=head)
        upper = self._passed(("learning", *shapes, head), trained, work, self.layers - above)
        if above == 0 or given:
            return upper
        states = [Shape(shape.rows, shape.length, 0) for shape in shapes]
        return upper + self.reading(states, above)

    def reading(self, shapes: Sequence[Shape], layers: int | None = None, trained: str = "frozen") -> Cost:
        """Forward through so many layers, without gradients and without logits."""
        work = partial(passes.read, shapes=shapes)
        return self._passed(("reading", *shapes), trained, work, self.layers if layers is None else layers)

    def comparing(self) -> Cost:
        """Exact KL, entropy and log-probabilities of two policies, from hidden states."""
        return self._count(("comparing",), "frozen", passes.compare, FEW)

    def drawing(self, rows: int) -> Cost:
        """A token of each row, from hidden states."""
        return self._count(("drawing", rows), "frozen", partial(passes.draw, rows=rows), FEW)

    def _passed(self, key: tuple[object, ...], trained: str, work: Pass, layers: int) -> Cost:
        depths = self.counted
        few, more = (self._count(key, trained, work, size) for size in (depths.few, depths.more))
        grown = {f.name: depths.grown(getattr(few, f.name), getattr(more, f.name), layers) for f in fields(Cost)}
        return Cost(**grown | {"burst": more.burst})

    def _count(self, key: tuple[object, ...], trained: str, work: Pass, layers: int) -> Cost:
        key = (*key, trained, layers)
        if key not in self._known:
            self._known[key] = self._counted(trained, work, layers)
        return self._known[key]

    def _counted(self, trained: str, work: Pass, layers: int) -> Cost:
        role = self.copy(layers, trained)
        whole = role.model if role.adapters is None else role.adapters.peft
        try:
            with shapes_alone() as tally:
                given_shapes(whole)
                self.equipped(role)
                tally.begin()
                return work(role, tally)
        except Exception as error:  # an architecture's own code, on tensors it was not written for
            raise ModelError(
                f"what {type(role.model).__name__} needs cannot be counted without its weights ({first_line(error)}).",
                where=role.model.name_or_path or None,
                hint="Run a few steps instead, with --set ppo.updates=2 or less data.",
            ) from error

    def _light(self, most: float) -> int:
        """Layers of a copy whose weights have at most so many bytes."""
        found = decoder_layers(self._model)
        if found is None:
            return 0
        layer = _bytes(found[1][0].parameters())
        return int((most - (self.weights - self.layers * layer)) / layer)

    def equipped(self, role: Role) -> Role:
        """A copy that has tensors, with a scalar head."""
        role.head = nn.Linear(self.width, 1)
        return role

    def copy(self, layers: int, trained: str) -> Role:
        """The lowest `layers` as a role that learns in `full`, through an `adapter`, or is `frozen`."""
        model = deepcopy(self._model)
        found = decoder_layers(model)
        if found is not None:
            setattr(model.base_model, found[0], found[1][:layers])
            model.config.num_hidden_layers = layers
        if self._checkpointing:
            checkpoint_layers(model)
        self._backend.prepare(model)
        model.requires_grad_(trained == "full").train(False)
        if trained != "adapter":
            return Role(model, backend=self._backend)
        adapters = Adapters(model, self._lora, 0, self._backend)
        with torch.device("meta"):
            adapters.add("policy")
        return Role(model, adapters, "policy", backend=self._backend)


def _bytes(weights: Iterable[Tensor]) -> int:
    return sum(weight.numel() * weight.itemsize for weight in weights)
