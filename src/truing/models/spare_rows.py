"""Tokens on spare rows of an embedding that was padded: what is alike there, no adapter can tell apart."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from truing.config.sections import Base
from truing.core.errors import ModelError
from truing.models.fetched import directory_of
from truing.models.padding import embedding_rows
from truing.models.weight_files import last_rows


def tokens_alike(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> frozenset[int]:
    """Those behind the vocabulary that it was trained on whose embedding is zero, or that of another of them too."""
    first = tokenizer.vocab_size
    return _alike(model.get_input_embeddings().weight[first:], first)  # type: ignore[index]


def tokens_alike_in_files(tokenizer: PreTrainedTokenizerBase, outline: PreTrainedModel, base: Base) -> frozenset[int]:
    """The same for a base whose weights have not been loaded: of its files, only the rows in question are read.

    None where these are not on this machine, or where they do not name the embedding as the library does; GGUF does
    not. Then loading tells.
    """
    directory, first = directory_of(base), tokenizer.vocab_size
    if directory is None or base.gguf_file is not None or first >= embedding_rows(outline):
        return frozenset()
    weight: Any = outline.get_input_embeddings().weight
    paths = [path for path, other in outline.named_parameters(remove_duplicate=False) if other is weight]
    rows = last_rows(directory, paths, first, weight.shape[1])
    return frozenset() if rows is None else _alike(rows.to(weight.dtype), first)


def refusal_of_alike(tokenizer: PreTrainedTokenizerBase, tokens: frozenset[int]) -> ModelError:
    """The refusal of rows that have some of them."""
    names = ", ".join(tokenizer.convert_ids_to_tokens(sorted(tokens)))
    what = f"has no embedding of its own for {names}: it is zero, or that of other tokens too."
    hint = "Begin with sft and set sft.method: full, or take the spare rows out of the model."
    return ModelError(what, code="model/alike-tokens", where=tokenizer.name_or_path, hint=hint)


def _alike(rows: Tensor, first: int) -> frozenset[int]:
    """The tokens of those rows (n, width), the first of which is of the token `first`."""
    places = _repeated(rows.double().sum(1)).nonzero().flatten()  # few, and whole rows are slow to sort
    repeated = places[_repeated(rows[places])]
    zero = (~rows.any(1)).nonzero().flatten()
    return frozenset(first + row for row in [*repeated.tolist(), *zero.tolist()])


def _repeated(rows: Tensor) -> Tensor:
    """Which of the numbers (n,) or rows (n, width) are there more than once: (n,)."""
    if not len(rows):
        return torch.zeros(0, dtype=torch.bool)
    dim = 0 if rows.dim() > 1 else None  # numbers are sorted faster as such
    _, kind, count = torch.unique(rows, dim=dim, return_inverse=True, return_counts=True)
    repeated: Tensor = count[kind] > 1
    return repeated
