"""How long things take."""

import time


class Stopwatch:
    """Seconds spent in the blocks it is entered for."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        """The block begins."""
        self._since = time.perf_counter()

    def __exit__(self, *fault: object) -> None:
        """The block ends, well or not."""
        self.seconds += time.perf_counter() - self._since
