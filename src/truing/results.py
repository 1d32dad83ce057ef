"""The language model that a stage of a run made, or began with: loaded, and asked as it was trained.

Nothing is fetched, and no code runs that a model brings along, unless the caller trusts that of the result.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from truing.config.plan import Planned
from truing.config.recipe import Recipe
from truing.config.sections import Base, Compute
from truing.core.errors import DataError, ModelError, Problem, Problems
from truing.core.records import Message, Sample, Text, Tokens
from truing.data.chat import TextFormat, decode_response, encode_prompt
from truing.data.encode import EncodedPrompt
from truing.data.fields import FieldError, as_text, sound
from truing.data.kept import chats_of
from truing.models.fetched import directory_of
from truing.models.load import LoadedBase, load_base
from truing.models.own_code import code_elsewhere, foreign_code
from truing.pipeline.execute import start_of
from truing.pipeline.world import on_files
from truing.rollout.engine import Sampling
from truing.rollout.local import LocalEngine
from truing.runs.directory import RunDirectory
from truing.runs.received import received_stage


@dataclass(frozen=True)
class LanguageModel:
    """A language model and how it is asked."""

    name: str
    """Its stage, or `start`"""
    place: str
    """Its directory or Hub id"""
    base: LoadedBase
    form: TextFormat
    in_messages: bool
    """Whether it was trained on messages"""
    recipe: Recipe
    """The stage's, without consents"""

    def encoded(self, prompt: Text) -> Tokens:
        """A prompt's tokens; plain text is what a user says, where the model was trained on messages."""
        if self.in_messages and isinstance(prompt, str):
            prompt = (Message("user", prompt),)
        return encode_prompt(self.form, prompt)

    def refuse_unanswerable(self, prompts: Iterable[tuple[str, Text]], max_new_tokens: int, where: str) -> None:
        """Refuses prompts, each with its place in `where`, that no answer of so many tokens can follow.

        Raises:
            DataError: what is asked last has no text, or a prompt and its answer may be longer than the model reads.
        """
        problems = Problems(where)
        for place, prompt in prompts:
            problem = self._problem(prompt, max_new_tokens, place)
            if problem is not None:
                problems.add(problem)
        problems.check(DataError)

    def _problem(self, prompt: Text, max_new_tokens: int, where: str) -> Problem | None:
        try:
            sound("prompt", prompt if isinstance(prompt, str) else prompt[-1].content)
        except FieldError as error:
            return Problem(error.code, "prompt", error.what, "Ask with another text.", where)
        length, context = len(self.encoded(prompt)), self.base.context
        if length == 0:
            what = "the tokenizer makes no token of the prompt."
            return Problem("data/prompt-without-tokens", "prompt", what, None, where)
        if length + max_new_tokens <= context:
            return None
        answered, hint = "", "Shorten the prompt."
        if length < context:
            answered = f" and may be answered with {max_new_tokens:,}"
            hint = f"Shorten it, or ask for at most {context - length:,} with --tokens (in Python, tokens=)."
        what = f"the prompt has {length:,} tokens{answered}; the model reads {context:,} in all."
        return Problem("data/beyond-context", "prompt", what, hint, where)

    def sampling(self, max_new_tokens: int | None, temperature: float | None, rows: int = 1) -> Sampling:
        """How it draws: so many answers side by side; what is None is as in the run."""
        run, ends, pad = self.recipe.rollout, self.base.endings.tokens, self.base.tokenizer.pad_token_id
        longest, temperature = max_new_tokens or run.max_new_tokens, temperature or run.temperature
        compute = self.recipe.compute
        return Sampling(longest, temperature, ends, pad, rows, compute.pack_weights, compute.score_tokens)

    def answers(
        self, prompts: Sequence[Text], ids: Sequence[int], sampling: Sampling, seed: int, purpose: str
    ) -> list[Sample]:
        """One answer to each of B prompts; the draws of one depend on (seed, purpose, its id) and nothing else."""
        asked = [EncodedPrompt(prompt, self.encoded(prompt)) for prompt in prompts]
        return self.answers_to(asked, ids, sampling, seed, purpose)

    def answers_to(
        self, prompts: Sequence[EncodedPrompt], ids: Sequence[int], sampling: Sampling, seed: int, purpose: str
    ) -> list[Sample]:
        """The same of prompts that are tokens already, such as those of a run: fitted by its `data.too_long`."""
        asked = [prompt.tokens for prompt in prompts]
        drawn = LocalEngine(self.base.role()).generate(asked, ids, sampling, seed, purpose)
        given = [tuple(one.tokens.tolist()) for one in drawn]
        texts = [decode_response(self.form, *pair, self.in_messages) for pair in zip(asked, given, strict=True)]
        return [
            Sample(prompt.text, text, prompt.tokens, answer, one.finished)
            for prompt, text, answer, one in zip(prompts, texts, given, drawn, strict=True)
        ]


def read_prompts(name: str, prompts: Sequence[object]) -> list[Text]:
    """Texts and conversations from Python as rows have them.

    Args:
        name: of the argument.
        prompts: B texts, or lists of {role, content}.

    Raises:
        DataError: it is one text, or a conversation cannot be read.
    """
    refuse_text(name, prompts)
    listed = [list(prompt) if isinstance(prompt, tuple) else prompt for prompt in prompts]
    return [
        prompt if isinstance(prompt, str) else as_text(f"{name}[{place}]", prompt, "prompt", transcripts=False)
        for place, prompt in enumerate(listed)
    ]


def refuse_text(name: str, texts: Sequence[object]) -> None:
    """DataError for a text where a list of them is meant: it is a sequence too, of its letters."""
    if isinstance(texts, str):
        what, hint = f"`{name}` is one text, where a list of them is asked for.", f"Put it into one: {name}=[text]."
        raise DataError(what, code="data/one-text", field=name, hint=hint)


def open_result(run: RunDirectory, stage: str, trust_remote_code: bool = False) -> LanguageModel:
    """The model that a stage of the run made.

    Raises:
        ModelError: it cannot be loaded so.
        RunError: the run plans no such stage.
    """
    return _opened(run, stage, stage, result_of(run, stage, trust_remote_code))


def open_start(run: RunDirectory, stage: str, trust_remote_code: bool = False) -> LanguageModel:
    """The model that it began with. Trust is in the code of the result: only copies of that run."""
    start = start_of(planned_stage(run, stage), run)
    trusted = trust_remote_code and _is_copy(start, run.stage(stage).model)
    return _opened(run, stage, "start", start.model_copy(update={"trust_remote_code": trusted}))


def open_model(path: str) -> LanguageModel:
    """A language model by its directory or Hub id, of which what is missing is fetched, asked as its template has it.

    ModelError where it cannot be loaded.
    """
    base, recipe = load_base(Base(path=path), Compute()), Recipe()
    in_messages = base.tokenizer.chat_template is not None
    return LanguageModel(path, path, base, base.text_format(recipe.data), in_messages, recipe)


def result_of(run: RunDirectory, stage: str, trust_remote_code: bool = False) -> Base:
    """Where the model that a stage made lies, and how it is loaded. ModelError where its code lies elsewhere."""
    model = run.stage(stage).model
    if trust_remote_code:
        _refuse_code_elsewhere(model)
    quantize = start_of(planned_stage(run, stage), run).quantize
    return Base(path=str(model), quantize=quantize, trust_remote_code=trust_remote_code)


def planned_stage(run: RunDirectory, stage: str) -> Planned:
    """A stage as the run's own record has it, on ordinary files; RunError where it is not planned there."""
    return on_files(received_stage(run, stage), run)


def is_asked_in_messages(run: RunDirectory, planned: Planned, has_template: bool) -> bool:
    """Whether what the stage learnt from, or else what it was asked, are messages."""
    chats, learnt_from = chats_of(run.prepared), (*planned.spec.datasets_of(planned.recipe), "prompts")[0]
    return has_template if chats is None else learnt_from in chats


@contextmanager
def naming_consent(run: RunDirectory, stage: str, trust_remote_code: bool) -> Iterator[None]:
    """A model that wants to run code in the block is refused with what a person may do about it."""
    try:
        yield
    except ModelError as error:
        if error.code != "model/remote-code":
            raise
        where, model = str(error.where), run.stage(stage).model
        hint = f"Read that code. If you trust it as it is in {model}, add --trust-remote-code."
        what = "this model wants to run Python code that it brings along, and the run's own recipe cannot allow that."
        if trust_remote_code:
            what, hint = "this model has other code than the result, whose code alone you trusted.", "Compare the two."
        raise ModelError(what, code="model/remote-code-of-run", where=where, hint=hint) from error


def _opened(run: RunDirectory, stage: str, name: str, place: Base) -> LanguageModel:
    planned = planned_stage(run, stage)
    base = load_base(place, Compute(), fetch=False)
    in_messages = is_asked_in_messages(run, planned, base.tokenizer.chat_template is not None)
    return LanguageModel(name, place.path, base, base.text_format(planned.recipe.data), in_messages, planned.recipe)


def _is_copy(place: Base, trusted: Path) -> bool:
    directory = directory_of(place)
    return directory is not None and not foreign_code(directory, trusted, place.path)


def _refuse_code_elsewhere(model: Path) -> None:
    """Trust is in the code that lies here, where it can be read."""
    elsewhere = code_elsewhere(model)
    if elsewhere:
        what = f"refers to code in another place ({', '.join(elsewhere)}), where nobody has seen what it is today."
        hint = "Copy that code here and refer to it by its file."
        raise ModelError(what, code="model/code-elsewhere", where=str(model), hint=hint)
