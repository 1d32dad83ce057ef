"""Who judges: a function of pairs, a function that scores, a language model, or people, on a page or in a file."""

import codecs
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from truing.config.recipe import Recipe
from truing.core.errors import DataError, InputError, Problem, Problems, RewardError, WaitingError
from truing.core.people import People
from truing.core.records import Sample
from truing.guard.contests import Question
from truing.rewards.answers import Answers
from truing.rewards.keywords import as_plain
from truing.rewards.llm_judge import LlmPairs
from truing.rewards.process import FunctionError, FunctionProcess
from truing.rewards.python_function import FunctionReward
from truing.rewards.worker import shown
from truing.runs.directory import StageDirectory
from truing.runs.files import disk_faults, write_jsonl

ALIKE = 0.5

VOTES: dict[str, float | None] = {"first": 1.0, "second": 0.0, "alike": ALIKE, "skip": None}
"""What a person may say is better, and 1 where it is the first answer; None is no judgement"""
VOTE = "better"
SHARES = "It must return one number for each pair, in order: 1 the first answer is better, 0 the second, 0.5 alike."


class Judge(Protocol):
    """Anything that judges."""

    def judge(self, look: int, questions: Sequence[Question]) -> Mapping[str, float | list[float]]:
        """By the question's id, 1 where the first answer is better, 0 the second, between them for doubt.

        A list is of what several people said, whose mean counts. What is left out was not judged.
        """


def judge_of(
    recipe: Recipe, directory: StageDirectory, said: Answers | None = None, people: People | None = None
) -> Judge:
    """The one that the recipe names.

    Args:
        recipe: of the stage.
        directory: of the stage, for the files of people.
        said: what LLM judges have said in the run.
        people: who judges on a page; None where this process serves none.

    Raises:
        RewardError: its function cannot be imported.
    """
    settings = recipe.guard.judge
    if settings.kind == "people":
        return PeopleJudge(directory) if settings.page is None else PageJudge(people, directory.root.name)
    if settings.kind == "scores":
        return ScoresJudge(FunctionReward.load(settings.path or "", recipe))
    if settings.kind == "llm":
        return LlmJudgeOfPairs(LlmPairs.load(settings.path or "", recipe, said))
    return pairs_judge(settings.path or "", recipe)


def pairs_judge(path: str, recipe: Recipe) -> "PairsJudge":
    """That of a function of pairs, which is imported as it is first asked."""
    return PairsJudge(path, FunctionProcess(path, recipe.functions))


@dataclass(frozen=True)
class ScoresJudge:
    """Prefers the answer that a function scores higher."""

    reward: FunctionReward

    def judge(self, look: int, questions: Sequence[Question]) -> dict[str, float]:
        """See `Judge`. RewardError where the function has no number for an answer."""
        first, second = (
            self.reward.score([Sample(one.prompt, getattr(one, side), (), (), True, one.columns) for one in questions])
            for side in ("first", "second")
        )
        pairs = zip(questions, first, second, strict=True)
        return {one.id: ALIKE if a == b else float(a > b) for one, a, b in pairs if a == a and b == b}


@dataclass(frozen=True)
class PairsJudge:
    """Asks a function `judge(prompts, pairs)` in a process of its own."""

    name: str
    process: FunctionProcess

    def judge(self, look: int, questions: Sequence[Question]) -> dict[str, float]:
        """See `Judge`. RewardError where the function fails, or its answer is no share."""
        pairs: list[Any] = [[one.first, one.second] for one in questions]
        try:
            _, keywords = self.process.start()
            columns = keywords.given([one.columns for one in questions], {}, self.name)
            answer = self.process.scores([as_plain(one.prompt) for one in questions], pairs, columns)
        except FunctionError as fault:
            hint = fault.hint(SHARES)
            raise RewardError(f"{fault.reason}.", code="rewards/judge-fails", where=self.name, hint=hint) from fault
        shares = answer.get("scores")
        if not isinstance(shares, list) or len(shares) != len(questions) or not all(map(_is_share, shares)):
            raise RewardError("returned no share of each pair.", code="rewards/no-share", where=self.name, hint=SHARES)
        return {one.id: share for one, share in zip(questions, shares, strict=True)}


@dataclass(frozen=True)
class LlmJudgeOfPairs:
    """Asks a language model about each pair in both orders."""

    pairs: LlmPairs

    def judge(self, look: int, questions: Sequence[Question]) -> dict[str, float]:
        """See `Judge`. RewardError where it gives no answer that can be used."""
        prompts = [(one.prompt, one.columns) for one in questions]
        answers = [(one.first, one.second) for one in questions]
        shares = self.pairs.shares(prompts, answers, [one.id for one in questions])
        return {one.id: share for one, share in zip(questions, shares, strict=True) if share == share}


def _is_share(value: Any) -> bool:
    return isinstance(value, float) and 0 <= value <= 1


@dataclass(frozen=True)
class PeopleJudge:
    """Writes the questions of a look into a file, in which people say what is better."""

    directory: StageDirectory

    def judge(self, look: int, questions: Sequence[Question]) -> dict[str, float]:
        """See `Judge`.

        Raises:
            WaitingError: questions are not answered yet.
            DataError: the file has rows that are no answers to these questions; nothing of it is changed.
        """
        file = self.directory.questions(look)
        if not file.exists():
            write_jsonl(file, map(_asked, questions))
        votes = read_votes(file, [one.id for one in questions])
        left = len(questions) - len(votes)
        if left:
            what = f"{left} of {len(questions)} judgements are waited for."
            answers = ", ".join(f'"{answer}"' for answer in VOTES)
            hint = f'Set "{VOTE}" in each line to one of {answers}; then give the same command again, which goes on.'
            raise WaitingError(what, code="guard/waits", where=str(file), hint=hint)
        return {name: vote for name, vote in votes.items() if vote is not None}


@dataclass(frozen=True)
class PageJudge:
    """Asks people on a page, which is served where the run is."""

    people: People | None
    stage: str

    def judge(self, look: int, questions: Sequence[Question]) -> dict[str, list[float]]:
        """See `Judge`.

        Raises:
            WaitingError: questions are not judged yet.
            InputError: nothing here serves a page.
        """
        if self.people is None:
            what = "the guard asks people on a page, and nothing here serves one."
            hint = "Run it with `truing run`; or leave guard.judge.page out, and people answer in a file."
            raise InputError(what, code="input/no-page", hint=hint)
        said = self.people.votes(self.stage, look, questions)
        return {name: votes for name, votes in said.items() if votes}


def _asked(question: Question) -> dict[str, Any]:
    return {
        "id": question.id,
        "prompt": question.shown,
        "first": question.first,
        "second": question.second,
        VOTE: None,
    }


def read_votes(file: Path, known: Sequence[str]) -> dict[str, float | None]:
    """What people said is better, by question; what nobody answered yet is left out.

    Raises:
        DataError: a line is no JSON object, answers no question of this look, or answers otherwise than a line before;
            or a question has no line any more.
        RunError: the file cannot be read.
    """
    votes: dict[str, float | None] = {}
    gone = dict.fromkeys(known)
    problems = Problems(str(file))
    with disk_faults(file, "cannot be read"):
        lines = file.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")  # str.splitlines would cut answers
    for number, line in enumerate(lines, start=1):
        said = _said(line, known) if line.strip() else None
        if isinstance(said, str):
            problems.add(Problem("guard/bad-vote", VOTE, said, "Put the line right.", f"{file}:{number}"))
        elif said is not None:
            name, vote = said
            gone.pop(name, None)
            if vote is not None and votes.setdefault(name, VOTES[vote]) != VOTES[vote]:
                what = f"question {name} is answered in two ways."
                problems.add(Problem("guard/two-votes", VOTE, what, "Keep one of the lines.", f"{file}:{number}"))
    if gone and not problems.count:
        what = f"{len(gone)} of {len(known)} questions have no line any more, {next(iter(gone))} among them."
        hint = "Put the lines back; or move the file away, and the same command writes it anew, with no answer."
        problems.add(Problem("guard/no-line", VOTE, what, hint, str(file)))
    problems.check(DataError)
    return votes


def _said(line: bytes, known: Sequence[str]) -> tuple[str, str | None] | str:
    """Question and answer, None where there is no answer yet; or what is wrong with the line."""
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):
        return "is no JSON object in UTF-8."
    if not isinstance(row, Mapping) or "id" not in row:
        return "is no JSON object with an id."
    if row["id"] not in known:
        return f"question {shown(row['id'])} is none of this look: it may be of another run or another look."
    vote = row.get(VOTE)
    if vote is not None and (not isinstance(vote, str) or vote not in VOTES):
        return f"{shown(vote)} is none of {', '.join(VOTES)}."
    return str(row["id"]), vote
