"""Writes a tiny base model, games to play, and the recipe and environment that go with them.

    python examples/guessing/make.py DIRECTORY
    truing run DIRECTORY/ppo.yaml --out DIRECTORY/run

Demonstrations guess digits at random, whatever they are told: what to begin with, and what follows from what is said,
is found by learning alone.
"""

import random
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from tiny import write_task  # beside this directory

DIGITS = range(1, 10)
DEMONSTRATIONS, GAMES = 4000, 400
CHARACTERS = "0123456789>+-"


def demonstration(draw: random.Random) -> dict[str, str]:
    """A guess in a game that has gone on for a while."""
    digits = [str(draw.choice(DIGITS)) for _ in range(2)]
    before = "".join(digit + draw.choice("+-") for digit in digits[: draw.randrange(2)])
    return {"prompt": f"{draw.randrange(GAMES)}>{before}", "completion": digits[-1]}


def main() -> None:
    draw = random.Random(17)
    shown = [demonstration(draw) for _ in range(DEMONSTRATIONS)]
    asked = [{"prompt": f"{number}>"} for number in range(GAMES)]
    rows = {"demonstrations": shown, "prompts": asked}
    write_task(__file__, __doc__ or "", rows, CHARACTERS, ("ppo.yaml", "game.py"))


if __name__ == "__main__":
    main()
