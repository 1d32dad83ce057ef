"""A made-up world of children's stories: a small model of them, demonstrations, and pairs judged by a rule.

The rule is 'mentions an animal'. Share `FLIPPED` of the labels is turned round, in the held-out pairs too, so that a
reward model which has learnt the rule exactly is right on 85% of them.
"""

import json
import random
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

FLIPPED = 0.15
ANIMALS = ("bird", "dog", "cat", "bear", "rabbit", "fish", "frog", "duck", "mouse", "fox")
THINGS = ("ball", "box", "cake", "book", "flower", "hat", "boat", "car", "kite", "tree", "stone", "drum", "bag", "doll")
"""The commoner first: the k-th is 1/k as common as the first, as in real stories"""
COLOURS = ("red", "blue", "green", "little", "big", "funny", "old", "pretty", "shiny", "soft")
NAMES = {"Tom": "he", "Lily": "she", "Ben": "he", "Mia": "she", "Max": "he", "Sue": "she", "Tim": "he", "Amy": "she"}
PLACES = ("the park", "the garden", "the beach", "the forest", "the house", "school", "the lake", "the hill")
FEELINGS = ("happy", "sad", "tired", "proud", "scared", "excited")
FRIENDS = ("mom", "dad", "grandma", "brother", "sister", "friend")
OPENINGS = (
    "One day, {name} went to {place}.",
    "{name} was at {place} with {friend}.",
    "Once upon a time, {name} lived near {place}.",
    "{name} wanted to play at {place}.",
)
MIDDLES = (
    "{Pronoun} saw a {colour} {noun}.",
    "{Pronoun} found a {noun} and a {thing}.",
    "There was a {colour} {noun} by the door.",
    "{Pronoun} gave the {noun} to {friend}.",
    "{Pronoun} was very {feeling}.",
    "{Pronoun} ran and played all day.",
    "It was a sunny day and {pronoun} felt {feeling}.",
    '"Look at the {noun}!" said {name}.',
    "{Pronoun} sat down and ate some {food}.",
    '{friend} said, "Be careful, {name}!"',
    "{Pronoun} wanted to show {friend} the {colour} {noun}.",
    "The {noun} was {colour} and {colour}.",
    "They looked for the {thing} but it was gone.",
    "{Pronoun} put the {thing} next to the {noun}.",
)
ENDINGS = (
    "Then {pronoun} went home.",
    "{Pronoun} was {feeling} and went to sleep.",
    "They were all {feeling}.",
    "{Pronoun} said thank you to {friend}.",
)
FOODS = ("bread", "soup", "apples", "cookies")
VOCABULARY, CONTEXT = 512, 256
SHAPES = {  # hidden size, layers, heads, stories to learn from
    "0.1M": (40, 4, 4, 16_000),
    "0.3M": (64, 5, 8, 16_000),
    "1M": (128, 5, 8, 16_000),
    "3M": (224, 6, 8, 16_000),
    "15M": (384, 9, 8, 4_000),
}
"""Of Llamas, by their parameters; the largest reads less, to save time"""


def mentions_animal(prompts: list[str], responses: list[str]) -> list[float]:
    """The rule, as a judge that a recipe can name: 1 for a response that has an animal."""
    words = (set(re.findall(r"[a-z]+", response.lower())) for response in responses)
    return [float(not said.isdisjoint(ANIMALS)) for said in words]


def opening(chance: random.Random) -> tuple[str, str]:
    """A first sentence and whom it is about."""
    name = chance.choice(list(NAMES))
    return _filled(chance.choice(OPENINGS), name, chance, animals=0.0), name


def rest(name: str, chance: random.Random, animals: float) -> str:
    """How the story goes on; each thing in it is an animal with this probability."""
    middles = chance.sample(MIDDLES, chance.randint(2, 4))
    return " ".join(_filled(one, name, chance, animals) for one in [*middles, chance.choice(ENDINGS)])


def _filled(template: str, name: str, chance: random.Random, animals: float) -> str:
    pronoun = NAMES[name]
    return template.format(
        name=name,
        pronoun=pronoun,
        Pronoun=pronoun.capitalize(),
        place=chance.choice(PLACES),
        friend=chance.choice(FRIENDS),
        feeling=chance.choice(FEELINGS),
        colour=chance.choice(COLOURS),
        food=chance.choice(FOODS),
        thing=_common(THINGS, chance),
        noun=_common(ANIMALS if chance.random() < animals else THINGS, chance),
    )


def _common(words: tuple[str, ...], chance: random.Random) -> str:
    return chance.choices(words, [1 / rank for rank, _ in enumerate(words, 1)])[0]


def demonstrations(count: int, seed: int) -> list[dict[str, str]]:
    """Stories of which a fifth of the things are animals."""
    chance = random.Random(f"demonstrations {seed}")
    rows = []
    for _ in range(count):
        prompt, name = opening(chance)
        rows.append({"prompt": prompt, "completion": f" {rest(name, chance, animals=0.2)}"})
    return rows


def preferences(count: int, seed: int) -> list[dict[str, str]]:
    """Pairs of which one side mentions an animal; that one is chosen, but for the share of labels that is flipped.

    Both sides have as many sentences with a thing or an animal, so that the rule is not one of length or of subject.
    """
    chance = random.Random(f"preferences {seed}")
    rows: list[dict[str, str]] = []
    while len(rows) < count:
        prompt, name = opening(chance)
        with_animal, without = f" {rest(name, chance, animals=0.5)}", f" {rest(name, chance, animals=0.0)}"
        has_animal = mentions_animal([prompt], [with_animal]) == [1.0]
        if has_animal and _nouns(with_animal) == _nouns(without):
            chosen, rejected = (without, with_animal) if chance.random() < FLIPPED else (with_animal, without)
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows


def _nouns(text: str) -> int:
    return sum(word in ANIMALS or word in THINGS for word in re.findall(r"[a-z]+", text.lower()))


def write_rows(rows: list[dict[str, Any]], path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_base(shape: str, place: Path, seed: int = 0) -> int:
    """Trains a Llama of this shape on stories until it tells them, and saves it; returns its parameters."""
    width, layers, heads, stories = SHAPES[shape]
    texts = [row["prompt"] + row["completion"] for row in demonstrations(stories, seed=1000 + seed)]
    words = _tokenizer(texts)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 4 * 4,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    _train(model, words, texts)
    model.save_pretrained(place)
    words.save_pretrained(place)
    return sum(weight.numel() for weight in model.parameters())


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<eos>", "<pad>"], initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>")


def _train(model: LlamaForCausalLM, words: PreTrainedTokenizerFast, texts: list[str], batch: int = 64) -> None:
    """One pass, with a rate that falls to zero."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    starts = range(0, len(texts), batch)
    for step, start in enumerate(starts):
        optimiser.param_groups[0]["lr"] = 3e-3 * min(1.0, (step + 1) / 20) * (1 - step / len(starts))
        rows = [f"{text}{words.eos_token}" for text in texts[start : start + batch]]
        read = words(rows, return_tensors="pt", padding=True)
        logits = model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).logits[:, :-1]
        targets = read["input_ids"][:, 1:].masked_fill(read["attention_mask"][:, 1:] == 0, -100)
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
