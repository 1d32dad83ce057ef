"""Tiny models with random weights, of the shapes that people bring, and a tokenizer of characters for them."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz .,:!?"
EOS = "<|end|>"
VOCABULARY = len(LETTERS) + 2
SHAPES = ("llama", "gpt2", "qwen", "gemma")


def tokenizer(pad: str | None = "<|pad|>") -> PreTrainedTokenizerFast:
    """One token a letter; `pad` may be None, or eos itself."""
    words = {letter: index for index, letter in enumerate(LETTERS)} | {EOS: len(LETTERS), "<|pad|>": len(LETTERS) + 1}
    inner = Tokenizer(models.WordLevel(words, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=EOS, pad_token=pad)


def model(shape: str = "llama", seed: int = 0) -> PreTrainedModel:
    """A causal language model with random weights, large enough to tell positions apart."""
    common = {"vocab_size": VOCABULARY, "eos_token_id": len(LETTERS), "pad_token_id": len(LETTERS) + 1}
    narrow = common | {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if shape == "gpt2":
            config = GPT2Config(**common, n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3)
            return GPT2LMHeadModel(config).eval()
        if shape == "gemma":
            return Gemma2ForCausalLM(Gemma2Config(**narrow, head_dim=8)).eval()
        if shape == "qwen":
            return Qwen2ForCausalLM(Qwen2Config(**narrow, tie_word_embeddings=True)).eval()
        return LlamaForCausalLM(LlamaConfig(**narrow)).eval()


def directory(place: Path, shape: str = "llama", pad: str | None = "<|pad|>") -> Path:
    """Model and tokenizer, saved as a Hugging Face directory."""
    model(shape).save_pretrained(place)
    tokenizer(pad).save_pretrained(place)
    return place
