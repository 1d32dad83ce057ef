"""What encoding rows costs, beside rendering and tokenising each of their texts once with the libraries alone.

`python benchmarks/encoding/run.py [TOKENIZER ...]` takes directories with a tokenizer; without, it trains some.
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.tables import Target, tell
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from truing.config.recipe import Recipe
from truing.data.chat import TextFormat
from truing.data.datasets import read_data
from truing.data.endings import endings_of
from truing.data.prepared import encode_datasets
from truing.data.templates import chat_template

PAIRS, ROUNDS = 1000, 5
LIMIT = 2.5
"""Times what the libraries take alone"""
ANSWERS = ("Four oars and one spare, then we go home at noon.", "The ferry leaves, and we count the sheep.")
SMALL = Path(__file__).resolve().parents[2] / "tests"


def pairs(chat: bool) -> list[dict[str, Any]]:
    """Pairs of answers of one to three sentences, as messages or plain text."""
    rows = []
    for place in range(PAIRS):
        asked = f"Question {place}: how many oars has the boat that leaves at nine?"
        said = [" ".join([answer] * (1 + place % 3)) for answer in ANSWERS]
        turn = [{"role": "user", "content": asked}]
        sides = [[{"role": "assistant", "content": one}] if chat else f" {one}" for one in said]
        rows.append({"prompt": turn if chat else asked, "chosen": sides[0], "rejected": sides[1]})
    return rows


def once_each(words: PreTrainedTokenizerBase, rows: list[dict[str, Any]], chat: bool) -> None:
    """Renders and tokenises each prompt alone and with either answer."""
    options: dict[str, Any] = {"chat_template": chat_template(words), "tokenize": False}
    for row in rows:
        for answer in (None, row["chosen"], row["rejected"]):
            text = row["prompt"] if answer is None else row["prompt"] + answer
            if chat:
                text = words.apply_chat_template(text, add_generation_prompt=answer is None, **options)
            words.encode(text, add_special_tokens=False, split_special_tokens=not chat, verbose=False)


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, once."""
    gc.collect()
    begun = time.process_time()
    work()
    return time.process_time() - begun


def measure(name: str, words: PreTrainedTokenizerBase, chat: bool) -> Target:
    """Prints a row of the table: medians of rounds in which the two take turns, the first of which warms up."""
    rows = pairs(chat)
    with TemporaryDirectory() as place:
        file = Path(place) / "pairs.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        recipe = Recipe.model_validate(
            {"stages": ["dpo"], "base": {"path": "."}, "data": {"preferences": {"path": str(file)}}}
        )
        datasets = read_data(recipe)
    form = TextFormat(words, endings_of(words), date(2026, 1, 1))

    def encode() -> None:
        _, refused = encode_datasets(recipe, datasets, form, context=4096)
        assert not refused

    taken = [(seconds(encode), seconds(lambda: once_each(words, rows, chat))) for _ in range(ROUNDS + 1)][1:]
    ours, alone = (median(one) / PAIRS * 1e3 for one in zip(*taken, strict=True))
    ratio = median(ours / alone for ours, alone in taken)
    rows_are = "messages" if chat else "text"
    print(f"| {name} | {rows_are} | {ours:.2f} | {alone:.2f} | {ratio:.1f} |", flush=True)
    return Target(f"encoding {rows_are} for {name}, over the libraries alone", LIMIT, ratio, at_most=True)


def main() -> None:
    """Prints the table."""
    tokenizers = {Path(place).resolve().name: AutoTokenizer.from_pretrained(place) for place in sys.argv[1:]}
    if not tokenizers:
        sys.path.insert(0, str(SMALL))
        import tokenizer_shapes

        tokenizers = {name: make("chatml") for name, make in tokenizer_shapes.SHAPES.items()}
    print("| tokenizer | rows | truing, ms a pair | libraries alone | ratio |\n|---|---|---|---|---|")
    tell([measure(name, words, chat) for name, words in tokenizers.items() for chat in (False, True)])


if __name__ == "__main__":
    main()
