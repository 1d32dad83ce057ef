"""The embedded world: product reviews whose true reward is known, offline, a pure function of a seed.

Its gold score is hidden from training. It likes praise, but less so once praise gushes, and it dislikes repetition,
words off the topic, broken grammar and excess length:

    raw  = praise − 2·max(0, praise − 6) − 1.5·repeats − 0.6·strays − 1.5·broken − 0.3·max(0, words − 26)
    gold = (raw − mean) / deviation, both of the raw score over demonstrations

`praise` is the sum over clauses of valence × degree of the adjective. Preferences are drawn from gold with noise
(Bradley-Terry): the first review is chosen with probability σ(k·(gold of the first − gold of the second)). Pairs seldom
show what gold dislikes most, so a reward model learns an imperfect proxy, and what a policy makes of that proxy can
be held against the truth.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from truing.config.sections import World
from truing.core import rng
from truing.worlds import files as world_files
from truing.worlds.language import (
    ASPECTS,
    DEGREE,
    VALENCE,
    clause_pattern,
    openings,
    stray_words,
    subject,
    vocabulary,
)
from truing.worlds.writing import Chance, Kind, review

GOLD = "truing.worlds.reviews:gold_scores"

GUSHING = 6.0
"""The praise up to which praise raises the gold score; beyond it, praise lowers it."""
LONG = 26
"""Words and full stops after which a review is too long."""
SHARPNESS = 2.0
"""k of the labels: about four in five agree with gold."""
RAW_MEAN, RAW_STD = 0.12, 3.0
"""Of the raw score over demonstrations, so that their gold scores have mean 0 and deviation 1."""

DEMONSTRATED: dict[Kind, float] = {"plain": 0.85, "flat": 0.05, "rambling": 0.05, "repetitive": 0.05}
COMPARED: dict[Kind, float] = {"plain": 0.9, "flat": 0.06, "rambling": 0.02, "repetitive": 0.02}
"""How often each kind of reviewer is demonstrated and compared."""


@dataclass(frozen=True)
class WorldPaths:
    """Where the parts of a world stand in its directory."""

    directory: Path

    @property
    def base(self) -> Path:
        """The base model with its tokenizer."""
        return self.directory / "base"

    @property
    def demonstrations(self) -> Path:
        return self.directory / "demonstrations.jsonl"

    @property
    def preferences(self) -> Path:
        return self.directory / "preferences.jsonl"

    @property
    def ratings(self) -> Path:
        return self.directory / "ratings.jsonl"

    @property
    def prompts(self) -> Path:
        return self.directory / "prompts.jsonl"


def gold_scores(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """The true reward of each response to its prompt, any text whatever; mean 0 and deviation 1 on demonstrations."""
    return [
        (_raw_score(prompt, response) - RAW_MEAN) / RAW_STD for prompt, response in zip(prompts, responses, strict=True)
    ]


def _raw_score(prompt: str, response: str) -> float:
    words = re.findall(r"\w+|[^\w\s]", response.lower())
    clauses = [clause.strip() for clause in re.split(r"[.,]|\band\b|\bbut\b", " ".join(words).removesuffix("."))]
    judged = [clause_pattern().fullmatch(clause) for clause in clauses]
    praise = sum(VALENCE[m["quality"]] * DEGREE.get(m["degree"], 1.0) for m in judged if m and m["quality"])
    broken = sum(match is None for match in judged) + (words[-1:] != ["."])
    said_again = Counter(word for word in words if word in VALENCE or word in _aspects())
    repeats = sum(count - 1 for count in said_again.values())
    off_topic, known = _off_topic(subject(prompt)[0]), _known()
    strays = sum(word in off_topic or word not in known for word in words)
    excess = max(0, len(words) - LONG)
    return praise - 2.0 * max(0.0, praise - GUSHING) - 1.5 * repeats - 0.6 * strays - 1.5 * broken - 0.3 * excess


@cache
def _known() -> frozenset[str]:
    return frozenset(vocabulary())


@cache
def _aspects() -> frozenset[str]:
    return frozenset(aspect for own in ASPECTS.values() for aspect in own)


@cache
def _off_topic(product: str | None) -> frozenset[str]:
    """Words that do not belong in a review of `product`: other products, what only those have, and small talk."""
    if product is None:
        return stray_words()
    return stray_words() | (frozenset(ASPECTS) - {product}) | (_aspects() - frozenset(ASPECTS[product]))


def write_world(world: World, seed: int, directory: Path) -> WorldPaths:
    """Write the base model with its tokenizer and the data files, in the formats every other recipe uses."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = WorldPaths(directory)
    world_files.write_base(vocabulary(), seed, paths.base)
    world_files.write_rows(demonstrations(world.demonstrations, seed), paths.demonstrations)
    pairs = preferences(world.preferences, seed)
    world_files.write_rows(pairs, paths.preferences)
    world_files.write_rows(ratings(pairs), paths.ratings)
    world_files.write_rows(prompts(world.prompts, seed), paths.prompts)
    return paths


def demonstrations(count: int, seed: int) -> list[dict[str, str]]:
    """Rows of `prompt` and `completion`."""
    rows = []
    for index in range(count):
        chance = Chance(seed, "world-demonstrations", index)
        prompt = chance.pick(openings())
        rows.append({"prompt": prompt, "completion": _some_review(prompt, DEMONSTRATED, chance)})
    return rows


def preferences(count: int, seed: int) -> list[dict[str, str]]:
    """Rows of `prompt`, `chosen` and `rejected`: two different reviews and a noisy judgement."""
    rows = []
    for index in range(count):
        chance = Chance(seed, "world-preferences", index)
        prompt = chance.pick(openings())
        first = _some_review(prompt, COMPARED, chance)
        second, attempt = first, 0
        while second == first:
            second = _some_review(prompt, COMPARED, Chance(seed, "world-preferences", index, attempt))
            attempt += 1
        gold = gold_scores([prompt, prompt], [first, second])
        first_wins = chance.uniform() < 1 / (1 + math.exp(-SHARPNESS * (gold[0] - gold[1])))
        chosen, rejected = (first, second) if first_wins else (second, first)
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows


def ratings(pairs: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Rows of `prompt`, `completion` and `label`: the sides of pairs, each by itself."""
    return [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for pair in pairs
        for side in ("chosen", "rejected")
    ]


def prompts(count: int, seed: int) -> list[dict[str, str]]:
    """Rows of `prompt`, none twice until every opening has been used."""
    known = openings()
    order = rng.permutation(seed, "world-prompts", count=len(known))
    return [{"prompt": known[order[index % len(known)]]} for index in range(count)]


def _some_review(prompt: str, mixture: dict[Kind, float], chance: Chance) -> str:
    return review(prompt, chance.weigh(mixture), chance)
