"""A tokenizer and a model that belong together: an embedding for every token, and a pad that is not eos."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from truing.core.errors import ModelError
from truing.data.endings import Endings
from truing.kernels.text_config import text_config

PAD = "<|pad|>"
APART = 0.1
"""How far new tokens' rows start from their mean, in deviations of the old ones"""


def ensure_pad(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, endings: Endings) -> list[str]:
    """Gives the tokenizer a pad token of its own where it has none, or where pad ends rows; says what it did.

    Libraries mask padding out of a loss by its id, and look for a text's last token that is none: with pad = eos,
    stopping could not be learnt, and a classifier would not read to the end.

    Raises:
        ModelError: nothing ends a response, a token has no embedding, or pad cannot be added.
    """
    rows = embedding_rows(model)
    largest = max(tokenizer.get_vocab().values())  # numbers may have gaps, and go further than a count of tokens
    _check_vocabulary(tokenizer, largest, rows, endings)
    notes = []
    if tokenizer.pad_token_id in (None, *endings.text, *endings.turn, *endings.written):
        was = "no pad token" if tokenizer.pad_token_id is None else f"pad = eos ({tokenizer.pad_token!r})"
        _add_pad(tokenizer, was)
        notes.append(f"The tokenizer had {was}; added {PAD!r} as its pad token.")
    wanted = max(largest, tokenizer.pad_token_id) + 1
    if wanted > rows:
        grow(model, rows, wanted, tokenizer.pad_token_id)
        notes.append(f"The embeddings grew from {rows} to {wanted} rows, one for each token.")
    several: tuple[Any, ...] = (model.config, text_config(model), model.generation_config)
    for settings in filter(None, several):
        settings.pad_token_id = tokenizer.pad_token_id
        before = getattr(settings, "eos_token_id", None)
        settings.eos_token_id = _merged(before, endings.tokens, set(tokenizer.added_tokens_decoder))
    return notes


def _merged(before: int | list[int] | None, ends: Sequence[int], own: set[int]) -> int | list[int]:
    """The ends that a config named, as far as they are ends or pieces of text, and behind them those that it lacks."""
    known = before if isinstance(before, list) else [] if before is None else [before]
    named = [end for end in known if end in ends or end not in own]
    named += [end for end in ends if end not in named]
    return named if len(named) > 1 or isinstance(before, list) else named[0]


def tokens_without_rows(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> frozenset[int]:
    """Those of the vocabulary for which the model has no embedding."""
    rows = embedding_rows(model)
    return frozenset(token for token in tokenizer.get_vocab().values() if token >= rows)


def rows_to_learn(model: PreTrainedModel, known: int, new_tokens: Collection[int], pad: int) -> range:
    """The rows behind the first `known` of the embeddings, which learn together with an adapter.

    None where there are no new tokens but `pad`, or where the library cannot train and save single rows: it puts them
    over those of an embedding and of a projection without a bias, and goes by the config for whether both are one.
    """
    embeddings, projection = model.get_input_embeddings(), model.get_output_embeddings()  # type: ignore[no-untyped-call]
    has_rows = isinstance(embeddings, nn.Embedding) and isinstance(projection, nn.Linear) and projection.bias is None
    if not has_rows or all(token == pad for token in new_tokens):
        return range(0)
    tied = projection.weight is embeddings.weight
    return range(known, embedding_rows(model)) if tied == bool(model.config.tie_word_embeddings) else range(0)


def embedding_rows(model: PreTrainedModel) -> int:
    """How many tokens a model has embeddings for."""
    return len(model.get_input_embeddings().weight)  # type: ignore[arg-type]


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, largest: int, rows: int, endings: Endings) -> None:
    """ModelError where nothing ends a response, or there is a token for which a model of so many rows has no embedding.

    largest: the greatest number of a token. Tokens that were added may be beyond the rows: some are found for them.
    """
    if not endings.tokens:
        what = "the tokenizer has no eos token, so a response could never end."
        hint = "Set eos_token in its tokenizer_config.json."
        raise ModelError(what, code="model/no-eos", where=tokenizer.name_or_path, hint=hint)
    if tokenizer.vocab_size > rows:
        told = f"has {tokenizer.vocab_size} tokens and the model only {rows}"
    elif largest >= max(rows, len(tokenizer)):
        told = f"numbers a token {largest} and the model has {rows}"
    else:
        return
    what = f"the tokenizer {told}: they do not belong together."
    hint = "Give the model its own tokenizer, or resize its embeddings and train them first."
    raise ModelError(what, code="model/other-tokenizer", where=tokenizer.name_or_path, hint=hint)


def _add_pad(tokenizer: PreTrainedTokenizerBase, was: str) -> None:
    """ModelError where the library would give it the number of another token: it counts them, and does not see gaps."""
    vocabulary = tokenizer.get_vocab()
    tokenizer.add_special_tokens({"pad_token": PAD})
    if PAD not in vocabulary and tokenizer.pad_token_id in vocabulary.values():
        what = f"the tokenizer has {was}, and numbers with gaps, where {PAD!r} cannot be added."
        hint = "Set pad_token in its tokenizer_config.json to a token that texts do not have."
        raise ModelError(what, code="model/no-pad", where=tokenizer.name_or_path, hint=hint)


def grow(model: PreTrainedModel, old: int, new: int, pad: int) -> None:
    """New tokens get the mean of the old ones' rows, and all but `pad` a little noise of their own.

    So a logit is about the mean logit, and by Jensen's inequality the probability at most about that of an even choice.
    A row near zero would be the likeliest of all in a model whose logits are far below zero, such as GPT-2. Without the
    noise they would be one token under several names. The same model and tokenizer give the same rows.
    """
    model.resize_token_embeddings(new, mean_resizing=False)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(old)
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):  # type: ignore[no-untyped-call]
            for weight in layer.parameters():
                known = weight[:old].float()
                noise = APART * known.std(0) * torch.randn(weight[old:].shape).to(weight.device)
                if pad >= old:
                    noise[pad - old] = 0
                weight[old:] = (known.mean(0) + noise).to(weight.dtype)
