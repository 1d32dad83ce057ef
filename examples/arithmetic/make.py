"""Writes a tiny base model, sums to answer, and the recipe and reward that go with them.

    python examples/arithmetic/make.py DIRECTORY
    truing run DIRECTORY/grpo.yaml --out DIRECTORY/run

Demonstrations are from a class in which few add right: a model that imitates it is right as often as they are. The
prompts have the right `answer` in a column of their own, which the reward is handed: see reward.py.
"""

import argparse
import json
import random
import shutil
from pathlib import Path

RIGHT = 0.15
"""Share of the demonstrations whose sum is right"""
SLIPS = (-1, 1)
"""What the others are off by"""
DEMONSTRATIONS, PROMPTS = 6000, 2000
CHARACTERS = "0123456789+="


def sums(count: int, draw: random.Random) -> list[tuple[str, int]]:
    """Sums of a number of three digits and one of a single digit in which nothing is carried, and what they come to."""
    pairs = [(first, second) for first in range(100, 1000) for second in range(10) if first % 10 + second < 10]
    return [(f"{first}+{second}=", first + second) for first, second in draw.choices(pairs, k=count)]


def demonstration(prompt: str, answer: int, draw: random.Random) -> dict[str, str]:
    """As one of the class says it."""
    slip = 0 if draw.random() < RIGHT else draw.choice(SLIPS)
    return {"prompt": prompt, "completion": str(answer + slip)}


def write_rows(rows: list[dict[str, str]], path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_base(directory: Path) -> None:
    """A Llama of 0.1M random weights that reads and writes one character a token."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", *CHARACTERS]
    inner = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>")
    torch.manual_seed(17)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    draw = random.Random(17)
    shown = [demonstration(prompt, answer, draw) for prompt, answer in sums(DEMONSTRATIONS, draw)]
    asked = [{"prompt": prompt, "answer": str(answer)} for prompt, answer in dict(sums(PROMPTS, draw)).items()]
    write_rows(shown, directory / "demonstrations.jsonl")
    write_rows(asked, directory / "prompts.jsonl")
    write_base(directory / "base")
    for name in ("grpo.yaml", "reward.py"):
        shutil.copy(Path(__file__).with_name(name), directory / name)
    print(f"written; now: truing run {directory / 'grpo.yaml'} --out {directory / 'run'}")


if __name__ == "__main__":
    main()
