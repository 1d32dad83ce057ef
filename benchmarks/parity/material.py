"""Tiny models with random weights, a tokenizer of characters and a few rows, written where both sides read them."""

import json
import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

LETTERS = string.ascii_letters + " .,:!?"
EOS, PAD = "<|end|>", "<|pad|>"

DEMONSTRATIONS = [
    ("what is it?", " a cat."),
    ("and this here, on the table?", " Bread"),
    ("no", " way, Sir: never!"),
    ("a?", "b"),
    ("tell me a longer story", " once, and only once, it ended."),
    ("Z", " the end"),
]
PREFERENCES = [
    ("what is it?", " a cat.", " a very old dog, I think.", 0.5),
    ("and this here, on the table?", " Bread", " no", 0.0),
    ("no", " way, Sir: never!", " yes", 1.25),
    ("a?", "b", "Q?", 0.25),
    ("tell me a longer story", " once, it ended.", " I will not", 2.0),
]
RATINGS = [
    ("what is it?", " a cat.", True),
    ("on the table?", " Bread and wine", False),
    ("no", " way, Sir: never!", True),
    ("a?", "b", True),
    ("tell me a longer story", " once, and only once, it ended.", False),
    ("Z", " the end", False),
]
PROMPTS = ["what is it?", "on the table", "no", "a?", "tell me more, Sir", "Z", "why not:", "The end"]


def write(place: Path) -> None:
    """base/, reference/, reward/ and critic/ (models with the tokenizer), and the rows as JSON."""
    tokenizer = _tokenizer()
    for seed, (name, kind) in enumerate(
        [
            ("base", LlamaForCausalLM),
            ("reference", LlamaForCausalLM),
            ("reward", LlamaForSequenceClassification),
            ("critic", LlamaForSequenceClassification),
        ]
    ):
        torch.manual_seed(seed)
        kind(_config(tokenizer)).save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    rows = {
        "demonstrations": [{"prompt": p, "completion": c} for p, c in DEMONSTRATIONS],
        "preferences": [{"prompt": p, "chosen": c, "rejected": r, "margin": m} for p, c, r, m in PREFERENCES],
        "ratings": [{"prompt": p, "completion": c, "label": label} for p, c, label in RATINGS],
        "prompts": PROMPTS,
    }
    for name, values in rows.items():
        (place / f"{name}.json").write_text(json.dumps(values, indent=1), encoding="utf-8")


def _tokenizer() -> PreTrainedTokenizerFast:
    words = {token: index for index, token in enumerate([*LETTERS, EOS, PAD])}
    inner = Tokenizer(models.WordLevel(words, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=EOS, pad_token=PAD)


def _config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        num_labels=1,  # type: ignore[call-arg]  # of every config, in no signature
    )
