"""What people said in the rounds so far, as rows that the next run learns from."""

from typing import Any

from truing.core.errors import InputError
from truing.core.label_quality import quality_file
from truing.labelling.collection import begin
from truing.labelling.export_files import remember, write_quality
from truing.labelling.export_rows import rows_by_item
from truing.labelling.places import put_items
from truing.labelling.store import Store
from truing.rounds.asking import ScoredItem, name_of, read_asked
from truing.rounds.directory import RoundsDirectory, Settings
from truing.runs.files import write_jsonl


def store_of(directory: RoundsDirectory, settings: Settings) -> Store:
    """All that was asked so far, given out in its order; what was judged stays judged."""
    store = begin(directory.labels, "pairs")
    put_items(store.database, [one.item for one in _all_asked(directory)], settings.each)
    return store


def write_learnt(directory: RoundsDirectory, store: Store, number: int, settings: Settings) -> None:
    """The labels of the rounds up to this one, each with the round that it was asked in as its `source`.

    How good the people were stands beside them, for the run's report.

    Raises:
        InputError: people preferred no answer to another.
    """
    round_of = {
        one.item.key: name_of(past) for past in range(1, number + 1) for one in read_asked(directory.asked(past))
    }
    rows = rows_by_item(store.database, store.mode)
    pairs = [row | {"source": round_of[key]} for key, row in rows.items() if key in round_of]
    if not pairs:
        what = "nobody preferred one answer to the other, so there is nothing to learn from."
        hint = "Delete the directory and ask for more with --labels-per-round."
        raise InputError(what, code="input/no-preferences", where=str(directory.labels), hint=hint)
    for written in (directory.ratings(number), directory.learnt(number)):
        remember(store.database, written)
    write_jsonl(directory.ratings(number), [rating for pair in pairs for rating in _ratings(pair)])
    write_jsonl(directory.learnt(number), pairs)  # after the ratings: it says that both are there
    if not settings.simulated:
        from truing.labelling.quality import label_quality  # of the extra that the page has

        write_quality(store, label_quality(store.database, store.mode), directory.learnt(number))


def is_learnt(directory: RoundsDirectory, number: int, settings: Settings) -> bool:
    """Whether `write_learnt` came to its end; what a kill has left of it is written anew, unless its run has begun."""
    learnt = directory.learnt(number)
    is_whole = settings.simulated or quality_file(learnt).exists()
    return learnt.exists() and (is_whole or directory.run(number).record.exists())


def _all_asked(directory: RoundsDirectory) -> list[ScoredItem]:
    numbers = range(1, 1 + len(list(directory.asked(1).parent.glob("round-*.jsonl"))))
    files = [file(number) for number in numbers for file in (directory.asked, directory.judged)]
    return [asked for file in files if file.exists() for asked in read_asked(file)]


def _ratings(pair: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen", "source": pair["source"]}
        for side in ("chosen", "rejected")
    ]
