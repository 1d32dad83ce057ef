"""Writes a tiny base model, sums to answer, and the recipe and reward that go with them.

    python examples/arithmetic/make.py DIRECTORY
    truing run DIRECTORY/grpo.yaml --out DIRECTORY/run

Demonstrations are from a class in which few add right: a model that imitates it is right as often as they are. The
prompts have the right `answer` in a column of their own, which the reward is handed: see reward.py.
"""

import random
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from tiny import write_task  # beside this directory

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


def main() -> None:
    draw = random.Random(17)
    shown = [demonstration(prompt, answer, draw) for prompt, answer in sums(DEMONSTRATIONS, draw)]
    asked = [{"prompt": prompt, "answer": str(answer)} for prompt, answer in dict(sums(PROMPTS, draw)).items()]
    rows = {"demonstrations": shown, "prompts": asked}
    write_task(__file__, __doc__ or "", rows, CHARACTERS, ("grpo.yaml", "reward.py"))


if __name__ == "__main__":
    main()
