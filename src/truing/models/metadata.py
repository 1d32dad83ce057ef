"""What a model's directory says beside its weights, carried from a base into every copy that is saved of it.

A library that reads such files and writes them anew drops what it does not know, and what it holds to be out of date.
So the files of the base are laid over those that were written, and only what had to change is changed in them: a pad
token that the tokenizer lacked, and an end token that the base's own settings do not name.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import copyfile
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import GENERATION_CONFIG_NAME

from truing.config.sections import Base
from truing.models.description import load_tokenizer
from truing.models.fetched import directory_of
from truing.models.weight_files import read_settings

TOKENIZER_CONFIG, SPECIAL_TOKENS, ADDED_TOKENS = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
OF_TOKENIZERS = (
    "tokenizer*.json",
    SPECIAL_TOKENS,
    ADDED_TOKENS,
    "vocab*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "tekken.json",
    "chat_template*",
    "additional_chat_templates/*",
    "*processor_config.json",
    "LICENSE*",
    "NOTICE*",
)
"""Files of tokenizers and processors, whatever wrote them, and what a copy may not be passed on without"""
NOT_KEPT = ("add_bos_token", "add_eos_token")
"""What the library reads in tokenizer_config.json and does not write"""


def keep_metadata(base: Base, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Lays what stands beside the base's weights over a directory to which a copy of it was saved.

    base: the one that was trained. A GGUF file has nothing beside it.
    model, tokenizer: as they were saved, with what was added to them.
    """
    source = None if base.gguf_file else directory_of(base)
    if source is None:
        return
    original = load_tokenizer(base)
    _keep_tokenizer(source, original, tokenizer, directory)
    settings = read_settings(source / GENERATION_CONFIG_NAME)
    if settings is not None:
        generation = model.generation_config
        merged = settings | ({"eos_token_id": generation.eos_token_id} if generation else {})
        if original.pad_token_id != tokenizer.pad_token_id:
            merged["pad_token_id"] = tokenizer.pad_token_id
        _lay(source / GENERATION_CONFIG_NAME, directory / GENERATION_CONFIG_NAME, merged, settings)


def _keep_tokenizer(
    source: Path, original: PreTrainedTokenizerBase, tokenizer: PreTrainedTokenizerBase, directory: Path
) -> None:
    """Files byte for byte where nothing was added to the tokenizer; otherwise as saved, with what that has lost."""
    changed = _identity(original) != _identity(tokenizer)
    for file in _tokenizer_files(source):
        copy = directory / file.relative_to(source)
        if not (changed and copy.exists()):
            copy.parent.mkdir(exist_ok=True)
            copyfile(file, copy)
    if not changed:
        return
    config = read_settings(source / TOKENIZER_CONFIG) or {}
    before, vocabulary = original.special_tokens_map, original.get_vocab()
    named = {name: token for name, token in tokenizer.special_tokens_map.items() if before.get(name) != token}
    added = {token: number for token, number in tokenizer.get_added_vocab().items() if token not in vocabulary}
    for name, more in (
        (TOKENIZER_CONFIG, {key: config[key] for key in NOT_KEPT if key in config}),
        (SPECIAL_TOKENS, named),
        (ADDED_TOKENS, added),
    ):
        settings = read_settings(directory / name)
        if settings is not None:
            _lay(directory / name, directory / name, settings | more, settings)


def _tokenizer_files(source: Path) -> Iterator[Path]:
    """Not those that are links to elsewhere: what a person has beside the model is not passed on with a copy of it."""
    own = (source.resolve(), source.resolve().parent.parent / "blobs")  # where the Hub's cache keeps what it links to
    found = {file for pattern in OF_TOKENIZERS for file in source.glob(pattern) if file.is_file()}
    yield from sorted(file for file in found if any(file.resolve().is_relative_to(place) for place in own))


def _identity(tokenizer: PreTrainedTokenizerBase) -> tuple[object, ...]:
    return tokenizer.special_tokens_map, tokenizer.chat_template, len(tokenizer.get_vocab())


def _lay(source: Path, copy: Path, merged: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """A file as it was where nothing is merged into it, so that even its layout stays."""
    if merged != settings:
        copy.write_text(json.dumps(merged, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    elif source != copy:
        copyfile(source, copy)
