"""Answers of models that are asked before the page opens, kept beside the labels: nothing is asked for twice."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from truing.core.errors import InputError
from truing.data.datasets import PromptFile
from truing.data.fields import is_sound
from truing.labelling.collection import AskedModels
from truing.labelling.items import plain
from truing.results import LanguageModel, open_model, open_result, open_start
from truing.runs.directory import RunDirectory
from truing.runs.files import sha256_file, write_jsonl
from truing.runs.finished import speaking_stage
from truing.runs.metrics import read_jsonl
from truing.runs.no_run import RECORD
from truing.runs.progress import Progress
from truing.sample import Drawn, drawn_answers, reward_for
from truing.score import NamedReward, refuse_nowhere


def answers_beside(labels: Path, prompts: Path, asked: AskedModels, progress: Progress) -> Path:
    """The file of answers beside the labels; models are asked where there is none yet.

    Two models give an answer each, a run that is asked alone those of its policy and of its start, and a model two.

    Raises:
        InputError: other answers are kept there, these models cannot be asked so, or all that they said was alike.
        DataError, ModelError, RewardError, RunError: as `drawn_answers`, `open_model` and `open_result` raise them.
    """
    file = labels.with_suffix(".answers.jsonl")
    _refuse_a_run(prompts)
    drawn = json.loads(json.dumps(asdict(asked))) | {"prompts": sha256_file(prompts)}
    if file.exists():
        _refuse_others(file, drawn)
        progress.note(f"The answers are those in {file}; nobody is asked again.")
        return file
    _refuse_impossible(asked)
    rows = [row | {"drawn": drawn} for row in _ask(prompts, asked, progress)]
    if not rows:
        what = "the answers to every prompt were alike, or said nothing, so there is nothing to judge."
        hint = "Draw at a higher --temperature, or ask another model."
        raise InputError(what, code="input/alike-answers", where=str(prompts), hint=hint)
    write_jsonl(file, rows)
    return file


def _refuse_others(file: Path, drawn: dict[str, Any]) -> None:
    kept = next((row.get("drawn") for row in read_jsonl(file)), None)
    other = [name for name, value in drawn.items() if not isinstance(kept, dict) or kept.get(name) != value]
    if other:
        what = f"has answers that were drawn otherwise ({', '.join(other)})."
        hint = "Repeat the command that drew them, or begin anew with --labels and a new file."
        raise InputError(what, code="input/other-answers", where=str(file), hint=hint)


def _refuse_a_run(prompts: Path) -> None:
    if prompts.is_dir():
        what, hint = (
            "is no file of prompts to ask about.",
            "Name such a file; without --ask, a run's answers are shown.",
        )
        raise InputError(what, code="input/no-prompts", where=str(prompts), hint=hint)


def _refuse_impossible(asked: AskedModels) -> None:
    if len(asked.models) > 2:
        what, hint = f"names {len(asked.models)} models, and a page shows two answers.", "Name one or two."
        raise InputError(what, code="input/too-many-models", where="--ask", hint=hint)
    if asked.best_of and not (len(asked.models) == 1 and _is_run(asked.models[0])):
        what, hint = "is of one run, whose reward model says which is best.", "Give --ask one run, and no model."
        raise InputError(what, code="input/no-best", where="--best-of", hint=hint)
    for name in asked.models:
        refuse_nowhere(name, "a run, or a model's directory or Hub id")


def _is_run(model: str) -> bool:
    return (Path(model) / RECORD).exists()


def _ask(prompts: Path, asked: AskedModels, progress: Progress) -> Iterator[dict[str, Any]]:
    """A row for each prompt whose two answers say something, and differ."""
    sources, pairs = _pairs(_Drawing(prompts, asked, progress))
    differing = [one for one in pairs if one.answers[0].response != one.answers[1].response]
    said = [one for one in differing if all(is_sound(answer.response) for answer in one.answers)]
    for one in said:
        answers = [answer.response for answer in one.answers]
        scores = {} if one.scores is None else {"scores": one.scores}
        yield {"prompt": plain(one.asked.prompt), "answers": answers, "sources": sources} | scores
    if alike := len(pairs) - len(differing):
        progress.note(f"{alike} of {len(pairs)} prompts were answered alike; they are left out.")
    if empty := len(differing) - len(said):
        progress.note(f"{empty} of {len(pairs)} prompts had an answer that no row may have, as an empty one; left out.")


@dataclass(frozen=True)
class _Drawing:
    """The same prompts for whoever is asked."""

    prompts: Path
    asked: AskedModels
    progress: Progress

    def answers(self, model: LanguageModel, name: str, each: int = 1, reward: NamedReward | None = None) -> list[Drawn]:
        how, drawn = self.asked, list[Drawn]()
        file = PromptFile.read(self.prompts, model.recipe.data.transcripts)
        with self.progress.stage(f"asking {name}", len(file.prompts)) as shown:
            for one in drawn_answers(model, file, how.tokens, how.temperature, each, reward, how.seed):
                drawn.append(one)
                shown.advance(len(drawn), {})
        return drawn


def _pairs(drawing: _Drawing) -> tuple[list[str], list[Drawn]]:
    """Whose answers the first and the second ones are, and two to each prompt."""
    names, stage, best_of = drawing.asked.models, drawing.asked.stage, drawing.asked.best_of
    if len(names) == 2:
        first, second = (drawing.answers(_opened(name, stage), name) for name in names)
        return list(names), _side_by_side(first, second)
    (name,) = names
    if not _is_run(name):
        return [f"{name}, draw 1", f"{name}, draw 2"], drawing.answers(open_model(name), name, each=2)
    run = RunDirectory(Path(name))
    stage = speaking_stage(run, stage)
    if best_of is None:
        start = drawing.answers(open_start(run, stage), f"the start of {name}")
        policy = drawing.answers(open_result(run, stage), name)
        return [f"{name}, start", f"{name}, {stage}"], _side_by_side(start, policy)
    drawn = drawing.answers(open_result(run, stage), name, 1 + best_of, reward_for(run, None, best_of))
    return [f"{name}, {stage}", f"{name}, {stage}, best of {best_of}"], list(map(_single_and_best, drawn))


def _opened(name: str, stage: str | None) -> LanguageModel:
    if not _is_run(name):
        return open_model(name)
    run = RunDirectory(Path(name))
    return open_result(run, speaking_stage(run, stage))


def _side_by_side(first: Sequence[Drawn], second: Sequence[Drawn]) -> list[Drawn]:
    return [Drawn(one.asked, [*one.answers, *other.answers]) for one, other in zip(first, second, strict=True)]


def _single_and_best(one: Drawn) -> Drawn:
    """The first answer, and that of the others with the highest score."""
    assert one.scores is not None
    best = max(range(1, len(one.answers)), key=one.scores.__getitem__)
    return Drawn(one.asked, [one.answers[0], one.answers[best]], [one.scores[0], one.scores[best]])
