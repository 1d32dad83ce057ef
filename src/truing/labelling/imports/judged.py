"""What people said of one prompt's answers in another program, and what can be read of it."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from truing.core.records import Text
from truing.data.columns import ALIASES
from truing.data.fields import FieldError, as_text, shown

Kind = Literal["sides", "rating", "yes-no"]
KINDS: tuple[Kind, ...] = ("sides", "rating", "yes-no")
"""Where people said several, the first of these counts"""
RATINGS = range(1, 6)
"""What both programs offer where nobody says otherwise; no export says what was offered"""
OPPOSITES = (
    ("yes", "no"),
    ("good", "bad"),
    ("true", "false"),
    ("accept", "reject"),
    ("accepted", "rejected"),
    ("acceptable", "unacceptable"),
    ("desirable", "undesirable"),
    ("like", "dislike"),
    ("thumbs up", "thumbs down"),
    ("thumbs_up", "thumbs_down"),
)
WORDS = {word: value for pair in OPPOSITES for word, value in zip(pair, (1.0, 0.0), strict=True)}
"""What is said of an answer alone: a word is never read without its opposite"""
UNSURE = ("unsure", "not sure", "don't know", "skip")
"""What says nothing beside what does"""
ALIKE = ("tie", "equal", "alike", "both", "neither", "same")
_ANSWER = re.compile(
    r"(answer|response|completion|output|reply|generation|chosen|rejected|text)s?[\W_]*(\d+|\w)?", re.I
)


@dataclass(frozen=True)
class Said:
    """What one person said in one place."""

    person: object
    question: str
    value: object
    about: str | None = None
    """The answer that it is of, where it is of one and the export says so"""


@dataclass(frozen=True)
class Judged:
    """A prompt, its answers by name, and what each person gave to them: more is better."""

    prompt: Text
    answers: dict[str, Text]
    given: list[dict[str, float]]
    kind: Kind


def judged(fields: Mapping[str, object], said: Sequence[Said], named: Collection[str] = ()) -> Judged | None:
    """What people said of these fields; None where nobody said anything that counts.

    Args:
        fields: of the record, its prompt and answers among them.
        said: by whoever judged it.
        named: the fields that are answers, where the export says so.

    Raises:
        FieldError: the prompt or the answers are not there or no text, people answered several questions of a kind, or
            what one said is not known beside what others said in the same place.
    """
    prompt, answers = _prompt_and_answers(fields, named)
    found: dict[Kind, dict[object, dict[str, float]]] = {kind: defaultdict(dict) for kind in KINDS}
    asked: dict[Kind, dict[tuple[str, ...], str]] = {kind: {} for kind in KINDS}
    for one, kind, values in _meanings(said, answers):
        other = asked[kind].setdefault(tuple(sorted(values)), one.question)
        if values and other != one.question:
            hint = "Export one of them."
            reason = f"and `{other}` both say which answers are better"
            raise FieldError(one.question, reason, hint, code="data/several-questions")
        if found[kind][one.person].keys() & values.keys():
            hint = "Give each response the `user_id` of who gave it."
            raise FieldError(one.question, "was answered twice by one person", hint, code="data/answered-twice")
        found[kind][one.person] |= values
    told = [kind for kind in KINDS if any(found[kind].values())]
    if not told:
        return None
    texts = {name: as_text(name, fields[name], "completion", transcripts=False) for name in answers}
    return Judged(
        as_text(prompt, fields[prompt], "prompt", transcripts=False), texts, list(found[told[0]].values()), told[0]
    )


def _prompt_and_answers(fields: Mapping[str, object], named: Collection[str]) -> tuple[str, list[str]]:
    """The names of the field that is the prompt and of those that are answers."""
    prompt = next((name for name in ("prompt", *ALIASES["prompt"]) if name in fields), "prompt")
    called = [name for name, value in fields.items() if name != prompt and value and _ANSWER.fullmatch(name)]
    answers = list(named) or sorted(called)  # where nobody says otherwise, the first by name is the left one
    missing = next((name for name in (prompt, *answers) if name not in fields), None if answers else "answer1")
    if missing:
        there = ", ".join(f"`{name}`" for name in fields) or "nothing"
        hint = f"There is {there}. Call the prompt `prompt` or `instruction`, and answers `answer1` and so on."
        raise FieldError(missing, "is missing", hint, code="data/no-judged-field")
    return prompt, answers


def _meanings(said: Sequence[Said], answers: Sequence[str]) -> list[tuple[Said, Kind, dict[str, float]]]:
    """With the kind of each and what it puts how high. FieldError where only some of a question can be read."""
    meanings = [(one, *_meaning(one, answers)) for one in said]
    read = {one.question for one, _, values in meanings if values}
    for one, _, values in meanings:
        if not values and one.question in read and one.value not in (None, [], "") and not _is_unsure(one.value):
            words = ", ".join(WORDS)
            hint = f"Known are {words}; of sides, the columns' names, left, right, {', '.join(ALIKE)}."
            reason = f"is {shown(one.value)} beside what is known"
            raise FieldError(one.question, reason, hint, code="data/unknown-judgement")
    return meanings


def _is_unsure(value: object) -> bool:
    return isinstance(value, str) and value.strip().lower() in UNSURE


def _meaning(said: Said, answers: Sequence[str]) -> tuple[Kind, dict[str, float]]:
    """Which answers it puts how high; none where it is something else, such as a comment."""
    value = said.value
    if isinstance(value, list):
        return "sides", _ranks(said.question, value, answers)
    if isinstance(value, str) and (value in answers or value.lower() in ("left", "right", *ALIKE)):
        return "sides", _side(value, answers)
    if isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in WORDS):
        return "yes-no", {_about(said, answers): WORDS[str(value).strip().lower()]}
    if isinstance(value, int | float):
        if value not in RATINGS:
            hint = (
                "Make them whole numbers from 1 to 5, whose middle is 3; or ask for yes and no, or for the better one."
            )
            raise FieldError(said.question, f"is {value}", hint, code="data/other-rating")
        return "rating", {_about(said, answers): float(value)}
    return "sides", {}


def _side(value: str, answers: Sequence[str]) -> dict[str, float]:
    """Which of them was chosen; all alike where none was."""
    if value in answers:
        return {name: float(name == value) for name in answers}
    left = {"left": 1.0, "right": 0.0}.get(value.lower(), 0.5)
    return dict(zip(answers, (left, 1 - left), strict=False)) if len(answers) == 2 else {}


def _ranks(question: str, value: Sequence[Any], answers: Sequence[str]) -> dict[str, float]:
    """Of [{value, rank}], where 1 is the best; nothing of other lists, such as spans.

    FieldError where the answers are listed without ranks: Argilla's SDK leaves these out, and its page lists answers in
    the question's order, whatever people ranked.
    """
    if len(value) > 1 and all(item in answers for item in value):
        hint = "Argilla's SDK 2 leaves ranks out: export what its server answers, where each is {value, rank}."
        raise FieldError(question, "lists the answers without their ranks", hint, code="data/no-ranks")
    items = [item for item in value if isinstance(item, dict) and isinstance(item.get("rank"), int)]
    ranks = {str(item.get("value")): -float(item["rank"]) for item in items}
    return ranks if set(ranks) <= set(answers) else {}


def _about(said: Said, answers: Sequence[str]) -> str:
    """The answer that a rating, or a yes, is of: what the export says, what the question is called, or the only one."""
    called = [name for name in answers if name in said.question]
    for names in ([said.about] if said.about in answers else [], called, answers):
        if len(names) == 1:
            return str(names[0])
    hint = f"Let its name have that of one answer: {', '.join(answers)}."
    raise FieldError(said.question, "does not say which answer it is of", hint, code="data/of-no-answer")
