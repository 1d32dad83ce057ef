"""The four roles of RLHF (policy, reference, critic, reward model), shared on one base or as separate models.

Shared: one frozen base carries an adapter for each trained role, and as it stands it is the reference. A `Role`
selects its adapter before every forward, so a role is used as if it were a model of its own.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from truing.config.sections import Lora
from truing.core import rng
from truing.core.errors import ModelError
from truing.data.batching import plan_by_tokens
from truing.kernels.adapted import adapt
from truing.kernels.packed_rows import PackedRows, packs_rows, row_by_row
from truing.models.lora import lora_config, refuse_embeddings, reraise_peft_errors
from truing.models.prefix import FrozenPrefix
from truing.models.weight_files import refuse_unsafe_weights

_UNKNOWN = ""
"""What is in force after PEFT has changed the adapters: nothing that was selected here"""


class Adapters:
    """The adapters on one base, and which of them is in force.

    PEFT also decides which adapter collects gradients by which one is in force, so a role must be selected when its
    backward runs; forward and backward of one role always stand together.
    """

    def __init__(self, base: PreTrainedModel, lora: Lora, seed: int) -> None:
        self._base = base
        self._lora = lora
        self._seed = seed
        self._peft: PeftModel | None = None
        self._selected: str | None = _UNKNOWN

    @property
    def peft(self) -> PeftModel:
        """The PEFT model that holds the adapters."""
        if self._peft is None:
            raise ModelError("no adapter has been added to this base yet.")
        return self._peft

    @property
    def _tuner(self) -> Any:
        return self.peft.base_model

    def add(self, name: str, above: int = 0) -> None:
        """A fresh adapter that does nothing yet (its B matrix is zero), in all layers but the lowest `above`.

        Raises:
            RecipeError: `lora.targets` names no layer that can be adapted, or one that cannot.
        """
        config = lora_config(self._base, self._lora, above)
        with seeded(rng.derived_seed(self._seed, f"adapter {name}")), reraise_peft_errors():
            if self._peft is None:
                self._peft = PeftModel(self._base, config, adapter_name=name)
            else:
                self._peft.add_adapter(name, config)
        refuse_embeddings(self.peft)
        self._refresh()

    @torch.no_grad()
    def copy(self, name: str, source: str) -> None:
        """Gives an adapter the weights of another one, in the layers that it has."""
        values = dict(self.peft.named_parameters())
        for path, weight in values.items():
            if f".{name}." in path:
                weight.copy_(values[path.replace(f".{name}.", f".{source}.")])

    def load(self, name: str, directory: str) -> None:
        """An adapter saved by PEFT, in safetensors: ModelError for any other format."""
        refuse_unsafe_weights(Path(directory))
        if self._peft is None:
            self._peft = PeftModel.from_pretrained(self._base, directory, adapter_name=name, is_trainable=True)
        else:
            self._peft.load_adapter(directory, adapter_name=name, is_trainable=True)
        self._refresh()

    def _refresh(self) -> None:
        self._selected = _UNKNOWN
        self.peft.train(False)
        adapt(self.peft)

    def select(self, name: str | None) -> None:
        """Puts one adapter in force, or none."""
        if self._peft is None or name == self._selected:
            return
        if name is None:
            self._tuner.disable_adapter_layers()
        else:
            self._tuner.enable_adapter_layers()
            self._peft.set_adapter(name)
        self._selected = name

    def parameters(self, name: str) -> list[nn.Parameter]:
        """The weights of one adapter."""
        return [weight for path, weight in self.peft.named_parameters() if f".{name}." in path]


@dataclass
class Role:
    """One part played by a causal language model: with an adapter or as it is, and with or without a scalar head."""

    model: PreTrainedModel
    adapters: Adapters | None = None
    adapter: str | None = None
    head: nn.Linear | None = None
    trunk: FrozenPrefix | None = None
    """Layers that this role shares with others, and whose output a batch may bring along"""

    def select(self) -> None:
        """Puts this role's adapter in force."""
        if self.adapters is not None:
            self.adapters.select(self.adapter)

    def forward(self, tokens: Tensor, attention_mask: Tensor, cache: Any = None, use_cache: bool = False) -> Any:
        """The backbone's output for (B, S) new tokens; `attention_mask` (B, cached + S) also counts the cached ones."""
        self.select()
        positions = (attention_mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        return self.model.base_model(
            input_ids=tokens,
            attention_mask=attention_mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=use_cache,
        )

    def hidden(self, tokens: Tensor, attention_mask: Tensor, below: Tensor | None = None) -> Tensor:
        """(B, T, D) last hidden states; from what left the trunk, `below` (B, T, D), where that is known.

        Rows are padded on the right. What stands on padding is arbitrary.
        """
        if not self.packs_rows or bool(attention_mask.all()):
            with self._given(below):
                states: Tensor = self.forward(tokens, attention_mask).last_hidden_state
            return states
        lengths = attention_mask.sum(1).tolist()
        return self.hidden_packed(tokens, PackedRows(lengths, tokens.shape[1], tokens.device), below)

    def hidden_packed(self, tokens: Tensor, rows: PackedRows, below: Tensor | None = None) -> Tensor:
        """The same where the role reads `rows` end to end."""
        self.select()
        with self._given(None if below is None else rows.joined(below)), row_by_row(self.model.config):
            output = self.model.base_model(
                input_ids=rows.joined(tokens), position_ids=rows.positions, use_cache=False, spans=rows.spans
            )
        return rows.padded(output.last_hidden_state)

    def _given(self, below: Tensor | None) -> contextlib.AbstractContextManager[None]:
        """Inside, a forward goes on from what left the trunk, where that is known."""
        return self.trunk.given(below) if self.trunk and below is not None else contextlib.nullcontext()

    @cached_property
    def packs_rows(self) -> bool:
        """Whether padding costs this role nothing."""
        return packs_rows(self.model, self.model.device)

    @property
    def projection(self) -> nn.Module:
        """From last hidden states to logits, before any cap."""
        projection: nn.Module = self.model.get_output_embeddings()  # type: ignore[no-untyped-call]
        return projection

    @property
    def softcap(self) -> float | None:
        """What the model bounds its logits by, as cap·tanh(logits / cap); None where it does not."""
        return getattr(self.model.config, "final_logit_softcapping", None) or None

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., V) float32 logits of the next token, from (..., D) last hidden states."""
        self.select()
        logits: Tensor = self.projection(hidden).float()
        return self.softcap * torch.tanh(logits / self.softcap) if self.softcap else logits

    def scalar(self, hidden: Tensor) -> Tensor:
        """(...) float32 output of the scalar head, from (..., D) last hidden states."""
        if self.head is None:
            raise ModelError("this role has no scalar head.")
        out: Tensor = self.head(hidden.to(self.head.weight.dtype)).squeeze(-1)
        return out.float()

    def micro_batches(self, token_counts: Sequence[int], budget: int) -> list[list[int]]:
        """Rows that go through this role together, by their tokens."""
        return plan_by_tokens(token_counts, budget, not self.packs_rows)

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """What learning this role changes, by its path."""
        names = {id(weight): path for path, weight in self.model.named_parameters()}
        return {names.get(id(weight), f"head.{place}"): weight for place, weight in enumerate(self.parameters())}

    def parameters(self) -> list[nn.Parameter]:
        """What learning this role changes."""
        head = [] if self.head is None else list(self.head.parameters())
        if self.adapters is not None and self.adapter is not None:
            return self.adapters.parameters(self.adapter) + head
        # A role with a scalar head never uses the vocabulary projection.
        return list((self.model if self.head is None else self.model.base_model).parameters()) + head


def scalar_head(model: PreTrainedModel, seed: int, bias: bool) -> nn.Linear:
    """A head from Normal(0, 1/√(d+1)), bias 0 (Stiennon et al. 2020), in float32."""
    width = int(model.config.hidden_size)
    head = nn.Linear(width, 1, bias=bias, device=model.device, dtype=torch.float32)
    values = rng.normal(seed, "scalar head", count=width) / (width + 1) ** 0.5
    with torch.no_grad():
        head.weight.copy_(torch.tensor(values, dtype=torch.float32)[None])
        if bias:
            head.bias.zero_()
    return head


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global generator seeded inside, as it was outside: for libraries that draw from it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def check_logits(role: Role) -> None:
    """Holds that hidden state and vocabulary projection give the model's own logits, whatever its architecture.

    Raises:
        ModelError: the architecture treats its logits in a way that truing does not know.
    """
    tokens = torch.tensor([[0, 1, 2]], device=role.model.device)
    mask = torch.ones_like(tokens)
    with torch.no_grad():
        ours = role.logits(role.hidden(tokens, mask))
        theirs = role.model(input_ids=tokens, attention_mask=mask).logits.float()
    if not torch.allclose(ours, theirs, atol=1e-3, rtol=1e-3):
        raise ModelError(
            f"the architecture {type(role.model).__name__} changes its logits after the vocabulary projection in a "
            "way that truing does not reproduce.",
            where=role.model.name_or_path,
            hint="Use another base model.",
        )
