"""run.json: what a run was made of, and how far it came.

    {"versions": {"truing": "0.1.0", "torch": ..., "transformers": ..., "peft": ..., "numpy": ..., "python": ...,
                  "platform": ...},
     "seed": 17, "threads": 2,
     "products": {"2": {"processor": ..., "one_dnn_from_rows": {"small": 64, "large": 1, ...}}, ...},
     "inputs": {"base": {"path": ..., "files": {"config.json": sha256, ...}, "ends": [2]},
                "data.preferences": {"path": ..., "sha256": ...},
                "data.prompts": {"hub": "owner/name", "revision": ...},
                "evaluation.judges.taste": {"path": ..., "sha256": ...}},
     "stages": [{"name": "sft", "kind": "sft", "state": "done", "started": "2026-01-31T12:00:00+00:00",
                 "finished": ..., "seconds": 16.2, "threads": 1,
                 "taken_from": null, "files": {"model/model.safetensors": sha256, ...}}, ...],
     "fork": {"of": ..., "changes": ["ppo.kl.beta: 0.05 → 0.1"]},
     "continued": [{"at": ..., "versions": {...}, "threads": 4}],
     "mended": [{"at": ..., "files": ["base/README.md"]}]}

`products` says for each number of threads which library computes them, as measured on that processor.
`threads` of the run and of `continued` are those of the process, of a stage those that it was computed with.
`processes` is there only if there were several, `shard` if each of them kept rows of every weight,
`tensor` if several shared each layer: how many, `pipeline` if layers were cut into stages: how many. `fork` only if the
run was begun from another one, `continued` only if it went on with any of these or with versions or threads other than
it had, `mended` if files beside a model were changed that no stage learns from. Every change is written at once and
atomically.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import TypeAdapter

from truing import __version__
from truing.config.moved import current_input
from truing.config.recipe import Recipe
from truing.core.errors import RunError
from truing.processes import group
from truing.runs.differences import GENERATION, OTHERWISE, Fingerprint, in_short, input_differences, mended
from truing.runs.files import read_json, sha256_file, write_json

State = Literal["pending", "running", "done"]

PROCESSES, SHARD, TENSOR, PIPELINE = "processes", "shard", "tensor", "pipeline"
"""How many there were, where it was more than one, whether each kept rows of every weight, how many of them shared each
layer, and into how many stages the layers were cut"""


@dataclass(frozen=True)
class StageRecord:
    """One stage of a run. `started`, the first time that it was, and `finished` are ISO 8601 in UTC."""

    name: str
    """Its kind; of a variant's, the kind and the variant's name behind it"""
    kind: str
    state: State = "pending"
    started: str | None = None
    finished: str | None = None
    seconds: float | None = None
    """Spent on it by every process that got it further: what a kill undid is not in it, nor the time in between"""
    threads: int | None = None
    """With which it is computed, in the process that took it up last"""
    taken_from: str | None = None
    """The run whose stage this is, where it was taken over"""
    files: dict[str, str] | None = None
    """SHA-256 of each file that a finished stage left, by its path"""
    chosen: dict[str, Any] | None = None
    """What was chosen for fields that the recipe leaves out, by dotted keys"""
    remarks: list[str] | None = None
    """On what it was begun with"""

    @property
    def variant(self) -> str | None:
        """The variant of the recipe that it belongs to; None for the recipe itself."""
        return None if self.name == self.kind else self.name.removeprefix(f"{self.kind}-")


class Lineage:
    """The content of run.json, kept in step with the file."""

    def __init__(self, path: Path, facts: dict[str, Any], stages: Sequence[StageRecord]) -> None:
        self._path = path
        self._facts = facts
        self._stages = {stage.name: stage for stage in stages}
        self._begun: set[str] = set()

    @classmethod
    def create(cls, path: Path, recipe: Recipe) -> Self:
        """Begin a new run.json."""
        lineage = cls(path, {"seed": recipe.seed, **_environment(recipe), "products": {}, "inputs": {}}, [])
        lineage._write()
        return lineage

    @classmethod
    def read(cls, path: Path) -> Self:
        """Take up the run.json of an earlier process. RunError if there is none or it is not one of ours."""
        facts = read_json(path)
        try:
            stages = TypeAdapter(list[StageRecord]).validate_python(facts.pop("stages"))
            inputs = TypeAdapter(dict[str, Fingerprint]).validate_python(facts["inputs"])
            facts["inputs"] = {current_input(name): found for name, found in inputs.items()}
            _ = dict(facts["versions"]), facts["threads"], list(facts.get("fork", {"changes": []})["changes"])
            _ = dict(facts.get("products", {}))
        except (AttributeError, KeyError, TypeError, ValueError) as fault:
            hint = "Was it edited by hand?"
            raise RunError("is no record of a run.", code="run/not-a-record", where=str(path), hint=hint) from fault
        return cls(path, facts, stages)

    def go_on(self, recipe: Recipe) -> None:
        """This process takes the run up: say so where versions, threads or layout are not those of the last one."""
        past = [self._facts, *self._facts.get("continued", [])][-1]
        now = _environment(recipe)
        if any(past.get(key) != now.get(key) for key in ("versions", "threads", PROCESSES, SHARD, TENSOR)):
            self._facts.setdefault("continued", []).append({"at": _now(), **now})
            self._write()

    @property
    def stages(self) -> list[StageRecord]:
        """All stages known, in order."""
        return list(self._stages.values())

    @property
    def facts(self) -> Mapping[str, Any]:
        """Versions, seed, threads and inputs."""
        return self._facts

    @property
    def changes(self) -> list[str]:
        """What differs from the run that this one was begun from, in words; nothing where there is none."""
        return [str(change) for change in self._facts.get("fork", {"changes": []})["changes"]]

    def stage_state(self, name: str) -> State:
        """How far a stage came; `pending` for one never heard of."""
        return self._stages[name].state if name in self._stages else "pending"

    def plan(self, stages: Sequence[tuple[str, str]]) -> None:
        """List the (name, kind) of all stages to come, in order; what is known of them already stays."""
        self._stages = {name: self._stages.get(name, StageRecord(name, kind)) for name, kind in stages}
        self._write()

    def record(self, name: str) -> StageRecord | None:
        """What is known of a stage."""
        return self._stages.get(name)

    def begin(
        self,
        name: str,
        kind: str,
        threads: int,
        chosen: dict[str, Any] | None = None,
        remarks: list[str] | None = None,
    ) -> None:
        """A stage starts, goes on or starts over. RunError if it is done: its files are not written over."""
        if self.stage_state(name) == "done":
            what = f"the stage {name} is done and is not started over."
            raise RunError(what, code="run/stage-done", where=str(self._path.parent))
        known = self._stages.get(name)
        started = (known.started if known else None) or _now()
        self._stages[name] = StageRecord(
            name, kind, "running", started=started, threads=threads, chosen=chosen, remarks=remarks
        )
        self._begun.add(name)
        self._write()

    def finish(self, name: str, files: dict[str, str], seconds: float) -> None:
        """A stage that was begun by this process is complete on disk, with these files and their SHA-256."""
        self._begun.remove(name)
        done = replace(self._stages[name], state="done", finished=_now(), seconds=round(seconds, 3), files=files)
        self._stages[name] = done
        self._write()

    def damaged(self, name: str, files: Mapping[str, str]) -> str | None:
        """The first file of a finished stage that is missing or not as it was, if these are there now."""
        known = self._stages[name].files or {}
        return next((file for file, content in known.items() if files.get(file) != content), None)

    def take_over(self, stage: StageRecord, root: Path) -> None:
        """A stage of another run, finished there, is complete on disk here."""
        self._stages[stage.name] = replace(stage, taken_from=str(root))
        self._write()

    def record_fork(self, root: Path, changes: Sequence[str]) -> None:
        """The run was begun from another one, from which it differs so."""
        fork = {"of": str(root), "changes": list(changes)}
        if self._facts.get("fork") != fork:
            self._facts["fork"] = fork
            self._write()

    def record_products(self, threads: int, found: Mapping[str, Any]) -> None:
        """By which products so many threads compute, from now on."""
        self._facts["products"][str(threads)] = found
        self._write()

    def record_inputs(self, inputs: Mapping[str, Fingerprint]) -> list[str]:
        """Keep the fingerprints of data, models and functions, by name.

        Returns:
            The files beside a model, such as its README.md, that are no longer as the run had them.

        Raises:
            RunError: the run has fingerprints already and one differs: half of it would rest on other data.
        """
        self.refuse_other_inputs(inputs)
        known: dict[str, Fingerprint] = self._facts["inputs"]
        shared = sorted(known.keys() & inputs.keys())
        beside = [file for name in shared for file in mended(name, known[name], inputs[name])]
        if beside:
            self._facts.setdefault("mended", []).append({"at": _now(), "files": beside})
        if known != known | dict(inputs):
            known.update(inputs)
            self._write()
        return beside

    def refuse_other_inputs(self, inputs: Mapping[str, Fingerprint]) -> None:
        """RunError where the run was begun with other content of one of these."""
        known: dict[str, Fingerprint] = self._facts["inputs"]
        shared = sorted(known.keys() & inputs.keys())
        changed = {name: found for name in shared if (found := input_differences(name, known[name], inputs[name]))}
        if changed:
            raise RunError(
                f"the run was begun with other content of {', '.join(changed)}. "
                f"Changed: {in_short([one for found in changed.values() for one in found])}.",
                code="run/other-inputs",
                where=str(self._path.parent),
                hint=f"Put the old files back. {OTHERWISE}",
            )

    def _write(self) -> None:
        if group.is_owner():
            write_json(self._path, {**self._facts, "stages": [asdict(stage) for stage in self._stages.values()]})


def fingerprint(path: str, revision: str | None = None) -> Fingerprint:
    """What a data set or base model is: SHA-256 of a file or of each file in a directory, else a Hub id.

    Hidden files are left out of a directory. `ends` are the ids that its generation_config.json says a response ends
    with. `revision` is the commit of a Hub id, where it is known.
    """
    place = Path(path)
    if place.is_file():
        return {"path": path, "sha256": sha256_file(place)}
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if file.is_file())
        names = {file.relative_to(place): file for file in files}
        visible = {name: file for name, file in names.items() if not any(part.startswith(".") for part in name.parts)}
        hashes = {name.as_posix(): sha256_file(file) for name, file in visible.items()}
        return {"path": path, "files": hashes} | ({"ends": _ends(place)} if GENERATION in hashes else {})
    return {"hub": path} if revision is None else {"hub": path, "revision": revision}


def _ends(model: Path) -> list[Any]:
    try:
        ends = read_json(model / GENERATION)["eos_token_id"]
    except (RunError, LookupError, TypeError):  # it names none, or is no JSON object
        return []
    return ends if isinstance(ends, list) else [] if ends is None else [ends]


_version = cache(metadata.version)
"""Of a package; each reads its whole description"""


def versions() -> dict[str, str]:
    """Versions of what a result depends on, found without importing any of it."""
    packages = {name: _version(name) for name in ("torch", "transformers", "peft", "numpy")}
    return {"truing": __version__, **packages, "python": platform.python_version(), "platform": platform.platform()}


def _environment(recipe: Recipe) -> dict[str, Any]:
    import torch

    several: dict[str, Any] = {PROCESSES: group.size()} if group.size() > 1 else {}
    several |= {SHARD: True} if several and recipe.compute.shard else {}
    several |= {TENSOR: group.tensor_size()} if group.tensor_size() > 1 else {}
    several |= {PIPELINE: group.pipeline_size()} if group.pipeline_size() > 1 else {}
    return {"versions": versions(), "threads": recipe.compute.threads or torch.get_num_threads(), **several}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
