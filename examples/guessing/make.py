"""Writes a tiny base model, games to play, and the recipe and environment that go with them.

    python examples/guessing/make.py DIRECTORY
    truing run DIRECTORY/ppo.yaml --out DIRECTORY/run

Demonstrations guess digits at random, whatever they are told: what to begin with, and what follows from what is said,
is found by learning alone.
"""

import argparse
import random
import shutil
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from tiny import write_base, write_rows  # beside this directory

DIGITS = range(1, 10)
DEMONSTRATIONS, GAMES = 4000, 400
CHARACTERS = "0123456789>+-"


def demonstration(draw: random.Random) -> dict[str, str]:
    """A guess in a game that has gone on for a while."""
    digits = [str(draw.choice(DIGITS)) for _ in range(2)]
    before = "".join(digit + draw.choice("+-") for digit in digits[: draw.randrange(2)])
    return {"prompt": f"{draw.randrange(GAMES)}>{before}", "completion": digits[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    draw = random.Random(17)
    write_rows([demonstration(draw) for _ in range(DEMONSTRATIONS)], directory / "demonstrations.jsonl")
    write_rows([{"prompt": f"{number}>"} for number in range(GAMES)], directory / "prompts.jsonl")
    write_base(directory / "base", CHARACTERS)
    for name in ("ppo.yaml", "game.py"):
        shutil.copy(Path(__file__).with_name(name), directory / name)
    print(f"written; now: truing run {directory / 'ppo.yaml'} --out {directory / 'run'}")


if __name__ == "__main__":
    main()
