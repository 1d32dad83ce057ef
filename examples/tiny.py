"""What the made-up tasks beside this file have in common: where they are written, and a tiny base model."""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

Rows = list[dict[str, str]]


def write_task(script: str, about: str, rows: dict[str, Rows], characters: str, files: Sequence[str]) -> None:
    """Writes a task into the directory that the command line names.

    Args:
        script: the file of the task's own script.
        about: what it says of itself.
        rows: what it has, by the name of their file.
        characters: what its base reads and writes.
        files: what stands beside the script and goes along, the recipe first.
    """
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    for name, own in rows.items():
        write_rows(own, directory / f"{name}.jsonl")
    write_base(directory / "base", characters)
    for name in files:
        shutil.copy(Path(script).with_name(name), directory / name)
    print(f"written; now: truing run {directory / files[0]} --out {directory / 'run'}")


def write_rows(rows: Rows, path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_base(directory: Path, characters: str) -> None:
    """A Llama of 0.1M random weights that reads and writes these characters, one a token."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", *characters]
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
