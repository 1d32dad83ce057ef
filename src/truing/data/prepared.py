"""The rows of a run as token ids: read and encoded once, as long as they are, split and fitted for each stage."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Generic, TypeVar

from truing.config.recipe import Recipe
from truing.config.stages import STAGES
from truing.core.errors import DataError, Problem, check
from truing.core.records import Preference, Rating, Text, Tokens
from truing.core.rows import PairRows, RatedRows, TokenRows
from truing.data.chat import TextFormat, Written, write_prompt
from truing.data.columns import ALL_TAKEN, Taken
from truing.data.datasets import HELDOUT, Dataset, datasets_of_stages, read_data
from truing.data.encode import EncodedPrompt, EncodedRow, encode_records, fit, interned
from truing.data.endings import Endings
from truing.data.length_report import NAMED, LengthReport, Limit
from truing.data.prompts import PromptSet, different, prompt_set
from truing.data.remarks import Tally, opposites
from truing.data.round_trip import note_oddities, of_the_template
from truing.data.split import overlap, split_by_prompt
from truing.data.templates import chat_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

R = TypeVar("R", TokenRows, PairRows, RatedRows)
RATINGS = "ratings"
"""The dataset whose rows are wanted or not, and must be of both kinds"""


@dataclass(frozen=True)
class Split(Generic[R]):
    """Rows to learn from, and rows under other prompts, or of a file of their own, to measure on."""

    train: R
    heldout: R
    report: str
    """What became of the former that were too long, in words"""


@dataclass(frozen=True)
class Prepared:
    """Every row that the stages of a run use, before any length policy.

    What a stage asks for depends on its recipe, whose `data` is that of the run.
    """

    rows: Mapping[str, list[EncodedRow]]
    """By the name of the dataset"""
    texts: list[Text]
    """The prompts to answer, by the index that their rows have"""
    context: int
    """Tokens that the model reads"""
    pad: int
    bos: int | None
    endings: Endings
    """What ends a response"""
    chats: tuple[str, ...]
    """The datasets whose rows are messages"""
    remarks: tuple[str, ...] = ()
    """What rows say that their tokens do not, in words"""
    named: int | None = NAMED
    """How many rows an error names; all of them for None"""

    def demonstrations(self, recipe: Recipe) -> Split[TokenRows]:
        """Prompts with the completion to imitate. DataError where there are none, or none is left."""
        return self._fitted_split("demonstrations", recipe, lambda rows: self._token_rows(rows, "completion"))

    def preferences(self, recipe: Recipe) -> Split[PairRows]:
        """Prompts with the preferred and the other completion. DataError as above."""
        return self._fitted_split("preferences", recipe, self._pair_rows)

    def ratings(self, recipe: Recipe) -> Split[RatedRows]:
        """Prompts with a completion and whether it is wanted. DataError as above, or where all have one label."""
        return self._fitted_split(RATINGS, recipe, self._rated_rows)

    def learnt_prompts(self, names: Iterable[str], recipe: Recipe) -> list[Tokens]:
        """Those of the rows of these datasets that are learnt from."""
        kept = (self.fit(name, self.split(name, recipe)[0], recipe)[0] for name in names)
        return [row.prompt for rows in kept for row in rows]

    def prompts(self, recipe: Recipe) -> PromptSet:
        """The prompts that leave room for a response. DataError as above, or where too few are left."""
        rows, report = self.fit("prompts", self.rows_of("prompts"), recipe)
        prompts = [EncodedPrompt(self.texts[row.prompt_index], row.prompt, row.columns) for row in rows]
        return prompt_set(prompts, recipe, report.sentence())

    def rows_of(self, name: str) -> list[EncodedRow]:
        """All of a dataset, as long as they are. DataError where the recipe names none."""
        if name not in self.rows:
            raise DataError(f"the recipe names no {name}.", code="data/not-named", hint=f"Set data.{name}.path.")
        return self.rows[name]

    def split(self, name: str, recipe: Recipe) -> tuple[list[EncodedRow], list[EncodedRow]]:
        """(to learn from, held out) of a dataset, as long as they are. DataError where there are none, or too few."""
        rows = self.rows_of(name)
        if HELDOUT + name in self.rows:
            return rows, self.rows[HELDOUT + name]
        return split_by_prompt(rows, recipe.data.heldout, recipe.seed, name)

    def fit(self, name: str, rows: Sequence[EncodedRow], recipe: Recipe) -> tuple[list[EncodedRow], LengthReport]:
        """Some rows of a dataset under the recipe's length policy; prompts leave room for a response."""
        room = recipe.longest_response if name == "prompts" else 0
        fitted, report = fit(
            rows, Limit(recipe.data, self.context - max(0, len(self.closing(name)) - 1), room, self.named), self.bos
        )
        if name == RATINGS and len({row.label for row in fitted}) < 2:
            label = str(fitted[0].label).lower()
            what = f"all {len(fitted)} ratings that are learnt from, or that are held out, have the label {label}."
            hint = "Bring rows of both labels to either part: more rows, data.heldout_ratings or a larger data.heldout."
            raise DataError(what, code="data/one-label", where=fitted[0].where, hint=hint)
        return fitted, report

    def closing(self, name: str) -> Tokens:
        """What a reward model reads in place of the token that ends a response of this dataset."""
        return self.endings.closed((), name in self.chats)

    def tokens(self, names: Iterable[str]) -> set[int]:
        """All that are in the rows of these datasets."""
        rows = [row for name in names for row in self.rows.get(name, [])]
        return {token for row in rows for part in (row.prompt, *row.completions.values()) for token in part}

    def keep_template(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        """Gives a tokenizer without a chat template the plain one, where it was used: others render by it as rows were.

        It is saved with what was learnt.
        """
        if self.chats:
            tokenizer.chat_template = chat_template(tokenizer)

    def _fitted_split(self, name: str, recipe: Recipe, collect: Callable[[list[EncodedRow]], R]) -> Split[R]:
        train, heldout = self.split(name, recipe)
        train, report = self.fit(name, train, recipe)
        heldout, _ = self.fit(name, heldout, recipe)
        return Split(collect(train), collect(heldout), report.sentence())

    def _pair_rows(self, rows: list[EncodedRow]) -> PairRows:
        chosen, rejected = self._token_rows(rows, "chosen"), self._token_rows(rows, "rejected")
        margins, shares = [row.margin for row in rows], [row.share for row in rows]
        return PairRows(chosen, rejected, margins, [row.source for row in rows], shares=shares)

    def _rated_rows(self, rows: list[EncodedRow]) -> RatedRows:
        return RatedRows(self._token_rows(rows, "completion"), [row.label for row in rows])

    def _token_rows(self, rows: list[EncodedRow], completion: str) -> TokenRows:
        names = [row.where for row in rows]
        return TokenRows([row.prompt for row in rows], [row.completions[completion] for row in rows], self.pad, names)


def prepare(recipe: Recipe, form: TextFormat, context: int, taken: Taken = ALL_TAKEN) -> Prepared:
    """Reads and encodes the rows that the recipe's stages use, of which functions have the `taken` columns.

    Raises:
        InputError: with all that is wrong with the files, or else with all rows that cannot be encoded.
    """
    datasets = read_data(recipe, taken=taken)
    for dataset in datasets.values():
        dataset.check()
    prepared, refused = encode_datasets(recipe, datasets, form, context)
    check(refused)
    return prepared


def encode_datasets(
    recipe: Recipe,
    datasets: Mapping[str, Dataset],
    form: TextFormat | None,
    context: int,
    named: int | None = NAMED,
) -> tuple[Prepared, list[Problem]]:
    """The sound rows that the recipe's stages use, and what is wrong with others; a prompt is tokenised once.

    Without a format rows have no tokens, and can be counted and split.
    """

    @cache
    def written_once(prompt: Text) -> Written:
        assert form is not None
        written = write_prompt(form, prompt)
        return replace(written, tokens=interned(written.tokens))

    rows: dict[str, list[EncodedRow]] = {}
    texts: list[Text] = []
    refused: list[Problem] = []
    remarks: list[str] = []
    used = {name: datasets[name] for name in datasets_of_stages(recipe) if name in datasets}
    for name, dataset in used.items():
        records = dataset.records
        if name == "prompts":
            records, again = different(records, dataset.taken)
            remarks += [f"prompts: {sentence}" for sentence in again]
            texts = list(dict.fromkeys(record.prompt for record in records))
        note, tally = None, Tally()
        if form and (name != "prompts" or recipe.data.prompts):  # those of other rows are told with these
            note = partial(note_oddities, form, dataset.spec.completions, tally)
            remarks += [f"data.{name}: {sentence}" for sentence in of_the_template(form, records)]
        rows[name], wrong = encode_records(records, dataset.spec.completions, form, written_once, note)
        remarks += [f"data.{name}: {sentence}" for sentence in tally.sentences()]
        refused += wrong
        judged = [record for record in records if isinstance(record, Preference | Rating)]
        remarks += [f"data.{name}: {sentence}" for sentence in [*opposites(judged), *_unused(judged, recipe)]]
        own = used.get(HELDOUT + name)
        refused += overlap(own.records, records, name) if own else []
    chats = tuple(name for name, dataset in used.items() if dataset.is_chat)
    remarks += _mixture([name for name in used if used[name].records], chats)
    refused += _unshown_tools(recipe, form, bool(chats)) if form else []
    if form is None:
        return Prepared(rows, texts, context, 0, None, Endings((), (), (), ()), chats, named=named), refused
    pad, bos = form.tokenizer.pad_token_id, form.tokenizer.bos_token_id
    return Prepared(rows, texts, context, pad, bos, form.endings, chats, tuple(remarks), named), refused


def _unshown_tools(recipe: Recipe, form: TextFormat, is_chat: bool) -> list[Problem]:
    """What is wrong where a model would never be shown the tools that the recipe has for it."""
    if not recipe.data.tools or (is_chat and form.shows_tools):
        return []
    why = "the chat template of the base makes nothing of tools" if is_chat else "the rows are plain text"
    hint = "Take a base whose template shows tools, and rows of messages; or write them into the prompts."
    return [Problem("data/unshown-tools", "data.tools", f"no model is shown these: {why}.", hint)]


def _unused(judged: Sequence[Preference | Rating], recipe: Recipe) -> Iterator[str]:
    """A sentence where stages make nothing of margins that pairs have, or of shares that are not all of the people."""
    pairs = [pair for pair in judged if isinstance(pair, Preference)]
    margins, shares = [pair for pair in pairs if pair.margin], [pair for pair in pairs if (pair.share or 1.0) < 1.0]
    if margins and not any(_asks(recipe, stage, "use_margin") for stage in recipe.stages):
        what = f"`margin` changes nothing; reward.use_margin asks for it; {len(margins):,} rows have one"
        yield f"{margins[0].where}: {what}."
    comparing = [stage for stage in recipe.stages if STAGES[stage].texts_per_row == 2]
    idle = [stage for stage in comparing if not _asks(recipe, stage, "use_share")]
    if shares and idle:
        asking = " and ".join(f"{stage}.use_share" for stage in STAGES if _asks(recipe, stage, "use_share") is not None)
        what = (
            f"`share` changes nothing in {', '.join(idle)}; {asking} ask for it; {len(shares):,} rows have one below 1"
        )
        yield f"{shares[0].where}: {what}."


def _asks(recipe: Recipe, stage: str, option: str) -> bool | None:
    """Whether a stage is told to use it; None where it has no such option."""
    asked: bool | None = getattr(getattr(recipe, stage), option, None)
    return asked


def _mixture(names: Sequence[str], chats: Sequence[str]) -> Iterator[str]:
    """A sentence where stages would learn and be asked in two forms."""
    plain = [name for name in names if name not in chats]
    if plain and chats:
        several = f"data.{', data.'.join(chats)} are messages, and data.{', data.'.join(plain)} plain text"
        yield f"{several}: a model that is taught in one form and asked or judged in the other does worse."
