"""Models for the benchmarks, written where every side reads them: small random Llamas, and truing's reward models.

Run as a side like any other, so that the commands themselves never load torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.child import report, work
from truing.config.sections import Base, Compute, Lora
from truing.core.normalisation import Normalisation
from truing.models.layout import trained_role
from truing.models.load import load_base
from truing.models.save import merge, save_adapter, save_normalisation, save_reward_model

PAD, EOS = "<|pad|>", "<|end|>"


def llama_shape(hidden: int = 128, layers: int = 4, vocabulary: int = 2048, groups: int = 2) -> dict[str, Any]:
    """What the config says of a Llama with tied embeddings of 1.05M parameters, or of another size.

    `groups` heads share their keys and values.
    """
    heads = max(2, hidden // 64)
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // groups,
        "tie_word_embeddings": True,
    }


def write_llama(place: Path, **sizes: int) -> None:
    """A Llama with random weights of `llama_shape`, and its tokenizer."""
    write_shape(place, llama_shape(**sizes))


def write_shape(place: Path, shape: Mapping[str, Any]) -> None:
    """A Llama with random weights whose config says this, and a tokenizer of as many made-up words."""
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**shape, **ids, max_position_embeddings=1024)).save_pretrained(place)
    words(shape["vocab_size"]).save_pretrained(place)


def words(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of so many made-up words, the first of which are pad and eos."""
    known = {word: index for index, word in enumerate([PAD, EOS, *(f"w{i}" for i in range(2, vocabulary))])}
    inner = Tokenizer(models.WordLevel(known, unk_token=PAD))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=EOS, pad_token=PAD)


def write_reward(model: Path, place: Path, rank: int) -> None:
    """An untrained reward model on the base in `model`: `adapter/` for shared roles, `model/` for separate ones."""
    base = load_base(Base(path=str(model)), Compute(device="cpu"))
    reward = trained_role(base, "reward", Lora(rank=rank, alpha=2.0 * rank), seed=0, head=True)
    assert reward.head is not None
    save_adapter(reward, place / "adapter")
    save_reward_model(merge(reward), reward.head, base.tokenizer, place / "model")
    save_normalisation(Normalisation(), place / "model")


def main() -> None:
    """Writes what is told."""
    told = work()
    if told["write"] == "llama":
        write_llama(Path(told["place"]), **told["shape"])
    else:
        write_reward(Path(told["model"]), Path(told["place"]), told["rank"])
    report(told, {})


if __name__ == "__main__":
    main()
