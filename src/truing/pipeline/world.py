"""The embedded world as ordinary files: a recipe on it becomes one on those."""

from dataclasses import replace

from truing.config.plan import Planned
from truing.config.recipe import Recipe
from truing.config.sections import Base, Source
from truing.data.datasets import datasets_of_stages
from truing.runs.directory import RunDirectory
from truing.runs.files import complete_directory
from truing.worlds.reviews import GOLD, WorldPaths, write_world


def with_world(recipe: Recipe, run: RunDirectory) -> Recipe:
    """A recipe on the embedded world becomes one on ordinary files, written into the run."""
    if recipe.world is None:
        return recipe
    world = world_of(run)
    if not world.directory.exists():
        with complete_directory(world.directory) as partial:
            write_world(recipe.world, recipe.seed, partial)
    return on_files_of(world, recipe)


def on_files(stage: Planned, run: RunDirectory) -> Planned:
    """A stage of a run as its own record has it, on the files of the run's world where it is on one."""
    recipe = stage.recipe
    return stage if recipe.world is None else replace(stage, recipe=on_files_of(world_of(run), recipe))


def world_of(run: RunDirectory) -> WorldPaths:
    """Where a run keeps its world."""
    return WorldPaths(run.root / "world")


def on_files_of(world: WorldPaths, recipe: Recipe) -> Recipe:
    """A recipe on a world that has been written, as one on ordinary files."""
    files = {"demonstrations": world.demonstrations, "preferences": world.preferences, "prompts": world.prompts}
    files |= {"ratings": world.ratings} if "ratings" in datasets_of_stages(recipe) else {}
    data = recipe.data.model_copy(update={name: Source(path=str(file)) for name, file in files.items()})
    judges = {"gold": GOLD} | recipe.evaluation.judges
    evaluation = recipe.evaluation.model_copy(update={"judges": judges})
    return recipe.model_copy(update={"base": Base(path=str(world.base)), "data": data, "evaluation": evaluation})
