"""What every stage is handed, and the few things that all of them do with it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from truing.config.recipe import Recipe
from truing.config.sections import OWN_PYTHON, Base, Source
from truing.config.stages import StageSpec
from truing.core.metrics import SCORE, score_as_given
from truing.core.people import People
from truing.core.results import StageResult, read, to_json
from truing.core.rows import PairRows, RatedRows, TokenRows
from truing.core.text import code_span, markdown
from truing.data.prepared import Prepared, Split
from truing.data.prompts import PromptSet
from truing.models.adapter_card import write_card
from truing.models.layout import RewardModelFiles, role_to_merge
from truing.models.load import LoadedBase
from truing.models.metadata import keep_metadata
from truing.models.model_card import Made, language_model_use, limits_of, write_model_card
from truing.models.roles import Role
from truing.models.save import merge, name_base, save_adapter, save_member_scores, save_policy
from truing.models.stacking import stack
from truing.processes import group
from truing.rewards.answers import Answers
from truing.rewards.environment import EnvironmentProcess
from truing.runs.directory import StageDirectory
from truing.runs.files import complete_directory
from truing.runs.interruption import Interruption
from truing.runs.progress import Progress
from truing.runs.trackers import Tracker
from truing.training.timing import Stopwatch


@dataclass(frozen=True)
class Job:
    """One stage of one run."""

    name: str
    """The stage's directory: sft, reward, ppo, ppo-no-kl"""
    spec: StageSpec
    recipe: Recipe
    directory: StageDirectory
    start: Base
    """The model this stage begins with: the SFT model, where there is one before it"""
    reward: RewardModelFiles | None
    """The reward stage's result, where there is one"""
    rows: Prepared
    """The run's rows as tokens"""
    progress: Progress
    tracker: Tracker
    stop: Interruption
    """Whether somebody has asked the run to end"""
    people: People | None = None
    """Who judges on a page; None where this process serves none"""
    beneath: Path | None = None
    """The adapter from which `start` was merged; None where it was not, or is the recipe's base"""
    start_files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the files of `start`, by their names, where they are known"""
    base_files: Mapping[str, str] = field(default_factory=dict)
    """The same of the recipe's base"""
    whole: Stopwatch = field(default_factory=Stopwatch)
    """Of the stage, in every process that got it further"""
    saving: Stopwatch = field(default_factory=Stopwatch)
    """Of checkpoints and of the stage's models, likewise"""

    @property
    def watches(self) -> dict[str, Stopwatch]:
        """Those that go on where an earlier process left off, by their names in a checkpoint."""
        return {"whole": self.whole, "saving": self.saving}

    def tokens(self) -> set[int]:
        """All that are in the rows that the stage learns from."""
        return self.rows.tokens(self.spec.datasets_of(self.recipe))

    def demonstrations(self) -> Split[TokenRows]:
        """The recipe's, what became of rows that are too long noted."""
        found = self.rows.demonstrations(self.recipe)
        self.progress.note(f"{self.name}: {found.report}")
        return found

    def preferences(self) -> Split[PairRows]:
        """The same."""
        found = self.rows.preferences(self.recipe)
        self.progress.note(f"{self.name}: {found.report}")
        return found

    def ratings(self) -> Split[RatedRows]:
        """The same."""
        found = self.rows.ratings(self.recipe)
        self.progress.note(f"{self.name}: {found.report}")
        return found

    def prompts(self) -> PromptSet:
        """The same."""
        found = self.rows.prompts(self.recipe)
        self.progress.note(f"prompts: {found.report}")
        return found

    @cached_property
    def llm_answers(self) -> Answers:
        """What LLM judges have said in the run, to which the stage adds."""
        return Answers(self.directory.llm_answers, self.name)

    @cached_property
    def environment(self) -> EnvironmentProcess | None:
        """What the policy talks with, where the recipe has one. RewardError where it cannot be imported."""
        return EnvironmentProcess.of(self.recipe)

    @property
    def in_messages(self) -> bool:
        """Whether what it learns from, or else what it is asked, are messages."""
        return (*self.spec.datasets_of(self.recipe), "prompts")[0] in self.rows.chats

    def save_policy(self, policy: Role, base: LoadedBase, result: Any) -> None:
        """`model/`, and `adapter/` where one was trained. It is merged, so nothing can be measured afterwards.

        What was measured before is in `result`, one of `core.results`, from which the model's card is written.
        """

        def write(whole: Role, place: Path) -> None:
            model = merge(whole)
            save_policy(model, base.tokenizer, place)
            keep_metadata(self.start, model, base.tokenizer, place)

        self.save_model(policy, base, write, result, language_model_use(self.in_messages, self.start.trust_remote_code))

    def save_model(
        self, role: Role, base: LoadedBase, write: Callable[[Role, Path], None], result: Any, use: str
    ) -> None:
        """The same, where `write` puts a role that can be merged into a directory; all processes come here.

        use: what its card says of how to use it.
        """
        self._save_adapter(role, base, self.directory)
        self._save_merged(role, write, self.directory, result, use)

    def save_member(
        self, number: int, role: Role, base: LoadedBase, write: Callable[[Role, Path], None], result: Any, use: str
    ) -> None:
        """One of several, beside what is made of all: its adapter, or its model where it has none."""
        directory = self.directory.member(number)
        self._save_adapter(role, base, directory)
        if role.adapters is None:
            self._save_merged(role, write, directory, result, use)

    def save_member_scores(self, scores: Tensor) -> None:
        """(N, k) what each of k members gives to samples of the SFT model."""
        group.on_owner(lambda: save_member_scores(scores, self.directory.member_scores))

    def _save_merged(
        self, role: Role, write: Callable[[Role, Path], None], directory: StageDirectory, result: Any, use: str
    ) -> None:
        whole = role_to_merge(role, directory.adapter, self.recipe, self.start)

        def save() -> None:
            assert whole is not None
            with self.saved(directory.model) as place:
                write(whole, place)
                self._write_model_card(place, read(StageResult, to_json(result)), use)

        group.on_owner(save)

    def _save_adapter(self, role: Role, base: LoadedBase, directory: StageDirectory) -> None:
        weights = role.whole_adapter()
        group.on_owner(lambda: self._write_adapter(role, base, directory, weights))

    def _write_adapter(
        self, role: Role, base: LoadedBase, directory: StageDirectory, weights: dict[str, Tensor] | None
    ) -> None:
        """`adapter/`, on the recipe's base wherever it can be said on that; what is a part of the run is not named."""
        self.rows.keep_template(base.tokenizer)
        if role.adapters is None:
            return
        with self.saved(directory.adapter) as place:
            save_adapter(role, place, base.tokenizer if base.new_rows else None, weights)
            below, files = self.start, self.start_files
            if self.beneath is not None and self.recipe.base is not None and stack(place, self.beneath):
                below, files = self.recipe.base, self.base_files
            is_apart = below == self.recipe.base and self.recipe.world is None
            name_base(place, below.path if is_apart else None)
            write_card(place, self.name, below, self._name_of(below.path), files)

    def _write_model_card(self, place: Path, result: StageResult, use: str) -> None:
        recipe, base = self.recipe, self.recipe.base or self.start
        key, what = self.spec.learns_from
        counted, beta = getattr(result, key, None), "" if result.beta is None else f", β = {result.beta:.3g}"
        rows = {name: source.path for name, source in recipe.data if isinstance(source, Source)}
        made = Made(
            heading=f"{self.spec.makes.capitalize()} of the stage {markdown(self.name)}",
            how=f"truing made it by {self.spec.title} on {counted:,} {what}{beta}, seed {recipe.seed}.",
            start=self.name_of_start(),
            base=self._name_of(base.path),
            hub_base=None if Path(base.path).is_dir() else base.path,
            rows=[f"{name} from {self._name_of(path)}" for name, path in rows.items()],
            pipeline_tag="text-classification" if self.spec.makes == "reward model" else "text-generation",
            use=use,
            score=score_as_given(SCORE, (source.normalise for source in recipe.rewards.sources)),
            pairs=self.spec.heldout_pairs,
        )
        by_functions = all(source.kind in OWN_PYTHON for source in recipe.rewards.sources)
        limits = limits_of(result, recipe.rollout.temperature, recipe.most_drawn, made.pairs, by_functions)
        write_model_card(place, made, result, limits)

    def name_of_start(self) -> str:
        """What the model that the stage began with is called, in Markdown."""
        return self._name_of(self.start.path)

    def _name_of(self, place: str) -> str:
        """`sft/model` of the same run for what a stage of it made; else the Hub id or the name of the directory."""
        path, run = Path(place), self.directory.root.parent
        if not path.exists():
            return code_span(path.name if path.is_absolute() else place)
        path, run = path.resolve(), run.resolve()
        in_run = path.is_relative_to(run)
        return f"{code_span(path.relative_to(run).as_posix())} of the same run" if in_run else code_span(path.name)

    @contextmanager
    def saved(self, directory: Path) -> Iterator[Path]:
        """A new directory that is filled in the block, forced to disk, and only then called `directory`.

        Raises:
            RunError: the disk refuses.
        """
        with self.stop.defer(), self.saving, complete_directory(directory) as partial:
            yield partial
