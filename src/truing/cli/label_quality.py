"""truing label --quality: how good the labellers are, on one screen."""

from typing import TYPE_CHECKING

from rich.table import Table

from truing.cli.output import PlainConsole, say
from truing.core.errors import InputError
from truing.core.label_figures import TOO_FEW, figures, heads, rows
from truing.core.label_quality import LabelQuality

if TYPE_CHECKING:
    from truing.labelling.store import Store


def current_quality(store: "Store") -> LabelQuality:
    """Of what people said so far. InputError where what counts it is not installed."""
    try:
        from truing.labelling.quality import label_quality
    except ImportError as error:
        hint = "pip install 'truing[label]' has it."
        what = f"how far people agree is counted by {error.name}, which is not installed."
        raise InputError(what, code="input/no-krippendorff", where="truing label", hint=hint) from error
    return label_quality(store.database, store.mode)


def show_quality(store: "Store", quality: LabelQuality) -> None:
    """All people together, then each, with the number that an export has in place of a name; then who stands out."""
    from truing.labelling.people import numbers

    together = Table(box=None, show_header=False, pad_edge=False)
    for figure in figures(quality):
        together.add_row(figure.title, figure.shown.value, figure.shown.ends)
    people = Table("who", *(head.title for head in heads(quality)), box=None, padding=(0, 1, 0, 0))
    number = numbers(store.database)
    for row in rows(quality):
        cells = ("?" if cell.value == TOO_FEW else cell.value for cell in row.cells)
        people.add_row(f"{row.name} ({number[row.name]})", *cells)
    console = PlainConsole()
    say(f"{quality.votes:,} votes on {quality.items:,} items, {quality.shared_items:,} of them by several people.\n")
    console.print(together)
    say("")
    console.print(people)
    say(f"?: {TOO_FEW}")
    for row in rows(quality):
        if row.findings:
            say(f"\n{row.name} stands out. {' '.join(row.findings)}")
