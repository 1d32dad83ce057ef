"""How long things take."""

import time


class Stopwatch:
    """Seconds spent in the blocks it is entered for, one at a time."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """So far, with those of a block that has not ended."""
        return self._spent + (0.0 if self._since is None else time.perf_counter() - self._since)

    def add(self, seconds: float) -> None:
        """Those that an earlier process spent."""
        self._spent += seconds

    def __enter__(self) -> None:
        """The block begins."""
        self._since = time.perf_counter()

    def __exit__(self, *fault: object) -> None:
        """The block ends, well or not."""
        self._spent, self._since = self.seconds, None
