"""What a base is asked once it is loaded: whether truing's ways of reading give the model's own logits.

Rows are read side by side, padded, and from what a model remembers. Each of these is an assumption about it, which
recurrent and hybrid models break; the truth is each row read alone, whole, by the model as the library calls it. That
its layers, where they are ours, are the library's is no question here: `exchanged_layers` has asked before it put them
in, layer by layer, for here rounding of all layers would hide a fault, or pass for one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from truing.core.errors import ModelError
from truing.kernels.backbone import hidden_padded, hidden_unpadded
from truing.kernels.backend import Backend, DecodeStep, ways_to_learn
from truing.kernels.gpu.light_adapters import light_decoding
from truing.kernels.packed_rows import hidden_varlen
from truing.kernels.precision import rounding
from truing.kernels.text_config import logit_transforms
from truing.kernels.vocabulary import LogitTransform
from truing.models.context import context_length
from truing.models.decoding import Decoder
from truing.models.roles import Role

LONG, SHORT, SAID = 12, 1, 3
"""Tokens of two prompts, and of the responses to them"""
TIMES = 4
"""As many times the error that two equally long rows show side by side may be rounding too"""
WRONG = 1e-3
"""An error, as a share of the largest logit, that is no rounding in single precision"""


@dataclass(frozen=True)
class Way:
    """How rows may be sampled for."""

    pads: bool
    caches: bool
    slow_in: str = ""


WAYS = (
    Way(True, True),
    Way(False, True, "reads padding too, so it samples for prompts of equal length side by side"),
    Way(True, False, "does not go on from a cache exactly, or has none, so sampling reads all tokens at every step"),
    Way(
        False,
        False,
        "reads padding too and does not go on from a cache exactly, or has none, so it samples for prompts of equal "
        "length side by side and reads all tokens at every step",
    ),
)
"""The fastest first; the last neither pads nor remembers"""
HINT = "Use another base model, such as Llama, Qwen or Mistral."


@torch.no_grad()
def exact_backend(model: PreTrainedModel, backend: Backend, pad: int) -> tuple[Backend, list[str]]:
    """The fastest way to compute a model in which each row has its own logits, and in what it is slower, in words.

    Raises:
        ModelError: it reads the tokens that follow, changes its logits in a way that is not known, or gives rows other
            logits side by side than alone.
    """
    name = type(model).__name__
    check_causal(model)
    probe = _Probe.of(Role(model, backend=backend))
    backend = replace(backend, transform=probe.transform(Role(model, backend=backend)))
    probe = probe.measured(Role(model, backend=backend))
    exact = (way for way in ways_to_learn(backend) if probe.learns_exactly(Role(model, backend=way[0]), pad))
    unpadded = "reads padding too, so it learns from rows of equal length side by side"
    backend, slow_in = next(exact, (replace(backend, hidden=hidden_unpadded), unpadded))
    notes = [f"{name} {what}." for what in (backend.slow_in, slow_in) if what]
    for way in WAYS if keeps_a_cache(model) else WAYS[2:]:
        backend = replace(backend, pads=way.pads, caches=way.caches)
        if probe.samples_exactly(Role(model, backend=backend), pad):
            break
    else:
        what = f"{name} gives a row other logits beside others than alone, in every way of reading it that is known."
        raise ModelError(what, code="model/not-sampled-exactly", where=model.name_or_path, hint=HINT)
    if way.slow_in:
        notes.append(f"{name} {way.slow_in}.")
    if way.caches and model.device.type != "cpu" and not probe.decodes_exactly(Role(model, backend=backend), pad):
        backend = replace(backend, decoding=light_decoding)
        notes.append(f"{name} gives other logits by the faster step of a token, so it samples by its own layers.")
    return backend, notes


@torch.no_grad()
def keeps_a_cache(model: PreTrainedModel) -> bool:
    """Whether the model remembers what it has read."""
    try:
        output = model.base_model(input_ids=torch.tensor([[0, 1]], device=model.device), use_cache=True)
    except Exception:  # an architecture whose cache is not ready fails in its own way
        return False
    return getattr(output, "past_key_values", None) is not None


@torch.no_grad()
def check_causal(model: PreTrainedModel) -> None:
    """Holds that a token's logits do not depend on the tokens after it.

    The library loads masked language models such as BERT as causal ones, and they would read the answers.

    Raises:
        ModelError: they do depend on them.
    """
    one, other = model(torch.tensor([[0, 1, 2], [0, 1, 3]], device=model.device)).logits[:, :2].float()
    allowed = max(WRONG, rounding(model.dtype) * _largest([one]))
    if not torch.allclose(one, other, atol=allowed, rtol=WRONG, equal_nan=True):
        what = f"{type(model).__name__} reads the tokens that follow, so it is no causal language model."
        hint = "Use a model that was made to write, such as Llama, Qwen or GPT-2."
        raise ModelError(what, code="model/not-causal", where=model.name_or_path, hint=hint)


@dataclass(frozen=True)
class _Probe:
    """Two rows, and the logits of each alone."""

    rows: Sequence[Tensor]
    alone: Sequence[Tensor]
    """(T, V) float32 of each: those of the library's own call, with nothing padded or remembered, by the layers that
    were put in"""
    allowed: float
    """Error of a logit that is rounding"""

    @classmethod
    def of(cls, role: Role) -> "_Probe":
        """Rows of unequal length, or as long as the model reads, which do not begin alike."""
        model = role.model
        known = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
        longest = context_length(model) - SAID
        rows = [
            torch.arange(1, 1 + min(length, longest) + SAID, device=model.device) * factor % known
            for length, factor in ((LONG, 3), (SHORT, 5))
        ]
        alone = [_own_logits(role, row[None])[0] for row in rows]
        return cls(rows, alone, rounding(role.backend.precision.compute) * _largest(alone))

    def measured(self, role: Role) -> "_Probe":
        """The same with what two rows of equal length show of rounding. ModelError where that is more."""
        length = len(self.rows[1])
        equal = torch.stack([row[:length] for row in self.rows])
        expected = torch.stack([logits[:length] for logits in self.alone])
        wrong = float((role.logits(role.hidden(equal, torch.ones_like(equal))) - expected).nan_to_num().abs().max())
        if role.backend.precision.compute == torch.float32 and wrong > WRONG * _largest(self.alone):
            what = f"{type(role.model).__name__} gives a row other logits side by side with another row than alone."
            raise ModelError(what, code="model/not-exact", where=role.model.name_or_path, hint=HINT)
        return replace(self, allowed=max(self.allowed, TIMES * wrong))

    def transform(self, role: Role) -> LogitTransform:
        """What the model does to its logits, so that hidden state and projection give its own.

        Raises:
            ModelError: it treats them in a way that truing does not know.
        """
        row = self.rows[0][None]
        for transform in logit_transforms(role.model):
            known = replace(role, backend=replace(role.backend, transform=transform))
            try:
                if self._close(known.logits(known.hidden(row, torch.ones_like(row)))[0], self.alone[0]):
                    return transform
            except (AttributeError, TypeError, RuntimeError):  # it has no such parts, or they do not fit together
                break
        name = type(role.model).__name__
        what = f"the architecture {name} makes its logits in a way that truing does not reproduce."
        raise ModelError(what, code="model/logits-changed", where=role.model.name_or_path, hint=HINT)

    def learns_exactly(self, role: Role, pad: int) -> bool:
        """Whether rows padded on the right have the logits of each alone."""
        tokens = pad_sequence(list(self.rows), batch_first=True, padding_value=pad)
        mask = pad_sequence([torch.ones_like(row) for row in self.rows], batch_first=True)
        try:
            hidden = role.hidden(tokens, mask)
            if role.backend.hidden is hidden_varlen and not self._has_gradients_of_each_alone(role, tokens, mask):
                return False
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError):  # of a kernel that this device or this torch lacks, or not for such heads
            if role.backend.hidden is hidden_padded:
                raise
            return False
        return all(
            self._close(role.logits(hidden[place, : len(row)]), self.alone[place])
            for place, row in enumerate(self.rows)
        )

    def _has_gradients_of_each_alone(self, role: Role, tokens: Tensor, mask: Tensor) -> bool:
        """Whether the gradient that reaches the embeddings of padded rows is that of each alone, but for rounding.

        A kernel of its own has a backward of its own, which may lack heads of some width, or a device.
        """
        padded = replace(role, backend=replace(role.backend, hidden=hidden_padded))
        expected = torch.cat([_embedding_gradient(padded, row[None], torch.ones_like(row)[None]) for row in self.rows])
        rounded = _embedding_gradient(padded, tokens, mask) - expected  # of a deep model it may be much
        allowed = TIMES * max(rounding(role.backend.precision.compute) * float(expected.norm()), float(rounded.norm()))
        return bool((_embedding_gradient(role, tokens, mask) - expected).norm() <= allowed)

    def decodes_exactly(self, role: Role, pad: int) -> bool:
        """The same by the step that a device samples by."""
        with role.decoding() as step:
            return step is None or self.samples_exactly(role, pad, step)

    def samples_exactly(self, role: Role, pad: int, step: DecodeStep | None = None) -> bool:
        """Whether rows have their own logits behind their prompts and after each token that is read behind these.

        One prompt is there twice, and the first row with it ends after a token.
        """
        rows, alone = list(self.rows), list(self.alone)
        if not role.backend.pads:
            rows[0], alone[0] = rows[0][: len(rows[1])], alone[0][: len(rows[1])]
        places = [0, 1, 0]
        try:
            decoder = Decoder(role, [rows[place][:-SAID].tolist() for place in places], pad, SAID, step)
            for left in range(SAID, -1, -1):
                if not self._close(role.logits(decoder.state), torch.stack([alone[at][-1 - left] for at in places])):
                    return False
                if left:
                    going = [left != SAID - 1, *[True] * (len(places) - 1)]
                    places = [places[place] for place in decoder.keep(going)]
                    decoder.read(torch.stack([rows[place][-left] for place in places]))
        except torch.OutOfMemoryError:
            raise
        except Exception:  # a cache of another make fails in its own way
            return False
        return True

    def _close(self, ours: Tensor, theirs: Tensor) -> bool:
        return ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=self.allowed, rtol=0.0, equal_nan=True)


def _embedding_gradient(role: Role, tokens: Tensor, mask: Tensor) -> Tensor:
    """(N, D) float32: of a weighted sum of the last hidden states of padded rows, by the embeddings of all N tokens."""
    embedded: list[Tensor] = []
    embeddings = role.model.get_input_embeddings()
    hook = embeddings.register_forward_hook(lambda *given: embedded.append(given[-1].requires_grad_()))
    try:
        with torch.enable_grad():
            hidden = role.hidden(tokens, mask)[mask.bool()].float()
            weights = torch.linspace(-1, 1, hidden.shape[-1], device=hidden.device)  # alike, a norm would hide them
            (gradient,) = torch.autograd.grad((hidden * weights).sum(), embedded)
    finally:
        hook.remove()
    return (gradient[mask.bool()] if gradient.shape[:2] == mask.shape else gradient[0]).float()


def _own_logits(role: Role, tokens: Tensor) -> Tensor:
    """(B, T, V) float32: those of the library's own call."""
    with role.backend.precision.autocast(tokens.device):
        logits: Tensor = role.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits
    return logits.float()


def _largest(logits: Sequence[Tensor]) -> float:
    return max(float(part.nan_to_num(0.0, 0.0, 0.0).abs().max()) for part in logits)
