"""A game of several turns: guess a number that is thought of, and be told each time whether it is higher or lower."""

import random

HIGHEST = 3
"""Two guesses find any of so many numbers, for who begins in the middle and then goes by what is said"""


class Guessing:
    """Thinks of a number from 1 to `HIGHEST`; a guess is a digit, and `+` says that the number is higher."""

    def reset(self, prompt: str, seed: int) -> None:
        """All answers to one asking of a prompt are given the same seed, and so guess the same number."""
        self.number = random.Random(seed).randint(1, HIGHEST)

    def step(self, response: str) -> tuple[str | None, float, bool]:
        """1 for the number. What is no digit ends the game."""
        guess = response.strip()
        if guess == str(self.number):
            return None, 1.0, True
        if not (guess.isdecimal() and len(guess) == 1):
            return None, 0.0, True
        return ("+" if int(guess) < self.number else "-"), 0.0, False
