"""The four roles of RLHF (policy, reference, critic, reward model), shared on one base or as separate models.

Shared: one frozen base carries an adapter for each trained role, and as it stands it is the reference. A `Role`
selects its adapter before every forward, so a role is used as if it were a model of its own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.lora import LoraLayer
from peft.utils import TrainableTokensWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel

from truing.core.errors import ModelError
from truing.kernels.backbone import forward
from truing.kernels.backend import Backend, DecodeStep
from truing.kernels.next_token import WHOLE, Vocabulary
from truing.kernels.precision import Precision
from truing.kernels.text_config import logit_transform
from truing.kernels.vocabulary import LogitTransform, put_logits_of_rows
from truing.models.adapters import Adapters
from truing.models.prefix import FrozenPrefix
from truing.models.stage_plan import MICRO_BATCHES
from truing.processes import group

if TYPE_CHECKING:
    from truing.processes.parts import Parts


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through a model together."""

    rows: list[int]
    counts_elsewhere: bool = False
    """Whether this process reads them only to keep in step with others, and one of these finds what comes of them"""


@dataclass
class Role:
    """One part played by a causal language model: with an adapter or as it is, and with or without a scalar head."""

    model: PreTrainedModel
    adapters: Adapters | None = None
    adapter: str | None = None
    head: nn.Linear | None = None
    prefix: FrozenPrefix | None = None
    """Layers that this role shares with others, and whose output a batch may bring along"""
    backend: Backend = field(default_factory=Backend)
    """That the model was loaded with"""
    parts: "Parts | None" = None
    """What this process keeps of each weight; None where that is all of it"""

    def select(self) -> None:
        """Puts this role's adapter in force."""
        if self.adapters is not None:
            self.adapters.select(self.adapter)

    @contextmanager
    def _computing(self, device: torch.device) -> Iterator[None]:
        """Inside, the model computes as this role."""
        self.select()
        with self.in_step(), self.backend.precision.autocast(device):
            yield

    def in_step(self) -> AbstractContextManager[None]:
        """Inside, all processes go through the model, where each keeps a part of it."""
        return group.in_step() if self.parts else nullcontext()

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside, this process goes through the model without those that read other rows."""
        if self.parts is None:
            yield
            return
        with self.in_step():
            self.parts.gather()
        try:
            yield
        finally:
            self.release()

    def whole_adapter(self) -> dict[str, Tensor] | None:
        """The weights of its adapter, for which all processes come here; None if there is none, or all is at hand."""
        if self.adapters is None or self.adapter is None:
            return None
        with self.in_step():
            return self.adapters.whole(self.adapter)

    def twin(self, name: str) -> "Role":
        """A role like this one with an adapter of its own, which `put` gives the weights that this one has had."""
        assert self.adapters is not None
        assert self.adapter is not None
        self.adapters.add_like(name, self.adapter)
        return replace(self, adapter=name)

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """Copies of all that learning this role changes, whole and on the CPU, by path; all processes come here."""
        with self.in_step():
            own = self.named_parameters().items()
            whole = {path: self.parts.whole(weight) if self.parts else weight.detach() for path, weight in own}
        return {path: weight.to("cpu", copy=True) for path, weight in whole.items()}

    @torch.no_grad()
    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Gives it weights that `weights` has of a role like this."""
        for path, weight in self.named_parameters().items():
            if self.parts is None:
                weight.copy_(weights[path])
            elif self.parts.has(weight):
                self.parts.own_part(weight).copy_(self.parts.own_part_of(weight, weights[path]))

    def release(self) -> None:
        """Lets go of what this process need not keep of the model, once nothing follows on what it has computed."""
        if self.parts is not None:
            self.parts.release()

    def forward(self, tokens: Tensor, attention_mask: Tensor, cache: Any = None, use_cache: bool = False) -> Any:
        """The backbone's output for (B, S) new tokens; `attention_mask` (B, cached + S) also counts the cached ones."""
        with self._computing(tokens.device):
            return forward(self.model, tokens, attention_mask, cache, use_cache)

    def hidden(
        self,
        tokens: Tensor,
        attention_mask: Tensor,
        prefix_states: Tensor | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Tensor:
        """(B, T, D) last hidden states; from those that left the frozen prefix, `prefix_states`, where they are known.

        Rows are padded on the right. What stands on padding is arbitrary. A device may be waited for where the host
        does not know the `lengths` of the rows.
        """
        with self._computing(tokens.device):
            return self.backend.hidden(self.model, tokens, attention_mask, self.skip_prefix, prefix_states, lengths)

    def skip_prefix(self, states: Tensor | None) -> AbstractContextManager[object]:
        """Inside, a forward goes on from what left the frozen prefix, where that is known."""
        return self.prefix.skip(states) if self.prefix and states is not None else nullcontext()

    def micro_batches(self, token_counts: Sequence[int], budget: int) -> list[MicroBatch]:
        """The rows that go through this role together, of at most `budget` tokens.

        Each row is in exactly one part that counts, of exactly one process.
        """
        own = group.share_by_cost(token_counts)
        costs, answers = [token_counts[row] for row in own], self.parts is None or self.parts.answers
        if self.parts is not None and self.parts.stages > 1:
            budget = min(budget, max(1, ceil(sum(costs) / (MICRO_BATCHES * self.parts.stages))))
        parts = self.backend.micro_batches(costs, budget)
        found = [MicroBatch([own[place] for place in part], counts_elsewhere=not answers) for part in parts]
        keeps_in_step = self.parts is not None and self.parts.in_step_over_data
        return found + _to_keep_in_step(len(found), token_counts) if keeps_in_step else found

    def backward_of(self, loss: Tensor) -> Callable[[], None]:
        """What takes the gradient of a loss that roles of this model, or of others spread alike, have just given."""
        backward = self.parts.backward_of(loss) if self.parts else loss.backward

        def in_step() -> None:
            with self.in_step():
                backward()

        return in_step

    @property
    def ahead(self) -> int:
        """Micro-batches that are read before the first has its gradient taken, so that others have work meanwhile."""
        return self.parts.ahead if self.parts else 0

    @property
    def is_in_parts(self) -> bool:
        """Whether of some weights that learn each process keeps a part."""
        return self.parts is not None and any(self.parts.axis(weight) is not None for weight in self.parameters())

    @contextmanager
    def decoding(self) -> Iterator[DecodeStep | None]:
        """Inside, the model decodes by the step that is yielded, or its own layers, and its weights must not change."""
        depth = self.prefix.depth if self.prefix else None
        with self._computing(self.model.device), self.backend.decoding(self.model, self.adapter, depth) as step:
            yield step

    @property
    def projection(self) -> nn.Module:
        """From last hidden states to logits, as they are before the model scales or caps them.

        In the place of its last rows stand `projection_rows`, where this role has some.
        """
        projection: nn.Module = self.model.get_output_embeddings()  # type: ignore[no-untyped-call]
        return projection.original_module if isinstance(projection, TrainableTokensWrapper) else projection

    @property
    def projection_rows(self) -> nn.Parameter | None:
        """(n, D) the projection's rows for the last n tokens, where this role learns these; else None."""
        return None if self.adapters is None else self.adapters.projection_rows(self.adapter)

    @property
    def vocabulary(self) -> Vocabulary:
        """What logits are asked by: they may be those of a slice of the vocabulary."""
        return self.parts.vocabulary if self.parts else WHOLE

    @property
    def transform(self) -> LogitTransform:
        """What the model does to its logits behind the projection."""
        return self.backend.transform or logit_transform(self.model)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., V) float32 logits of the next token, from (..., D) last hidden states.

        Where this process has a slice of the `vocabulary`, they are those of the slice.
        """
        if isinstance(self.projection, LoraLayer):  # else no adapter has a say in it, and roles may take turns
            self.select()
        with self.in_step(), self.backend.precision.autocast(hidden.device):
            logits = self.vocabulary.logits(self.projection, hidden)
            put_logits_of_rows(logits, hidden, self.projection_rows)
        return self.transform(logits.to(Precision.reductions))

    def scalar(self, hidden: Tensor) -> Tensor:
        """(...) float32 output of the scalar head, from (..., D) last hidden states."""
        if self.head is None:
            raise ModelError("this role has no scalar head.", code="model/no-head")
        out: Tensor = self.head(hidden.to(self.head.weight.dtype)).squeeze(-1)
        return out.to(Precision.reductions)

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """What learning this role changes, by its path: the same in every process."""
        if self.adapters is not None and self.adapter is not None:
            own = self.adapters.named_parameters(self.adapter)
        else:  # a role with a scalar head never uses the vocabulary projection
            own = dict((self.model if self.head is None else self.model.base_model).named_parameters())
        head = {} if self.head is None else self.head.named_parameters(prefix="head")
        return own | dict(head)

    def parameters(self) -> list[nn.Parameter]:
        """What learning this role changes."""
        return list(self.named_parameters().values())


def _to_keep_in_step(parts: int, token_counts: Sequence[int]) -> list[MicroBatch]:
    """What a process that has so many parts reads beyond them, to go through the model as often as any other."""
    lacking = max(group.all_gather(parts)) - parts
    shortest = min(range(len(token_counts)), key=token_counts.__getitem__)
    return [MicroBatch([shortest], counts_elsewhere=True)] * lacking
