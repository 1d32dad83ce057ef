"""The directory of rounds: where its parts are, and what it was begun with.

recipe.yaml             what every round runs, on files
settings.json           how answers are asked for
world/                  the embedded world, where the recipe is on it
start/                  a run: what all rounds begin from
asked/round-1.jsonl     what people are shown, in order, with whose answers these are and why they were chosen
labels.db               what they said, of all rounds
learnt/round-1.jsonl    the labels of this round and of those before it: the preferences of its run
learnt/ratings-1.jsonl  the same, side by side, for what learns from ratings
round-1/                a run, with a copy of the start
judged/round-1.jsonl    answers of its policy against the best before, to held-out prompts; where people judge
rounds.html, rounds.json
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from truing.config import with_changes
from truing.config.plan import plan
from truing.config.recipe import Recipe
from truing.config.sections import Source
from truing.config.stages import STAGES
from truing.core.errors import RecipeError, RunError
from truing.data.prompts import prompt_source
from truing.pipeline.world import on_files_of
from truing.runs.differences import comparable, differences, flat, in_short
from truing.runs.directory import RunDirectory
from truing.runs.files import complete_directory, read_json, refuse_no_directory, write_json
from truing.worlds.reviews import WorldPaths, write_world

RATINGS = "ratings"
"""The dataset that is written besides, for a policy that learns from it"""


@dataclass(frozen=True)
class Settings:
    """How people are asked, which stays the same over all rounds."""

    labels: int
    """Items to learn from, a round"""
    random_share: float
    """Of these, drawn at random"""
    judgements: int
    """Of each policy against the best before it, where people say what it gained"""
    each: int
    """People who judge an item"""
    simulated: bool


@dataclass(frozen=True)
class RoundsDirectory:
    """The files of rounds."""

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / "settings.json"

    @property
    def world(self) -> WorldPaths:
        return WorldPaths(self.root / "world")

    @property
    def labels(self) -> Path:
        """What people said."""
        return self.root / "labels.db"

    @property
    def start(self) -> RunDirectory:
        """The run that all rounds begin from."""
        return RunDirectory(self.root / "start")

    def run(self, number: int) -> RunDirectory:
        """That of a round, from 1."""
        return RunDirectory(self.root / f"round-{number}")

    def asked(self, number: int) -> Path:
        """The items that a round learns from, before anybody has judged them."""
        return self._rows("asked", f"round-{number}")

    def judged(self, number: int) -> Path:
        """The items that say what a round's policy gained."""
        return self._rows("judged", f"round-{number}")

    def learnt(self, number: int) -> Path:
        """The pairs that a round learns from."""
        return self._rows("learnt", f"round-{number}")

    def ratings(self, number: int) -> Path:
        """The same as single answers, wanted or not."""
        return self._rows("learnt", f"ratings-{number}")

    @property
    def page(self) -> Path:
        return self.root / "rounds.html"

    @property
    def figures(self) -> Path:
        """What the page shows, as JSON."""
        return self.root / "rounds.json"

    def _rows(self, folder: str, name: str) -> Path:
        return self.root / folder / f"{name}.jsonl"


def begin(directory: RoundsDirectory, recipe: Recipe, settings: Settings) -> Recipe:
    """Makes the directory, or goes on in it; the recipe that its rounds run.

    Raises:
        RecipeError: as `refuse_unsuitable` raises it.
        RunError: as `refuse_others` does.
    """
    refuse_unsuitable(recipe)
    refuse_others(directory, recipe, settings)
    for folder in ("asked", "judged", "learnt"):
        (directory.root / folder).mkdir(parents=True, exist_ok=True)
    if recipe.world is not None and not directory.world.directory.exists():
        with complete_directory(directory.world.directory) as partial:
            write_world(recipe.world, recipe.seed, partial)
    write_json(directory.settings, _begun_with(recipe, settings))
    return _on_files(recipe, directory)


def recipe_of_round(directory: RoundsDirectory, recipe: Recipe, number: int) -> Recipe:
    """The recipe on the labels of this round and of all before it."""
    sources = {"preferences": directory.learnt(number), RATINGS: directory.ratings(number)}
    data = {name: Source(path=str(file)) for name, file in sources.items() if name in _learnt(recipe)}
    return recipe.model_copy(
        update={"name": f"{recipe.name}-round-{number}", "data": recipe.data.model_copy(update=data)}
    )


def recipe_of_start(recipe: Recipe) -> Recipe | None:
    """Of what all rounds begin from; None where that is the base."""
    stages = [stage for stage in recipe.stages if STAGES[stage].makes == "language model"]
    return with_changes(recipe, {"name": f"{recipe.name}-start", "stages": stages}) if stages else None


def policy_stage(recipe: Recipe) -> str:
    """The one that makes the policy."""
    return next(stage for stage in recipe.stages if STAGES[stage].makes_policy)


def refuse_unsuitable(recipe: Recipe) -> None:
    """RecipeError where no policy is made, or several are, or none that answers a prompt by itself."""
    policies = [stage for stage in recipe.stages if STAGES[stage].makes_policy]
    if not policies:
        what = f"no stage of {', '.join(recipe.stages)} makes a policy, whose answers people would judge next."
        raise RecipeError(what, code="recipe/no-policy-to-judge", field="stages", hint="Name such a stage in stages.")
    if len(policies) > 1:
        what = f"{' and '.join(policies)} each make a policy, and the answers of one are judged next."
        raise RecipeError(what, code="recipe/several-policies", field="stages", hint="Leave one of them in stages.")
    start = [STAGES[stage] for stage in recipe.stages if STAGES[stage].makes == "language model"]
    if any({"preferences", RATINGS} & set(spec.datasets_of(recipe)) for spec in start):
        what = f"{start[0].name} learns from pairs here, and nobody has judged any before it has answered."
        hint = f"Have it learn from demonstrations, or leave {start[0].name} out of stages and begin with the base."
        raise RecipeError(what, code="recipe/start-from-pairs", field=f"{start[0].name}.data", hint=hint)
    if recipe.environment is not None:
        what = "episodes with an environment are no answers that people are shown side by side."
        hint = "Take a reward of another kind."
        raise RecipeError(what, code="recipe/rounds-of-episodes", field="rewards.sources", hint=hint)


def unlabelled(recipe: Recipe, directory: RoundsDirectory) -> list[str]:
    """`key=value` for the labels that a recipe learns from and does not name, since they are still to be given."""
    files = {"preferences": directory.learnt(1), RATINGS: directory.ratings(1)}
    named = recipe.data.sources
    missing = () if recipe.world is not None else _learnt(recipe) & files.keys() - named.keys()
    return [f"data.{name}.path={json.dumps(str(files[name]))}" for name in sorted(missing)]


def _on_files(recipe: Recipe, directory: RoundsDirectory) -> Recipe:
    """Without variants, with prompts of its own, and with no pairs but those that people are going to judge.

    A round goes on with a reward model that is no better than chance on the few pairs that are held out: what its
    policy gains says whether it was any good.
    """
    if recipe.world is not None:
        recipe = on_files_of(directory.world, recipe).model_copy(update={"world": None})
    own: dict[str, Source | None] = {"prompts": prompt_source(recipe.data)}
    own |= dict.fromkeys(("preferences", RATINGS, "heldout_preferences", "heldout_ratings"))
    data = recipe.data.model_copy(update=own)
    return recipe.model_copy(update={"data": data, "variants": {}, "on_unsound_reward": "go_on"})


def _learnt(recipe: Recipe) -> set[str]:
    return {name for stage in plan(recipe) for name in stage.spec.datasets_of(recipe)}


def _begun_with(recipe: Recipe, settings: Settings) -> dict[str, dict[str, str]]:
    return {"settings": flat(asdict(settings)), "recipe": comparable(recipe)}


def refuse_others(directory: RoundsDirectory, recipe: Recipe, settings: Settings) -> None:
    """RunError where the directory has rounds of another recipe or with other settings, or is none of rounds."""
    root = directory.root
    refuse_no_directory(root)
    names = {entry.name for entry in root.iterdir() if not entry.name.startswith(".")} if root.exists() else set()
    if not directory.settings.exists():
        if names - {"asked", "judged", "learnt", "world"}:
            what, hint = "holds files, but no rounds.", "Give another --out, or an empty directory."
            raise RunError(what, code="run/no-rounds", where=str(root), hint=hint)
        return
    then, now = read_json(directory.settings), _begun_with(recipe, settings)
    found = [told for part in now for told in differences(then.get(part, {}), now[part])]
    if found:
        what = f"holds rounds that were begun otherwise ({in_short(found)})."
        hint = "Give the command as it was, or another --out."
        raise RunError(what, code="run/other-rounds", where=str(root), hint=hint)
