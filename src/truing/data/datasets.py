"""The datasets of a recipe, by their names in its `data`. A file is parsed once, whatever is made of its rows."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from truing.config import reads_columns
from truing.config.checks import PROMPTS
from truing.config.plan import plan
from truing.config.recipe import Recipe
from truing.config.sections import Source
from truing.config.stages import STAGES
from truing.core.errors import DataError, Problem, Problems
from truing.core.records import Prompt, Record
from truing.data.columns import ALIASES, ALL_TAKEN, Taken, as_json, further, with_every_column
from truing.data.fields import FieldError
from truing.data.prompts import prompt_source
from truing.data.read import RawRow, read_rows
from truing.data.remarks import SOURCE, Remarks
from truing.data.rows import Row, parse_demonstration, parse_preference, parse_prompt, parse_rating

HELDOUT = "heldout_"
"""Before the name of a dataset: the file of its own that its held-out rows may have"""


@dataclass(frozen=True)
class DatasetSpec:
    """One kind of rows."""

    name: str
    parse: Callable[[Row], Record | None]
    completions: tuple[str, ...]
    """The fields of a record that follow its prompt"""


DATASETS = {
    spec.name: spec
    for spec in (
        DatasetSpec("demonstrations", parse_demonstration, ("completion",)),
        DatasetSpec("preferences", parse_preference, ("chosen", "rejected")),
        DatasetSpec("ratings", parse_rating, ("completion",)),
        DatasetSpec("prompts", parse_prompt, ()),
    )
}


@dataclass
class Dataset:
    """What was read of one of a recipe's sources."""

    spec: DatasetSpec
    problems: Problems
    transcripts: bool = False
    columns: bool = False
    """Whether records carry the further columns of their rows"""
    taken: Taken = ALL_TAKEN
    """Those of them that a function takes"""
    records: list[Any] = field(default_factory=list)
    """Of the sound rows"""
    oddities: list[str] = field(default_factory=list)
    """What is odd about rows that can be used, in words"""

    @property
    def is_sound(self) -> bool:
        return not self.problems.count

    @property
    def is_chat(self) -> bool:
        """Whether its rows are messages, not plain text."""
        return bool(self.records) and not isinstance(self.records[0].prompt, str)

    def check(self) -> None:
        """Raises DataError with all that is wrong, if anything is."""
        self.problems.check(DataError, more="`truing validate` tells all.")

    def add(self, raw: RawRow | Problem) -> Collection[str]:
        """The next row of the file, or why it is none; returns the columns that are read of it, or would be."""
        if isinstance(raw, Problem):
            self.problems.add(raw)
            return ()
        row = Row(raw, self.problems, self.transcripts)
        try:
            record = self.spec.parse(row)
            if record is not None:
                self._refuse_mixture(record)
                others = further(raw.values) if self.columns else {}
                self.records.append(replace(record, columns=as_json(others)))
                return row.read | {name for name in others if name in self.taken}
        except FieldError as fault:
            row.note(fault)
        return {*ALIASES, SOURCE}

    def _refuse_mixture(self, record: Record) -> None:
        """FieldError where the file mixes plain text with conversations."""
        if self.records and isinstance(record.prompt, str) != isinstance(self.records[0].prompt, str):
            here, there = ("text", "messages") if isinstance(record.prompt, str) else ("messages", "text")
            reason = f"is {here}, where {self.records[0].where} has {there}"
            raise FieldError("prompt", reason, "Use one of the two throughout a file.", code="data/mixed-file")


def datasets_of_stages(recipe: Recipe) -> list[str]:
    """Those that its stages learn from, hold out or have answered, whether or not it names a file for each."""
    prompts = ["prompts"] if any(STAGES[stage].samples for stage in recipe.stages) else []
    return [part for name in learnt_datasets(recipe) for part in (name, HELDOUT + name)] + prompts


def learnt_datasets(recipe: Recipe) -> list[str]:
    """Those that its stages learn from, the stages of its variants too."""
    return list(dict.fromkeys(name for stage in plan(recipe) for name in stage.spec.datasets_of(stage.recipe)))


def read_data(recipe: Recipe, thorough: bool = False, taken: Taken = ALL_TAKEN) -> dict[str, Dataset]:
    """Every dataset that the recipe names, and the prompts that its stages have answered, if these have no own file.

    A `thorough` reading describes all problems, and what is odd about rows. Functions take the `taken` columns alone.
    """
    sources = _sources(recipe)
    datasets = {
        name: Dataset(
            DATASETS[name.removeprefix(HELDOUT)],
            Problems(source.path, None if thorough else Problems.most),
            recipe.data.transcripts,
            name == "prompts" and reads_columns(recipe),
            taken,
        )
        for name, source in sources.items()
    }
    for source in dict.fromkeys(sources.values()):
        read_file(source, [datasets[name] for name in datasets if sources[name] == source], thorough)
    return datasets


def records_of(file: Path, name: str, transcripts: bool, columns: bool = False) -> list[Any]:
    """The rows of one file, as a dataset of this name has them, with their further `columns` if these are asked for.

    Raises:
        DataError: one cannot be used.
    """
    dataset = Dataset(DATASETS[name], Problems(str(file)), transcripts, columns)
    read_file(Source(path=str(file)), [dataset])
    dataset.problems.check(DataError)
    return dataset.records


@dataclass(frozen=True)
class PromptFile:
    """The prompts of a file, which is read once, before a model that may take long to load is asked."""

    path: Path
    prompts: list[Prompt]

    @classmethod
    def read(cls, path: Path, transcripts: bool = False, columns: bool = False) -> "PromptFile":
        """As `records_of` has them. DataError where one cannot be used."""
        return cls(path, records_of(path, "prompts", transcripts, columns))


def read_file(source: Source, datasets: Sequence[Dataset], thorough: bool = False) -> None:
    """Adds the rows of a file to all datasets that are made of it."""
    remarks = Remarks()
    try:
        for row in read_rows(source):
            read = {name for dataset in datasets for name in dataset.add(row)}
            if thorough and isinstance(row, RawRow):
                remarks.add_row(row, read)
    except DataError as error:
        for dataset in datasets:
            dataset.problems.add(error.problem)
    for dataset in datasets:
        dataset.oddities = remarks.sentences()
        if dataset.columns:
            dataset.records = with_every_column(dataset.records)


def _sources(recipe: Recipe) -> dict[str, Source]:
    names = [part for name in DATASETS for part in (name, HELDOUT + name)]
    sources = {name: source for name in names if (source := getattr(recipe.data, name, None)) is not None}
    if "prompts" in datasets_of_stages(recipe) and sources.keys() & set(PROMPTS):
        sources["prompts"] = prompt_source(recipe.data)
    return sources
