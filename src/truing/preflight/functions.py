"""A recipe's rewards and judges in Python, begun and asked as a run will begin and ask them."""

import os
from collections.abc import Iterator, Sequence

from truing.config import reward_sources
from truing.config.recipe import Recipe
from truing.core.records import Sample, Tokens
from truing.data.chat import TextFormat, decode_response
from truing.data.columns import Taken, parsed
from truing.data.encode import EncodedRow
from truing.data.prepared import Prepared
from truing.guard.contests import Question
from truing.guard.judges import LlmJudgeOfPairs, pairs_judge
from truing.preflight.findings import Findings
from truing.preflight.model_directories import rewards_and_judges
from truing.rewards.environment import EnvironmentProcess
from truing.rewards.llm_judge import LlmPairs, LlmReward
from truing.rewards.python_function import OF_PAIRS, SIGNATURE, FunctionReward
from truing.rewards.rubrics import refuse_nulls

CALLED_WITH = 2
"""The first responses that each reward and judge is asked to score: with one, a deviation of all has no value"""


def check_functions(recipe: Recipe, found: Findings) -> Taken:
    """Adds those that cannot be imported to what was `found`, each in a process of its own; the columns others take."""
    taken = Taken()
    known = [problem.where for problem in found.problems]
    for key, source in reward_sources(recipe):
        if source.kind != "environment" or f"{key}.path: {source.path}" in known:
            continue
        with found.noting():
            environment = EnvironmentProcess.load(source, recipe)
            environment.end()
            taken |= environment.keywords.taken
    for (kind, path), key in rewards_and_judges(recipe).items():
        if kind in ("function", "pairs") and f"{key}: {path}" not in known:
            with found.noting():
                function = FunctionReward.load(path, recipe, OF_PAIRS if kind == "pairs" else SIGNATURE)
                function.end()
                taken |= function.keywords.taken
        elif kind in ("judge", "llm") and _has_rubric(recipe, path):
            with found.noting():
                taken |= (LlmReward if kind == "judge" else LlmPairs).load(path, recipe).taken
    return taken


def _has_rubric(recipe: Recipe, name: str) -> bool:
    """Whether a judge is described, and its rubric there; where not, that is told already."""
    judge = recipe.llm_judges.get(name)
    return judge is not None and (judge.rubric is None or os.path.isfile(judge.rubric))


def refuse_nulls_in_rubrics(recipe: Recipe, rows: Prepared) -> None:
    """RewardError where a rubric names a column that is null in one of the rows that a run asks about."""
    asked = [(row.where, parsed(row.columns)) for row in rows.rows.get("prompts", [])]
    for kind, name in rewards_and_judges(recipe):
        if kind in ("judge", "llm"):
            questions = (LlmReward if kind == "judge" else LlmPairs).load(name, recipe).questions
            for where, columns in asked:
                refuse_nulls(questions.template, columns, where, questions.place)


def samples_of(rows: Prepared, recipe: Recipe, form: TextFormat) -> list[Sample]:
    """The recipe's own completions, which `form` makes text of, for its rewards and judges to be asked about."""
    asked, texts, in_messages = _asked(rows, recipe), rows.texts, "prompts" in rows.chats
    return [
        Sample(
            texts[row.prompt_index],
            decode_response(form, row.prompt, said, in_messages),
            row.prompt,
            said,
            True,
            row.columns,
        )
        for row, said in zip(asked, _completions(rows, asked), strict=False)
    ]


def _asked(rows: Prepared, recipe: Recipe) -> list[EncodedRow]:
    """The first prompts, the longest, and the first of each kind: a classifier's template may not take them all."""
    if "prompts" not in rows.rows:
        return []
    prompts, _ = rows.fit("prompts", rows.rows["prompts"], recipe)
    first_of: dict[tuple[bool, bool], int] = {}
    for place, row in enumerate(prompts):
        text = rows.texts[row.prompt_index]
        roles = [] if isinstance(text, str) else [message.role for message in text]
        first_of.setdefault(("system" in roles, "assistant" in roles), place)
    longest = max(range(len(prompts)), key=lambda place: len(prompts[place].prompt))
    return [prompts[place] for place in sorted({*range(len(prompts))[:CALLED_WITH], longest, *first_of.values()})]


def call_functions(recipe: Recipe, samples: Sequence[Sample]) -> None:
    """Has every reward and judge in Python score some samples, and every language model judge one.

    Raises:
        RewardError: one does not, named with its file and line.
    """
    for kind, path in rewards_and_judges(recipe) if samples else ():
        if kind == "function":
            function = FunctionReward.load(path, recipe)
            function.score(samples)
            function.end()
        elif kind == "pairs":
            asked = [Question(one.prompt, "", one.response, samples[0].response, True, one.columns) for one in samples]
            judge = pairs_judge(path, recipe)
            judge.judge(0, asked)
            judge.process.end()
        elif kind == "judge":
            LlmReward.load(path, recipe).score(samples[:1])
        elif kind == "llm":
            one, other = samples[0], samples[-1]
            asked = [Question(one.prompt, "", one.response, other.response, True, one.columns)]
            LlmJudgeOfPairs(LlmPairs.load(path, recipe)).judge(0, asked)


def _completions(rows: Prepared, asked: Sequence[EncodedRow]) -> Iterator[Tokens]:
    """What the recipe's rows say to each of these prompts, or else to others; a prompt where they say nothing."""
    said = [(row.prompt, one) for some in rows.rows.values() for row in some for one in row.completions.values()]
    for place, row in enumerate(asked):
        own = next((completion for prompt, completion in said if prompt == row.prompt), None)
        yield own or (said[place % len(said)][1] if said else row.prompt)
