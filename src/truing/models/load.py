"""A base model and its tokenizer, loaded from a directory, a Hub id or a GGUF file, and made fit for training."""

import gc
import json
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from truing.config.sections import Base, Compute, Data, Lora
from truing.core.errors import ModelError
from truing.core.heap import give_back_what_is_free, keep_freed_blocks
from truing.data.chat import TextFormat
from truing.data.endings import Endings, endings_of
from truing.kernels.backend import Backend, choose_backend
from truing.kernels.checkpointing import checkpoint_layers
from truing.kernels.precision import Precision
from truing.models.adapters import Adapters
from truing.models.arrival import is_spread, let_go_of_files, parts_to_keep
from truing.models.context import context_length
from truing.models.description import (
    CAUSAL,
    declared_ends,
    load_config,
    load_tokenizer,
    merge_always,
    quiet_transformers,
    reraise_as_model_error,
)
from truing.models.device import device_of, dtype_of, precision_of
from truing.models.exactness import exact_backend
from truing.models.exchanged_layers import exchanged
from truing.models.fetched import directory_of
from truing.models.first_layers import keep_layers, layers_to_ask
from truing.models.gguf import gguf_options
from truing.models.own_code import code_of, foreign_code
from truing.models.padding import embedding_rows, ensure_pad, rows_to_learn, tokens_without_rows
from truing.models.quantised import check_quantisation, nf4_options, prepare_4bit_layers
from truing.models.roles import Role
from truing.models.spare_rows import refusal_of_alike, tokens_alike
from truing.models.weight_files import weights_in
from truing.models.weights import check_weights, load_weights, outline, refuse_no_numbers
from truing.processes import group, started

if TYPE_CHECKING:
    from truing.processes.parts import Parts

SMALL = 1 << 25
"""Bytes of a model up to which what is freed stays with the process. A larger one gains nothing by it, and several
processes that share one give back each layer's"""


@dataclass(frozen=True)
class LoadedBase:
    """A causal language model with dropout off and its weights frozen, and a tokenizer whose pad is not its eos."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    context: int
    """Longest sequence the model can read, in tokens"""
    endings: Endings
    """What ends a response"""
    new_tokens: frozenset[int]
    """Tokens that the model had no embedding for, and so has never learnt; the pad that truing adds is none"""
    new_rows: range = range(0)
    """Rows of the embeddings that adapters learn too: those of new tokens and of pad, where there are new tokens"""
    notes: tuple[str, ...] = ()
    """What was changed on loading, and what the model cannot do, in words"""
    backend: Backend = field(default_factory=Backend)
    """How the model is computed"""
    parts: "Parts | None" = None
    """What this process keeps of each weight; None where that is all of it, or before `spread` is done with it"""

    def to_learn(self, tokens: Callable[[], Collection[int]], by_adapter: bool) -> "LoadedBase":
        """The same for a stage that learns from rows: no rows of the embeddings learn where no new token is in them.

        Args:
            tokens: of those rows, which are gone through only where it matters.
            by_adapter: whether embeddings stay as they are, but for those rows.

        Raises:
            ModelError: one of the tokens has the embedding of another, or none, and the adapter could not part them.
        """
        alike = tokens_alike(self.tokenizer, self.model) if by_adapter else frozenset()
        if not (self.new_rows or alike):
            return self
        read = frozenset(tokens())
        if alike & read:
            raise refusal_of_alike(self.tokenizer, alike & read)
        return self if self.new_tokens & read else replace(self, new_rows=range(0))

    def text_format(self, data: Data) -> TextFormat:
        """How text becomes tokens in a recipe with this `data`."""
        return TextFormat(self.tokenizer, self.endings, date.fromisoformat(data.date), json.dumps(data.tools))

    def adapters(self, lora: Lora, seed: int) -> Adapters:
        """What holds adapters of this size on the model; `seed` is of their first weights."""
        return Adapters(self.model, lora, seed, self.backend, self.new_rows, self.parts)

    def role(self, **others: Any) -> Role:
        """A role that this model plays, as it is or with `others` of what makes one."""
        return Role(self.model, backend=self.backend, parts=self.parts, **others)


def load_base(base: Base, compute: Compute, trains: bool = False, fetch: bool = True) -> LoadedBase:
    """Loads a causal language model for training: of all its weights if it `trains`, else of adapters on it.

    What is missing of a Hub id is fetched, unless `fetch` is off. Where processes keep parts of weights, each has its
    part of layers alone, and `spread` does the rest.

    Raises:
        ModelError: the path holds no causal model, wants remote code, has weights whose reading can run code, or has
            layers that cannot be recomputed, or not spread, where that is asked for.
        RecipeError: `compute.device` cannot be used here, or not with `base.quantize`.
    """
    quiet_transformers()
    if base.quantize == "nf4":
        check_quantisation(device_of(compute))
    precision = precision_of(compute, trains)
    if is_spread(compute) and base.gguf_file is None and base.quantize == "none":
        return _load_parts(base, compute, precision, fetch)
    return _load_whole(base, compute, precision, fetch)


def _load_whole(
    base: Base, compute: Compute, precision: Precision, fetch: bool, layers: int | None = None
) -> LoadedBase:
    """All of a base, or the lowest `layers` of it."""
    tokenizer = load_tokenizer(base, fetch)
    config = load_config(base, fetch)  # refuses what the library would load as something else
    if layers is not None:
        keep_layers(config, layers)
    model = _load_model(base, compute, precision, fetch, **({} if layers is None else {"config": config}))
    endings, new_tokens, new_rows, notes = _fit_vocabulary(tokenizer, model)
    with reraise_as_model_error(base, CAUSAL):  # its own code runs for the first time
        backend = prepare(model, precision, compute.gradient_checkpointing)
        backend, slower = exact_backend(model, backend, tokenizer.pad_token_id)
    notes += slower
    return LoadedBase(model, tokenizer, context_length(model), endings, new_tokens, new_rows, tuple(notes), backend)


def _load_parts(base: Base, compute: Compute, precision: Precision, fetch: bool) -> LoadedBase:
    """A base of whose layers this process keeps its part. What a base is asked is asked of a few whole layers.

    They are gone before the parts arrive.
    """
    config = load_config(base, fetch)
    with reraise_as_model_error(base, CAUSAL):
        whole = outline(AutoModelForCausalLM, config, base.trust_remote_code)
    parts = parts_to_keep(whole)
    asked = _load_whole(base, compute, precision, fetch, layers_to_ask(whole))
    known = replace(asked, model=whole)
    del asked
    gc.collect()  # models hold on to themselves
    model = _load_model(base, compute, precision, fetch, parts=parts)
    ensure_pad(known.tokenizer, model, known.endings)
    put_layers(model, known.backend, compute.gradient_checkpointing)
    return replace(known, model=model)


def _fit_vocabulary(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> tuple[Endings, frozenset[int], range, list[str]]:
    """Makes the two fit each other: what ends a response, the new tokens, the rows that learn, and what was changed."""
    notes = merge_always(tokenizer)
    endings, new_tokens = endings_of(tokenizer, declared_ends(model)), tokens_without_rows(tokenizer, model)
    known = embedding_rows(model)  # before a pad may add one
    notes += ensure_pad(tokenizer, model, endings)
    return endings, new_tokens, rows_to_learn(model, known, new_tokens, tokenizer.pad_token_id), notes


def prepare(model: PreTrainedModel, precision: Precision, checkpointing: bool = False) -> Backend:
    """Makes a model that was just loaded ready, with as many fast layers as learn what its own do.

    Freezes it and takes its dropout away.
    """
    backend = choose_backend(model, model.device, precision, will_be_cut=group.tensor_size() > 1)
    backend = exchanged(_frozen(model), backend)
    put_layers(model, backend, checkpointing)
    return backend


def put_layers(model: PreTrainedModel, backend: Backend, checkpointing: bool) -> None:
    """The same for one whose backend is known already."""
    _frozen(model)
    backend.prepare(model)
    size = sum(weight.nbytes for weight in model.parameters())
    if model.device.type == "cpu" and size <= SMALL and not started.is_expected():
        keep_freed_blocks()
    if checkpointing:
        checkpoint_layers(model)


def _frozen(model: PreTrainedModel) -> PreTrainedModel:
    model.config.use_cache = False
    model.requires_grad_(False).train(False)
    return model


def run_model(directory: Path, base: Base) -> Base:
    """The model that a stage left in `directory`, to begin with in the place of the base it goes back to.

    Consent to the base's own code is consent to the copies of it that the stage saved, and to no other code.

    Raises:
        ModelError: there is other code, and the base's may run.
    """
    model = Base(path=str(directory), quantize=base.quantize)
    if not base.trust_remote_code or not code_of(directory):
        return model
    source = directory_of(base)
    foreign = foreign_code(directory, source, base.path) if source else ["code whose base is not on this machine"]
    if foreign:
        what = f"brings code that is not the base's ({', '.join(foreign)}), and consent was given to the base's alone."
        hint = "Put back what the stage left there, or begin a new run with another --out."
        raise ModelError(what, code="model/foreign-code", where=str(directory), hint=hint)
    return model.model_copy(update={"trust_remote_code": True})


def outline_base(base: Base, compute: Compute, fetch: bool = True) -> LoadedBase:
    """The base without its weights: tensors on torch's meta device, which have shapes and take no memory.

    What is missing of a Hub id is fetched, unless `fetch` is off.

    Raises:
        ModelError: no causal model is described there.
    """
    quiet_transformers()
    tokenizer, config = load_tokenizer(base, fetch), load_config(base, fetch)
    with reraise_as_model_error(base, CAUSAL):
        dtype = getattr(torch, dtype_of(compute))
        model = outline(AutoModelForCausalLM, config, base.trust_remote_code, dtype=dtype)
        with suppress(OSError):  # most models without one are older than it
            model.generation_config = GenerationConfig.from_pretrained(base.path, local_files_only=not fetch)
    endings, new_tokens, new_rows, notes = _fit_vocabulary(tokenizer, model)
    model.requires_grad_(False).train(False)
    backend = choose_backend(model, device_of(compute), precision_of(compute, trains=False))
    return LoadedBase(model, tokenizer, context_length(model), endings, new_tokens, new_rows, tuple(notes), backend)


def check_base(base: Base, outline: LoadedBase) -> None:
    """ModelError where the files of a base, whose `outline` this is, lack a weight or have it in another shape.

    No weight is read. Of a base that is not on this machine, and of one in GGUF, nothing is said.
    """
    if directory_of(base) is not None and base.gguf_file is None:
        own = {"trust_remote_code": base.trust_remote_code, "use_safetensors": True, "local_files_only": True}
        with reraise_as_model_error(base, CAUSAL):
            check_weights(AutoModelForCausalLM, base.path, outline.model.config, **own)


def _load_model(base: Base, compute: Compute, precision: Precision, fetch: bool, **others: Any) -> PreTrainedModel:
    options = gguf_options(base.gguf_file) if base.gguf_file else {"use_safetensors": True}
    options |= {} if fetch else {"local_files_only": True}
    device = device_of(compute)
    if base.quantize == "nf4":
        options |= nf4_options(device, precision.compute)
    with reraise_as_model_error(base, CAUSAL):
        model = load_weights(
            AutoModelForCausalLM,
            base.path,
            device,
            dtype=precision.parameters,
            trust_remote_code=base.trust_remote_code,
            **options,
            **others,
        )
        if base.quantize == "nf4" and (files := directory_of(base)) is not None:
            refuse_no_numbers(weights_in(files), base.path)  # in 4 bit they would pass for numbers
    if base.quantize == "nf4":
        prepare_4bit_layers(model, device)
        let_go_of_files(model)
        give_back_what_is_free()  # what the weights took before they were quantised
    return model
