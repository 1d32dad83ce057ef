"""Which prompts a policy answers."""

from truing.data.rows import read_prompts
from truing.errors import DataError
from truing.recipe import Data, Recipe, Source
from truing.records import Prompt


def prompt_source(data: Data) -> Source:
    """The file of prompts, or the first file whose rows have one."""
    source = data.prompts or data.demonstrations or data.preferences
    if source is None:
        raise DataError("the recipe names no prompts to answer.", mend="Set data.prompts.path.")
    return source


def different_prompts(data: Data) -> list[Prompt]:
    """The prompts of the source, each once."""
    records = read_prompts(prompt_source(data), data.transcripts)
    return list({record.prompt: record for record in records}.values())


def refuse_too_few(count: int, recipe: Recipe) -> None:
    """DataError unless of so many different prompts some are left once `ppo.heldout_prompts` are held out."""
    held = recipe.ppo.heldout_prompts
    if held >= count:
        raise DataError(
            f"there are {count} different prompts, of which {held} are to be held out: none is left to learn from.",
            where=prompt_source(recipe.data).path,
            mend="Lower ppo.heldout_prompts or give more prompts.",
        )
