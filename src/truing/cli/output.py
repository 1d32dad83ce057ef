"""All that is printed passes here: what comes from files cannot steer a terminal, and training hangs on no reader."""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from truing.core.text import visible


def tell(text: str) -> None:
    """One line on standard error; nobody may be left to hear it."""
    with contextlib.suppress(OSError):
        print(visible(f"truing: {text}"), file=sys.stderr)


def show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python's own account of an error, on standard error."""
    with contextlib.suppress(OSError):
        print(visible("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def say(text: str, end: str = "\n") -> None:
    """Text on standard output."""
    print(visible(text), end=end)


class PlainConsole(Console):
    """A console that takes text for text: no markup in it, and no character that would steer the terminal."""

    def __init__(self, file: IO[str] | None = None, **options: Any) -> None:
        """A console on `file`, or on standard output."""
        super().__init__(file=file, markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string, before its width is measured."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What rich makes of a text, a table or a bar, all of which passes here; its own cursor moves stay."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(visible(text), style)


def patient_console() -> Console:
    """A console on standard output, if there is any, that lets a run go on where what it prints is refused."""
    return PlainConsole(cast(IO[str], DroppingStream(sys.stdout)) if sys.stdout else None)


class DroppingStream:
    """A stream that may be refused, by a reader who has left or a disk that is full: the rest of it is dropped."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """All of the text, or nothing more from here on."""
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As `write`."""
        with self._dropping():
            self._stream.flush()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            # Python flushes the stream once more at exit, and would end with another exit code if that were refused.
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        """What a console asks of its file: whether it is a terminal, and its encoding."""
        return getattr(self._stream, name)
