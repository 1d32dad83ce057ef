"""Which prompts a policy answers."""

from truing.config.recipe import Recipe
from truing.config.sections import Data, Source
from truing.core.errors import DataError
from truing.core.records import Prompt
from truing.data.rows import read_prompts


def prompt_source(data: Data) -> Source:
    """The file of prompts, or the first file whose rows have one."""
    source = data.prompts or data.demonstrations or data.preferences
    if source is None:
        raise DataError("the recipe names no prompts to answer.", hint="Set data.prompts.path.")
    return source


def different_prompts(data: Data) -> list[Prompt]:
    """The prompts of the source, each once."""
    records = read_prompts(prompt_source(data), data.transcripts)
    return list({record.prompt: record for record in records}.values())


def refuse_too_few(count: int, recipe: Recipe) -> None:
    """DataError unless of so many different prompts some are left once `evaluation.prompts` are held out."""
    held = recipe.evaluation.prompts
    if held >= count:
        raise DataError(
            f"there are {count} different prompts, of which {held} are to be held out: none is left to learn from.",
            where=prompt_source(recipe.data).path,
            hint="Lower evaluation.prompts or give more prompts.",
        )
