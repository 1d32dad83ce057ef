"""The result of a stage, copied into a directory of its own that servers load, with what they need beside it."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from truing.config.plan import Planned
from truing.config.sections import Compute
from truing.core.errors import ModelError, RunError
from truing.export.card import write_export_card
from truing.export.gguf import GgufType, write_gguf
from truing.export.ollama import modelfile
from truing.models.description import load_config
from truing.models.load import check_base, outline_base
from truing.models.own_code import code_of
from truing.models.weight_files import ADAPTER, read_settings
from truing.report.run_files import read_run
from truing.results import is_asked_in_messages, planned_stage, result_of
from truing.runs.directory import RunDirectory
from truing.runs.files import complete_directory, sha256_file

KEPT = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.md", "LICENSE*", "NOTICE*")
"""Files of a result that are handed on: none of a kind whose reading runs code"""
CODE = "*.py"
EDITED = (*KEPT[-3:],)
"""Those of them that a person may have edited since"""
GGUF, MODELFILE = "model.gguf", "Modelfile"


@dataclass(frozen=True)
class Gguf:
    """What GGUF is asked for."""

    kind: GgufType
    converter: list[str]
    """How it is called"""


@dataclass(frozen=True)
class Exported:
    """What lies in the directory."""

    directory: Path
    files: list[str]
    notes: list[str]


def export_model(
    run: RunDirectory, stage: str, to: Path, gguf: Gguf | None = None, trust_remote_code: bool = False
) -> Exported:
    """The whole model: a Hugging Face directory, with a Modelfile and, where that is asked for, a GGUF file.

    No weight is computed: what the stage saved is copied, and held against what was recorded of it.

    Raises:
        ModelError: the model wants to run code that is not trusted, lacks weights, or cannot be converted.
        RunError: `to` exists, the disk refuses, or the result is not as its stage left it.
    """
    planned, source = planned_stage(run, stage), run.stage(stage).model
    place = result_of(run, stage, trust_remote_code)
    outline = outline_base(place, Compute(), fetch=False)
    check_base(place, outline)
    if not trust_remote_code:
        _refuse_code(source)
    form, recipe = outline.text_format(planned.recipe.data), planned.recipe
    in_messages = is_asked_in_messages(run, planned, outline.tokenizer.chat_template is not None)
    with complete_directory(to) as partial:
        _copy(run, stage, source, partial, trust_remote_code)
        _write_card(run, planned, partial)
        if gguf is not None:
            write_gguf(partial, partial / GGUF, gguf.kind, gguf.converter)
        served = f"./{GGUF}" if gguf else "."
        text, notes = modelfile(form, in_messages, served, recipe.rollout.temperature)
        if text is not None:
            (partial / MODELFILE).write_text(text, encoding="utf-8")
    return Exported(to, _names(to), notes)


def export_reward_model(run: RunDirectory, stage: str, to: Path, trust_remote_code: bool = False) -> Exported:
    """A reward model: a directory for AutoModelForSequenceClassification, with the scale of its score.

    Of several members it is the model of their averaged weights. Errors as `export_model`.
    """
    planned, source = planned_stage(run, stage), run.stage(stage).model
    load_config(result_of(run, stage, trust_remote_code), fetch=False)
    if not trust_remote_code:
        _refuse_code(source)
    with complete_directory(to) as partial:
        _copy(run, stage, source, partial, trust_remote_code)
        _write_card(run, planned, partial)
    return Exported(to, _names(to), [])


def export_adapter(run: RunDirectory, stage: str, to: Path, is_pushed: bool = False) -> Exported:
    """The adapter alone, for who has the base.

    Raises:
        ModelError: there is none, or it belongs to what others have not: what another stage of the run made, or, where
            it is pushed, a directory of this machine.
        RunError: as `export_model`.
    """
    planned, source = planned_stage(run, stage), run.stage(stage).adapter
    settings = read_settings(source / ADAPTER)
    if settings is None:
        hint = "Export the model: leave out --adapter."
        raise ModelError("has no adapter.", code="model/nothing-adapted", where=str(source.parent), hint=hint)
    base = settings.get("base_model_name_or_path")
    is_here = isinstance(base, str) and Path(base).is_absolute()
    if not isinstance(base, str) or (is_here and is_pushed):
        where = f"a directory of this machine, {base}," if is_here else "a part of the run,"
        what = f"belongs to a model that is {where} so nobody else could load it."
        hint = "Export the model, which is whole: leave out --adapter."
        raise ModelError(what, code="model/base-not-shared", where=str(source), hint=hint)
    _refuse_code(source)
    with complete_directory(to) as partial:
        _copy(run, stage, source, partial, trusted=False)
        _write_card(run, planned, partial)
    notes = [f"It names its base by a directory of this machine, {base}."] if is_here else []
    return Exported(to, _names(to), notes)


def _write_card(run: RunDirectory, planned: Planned, directory: Path) -> None:
    write_export_card(directory, read_run(run.root), planned.name, planned.recipe)


def _copy(run: RunDirectory, stage: str, source: Path, to: Path, trusted: bool) -> None:
    """What is handed on of a result's files, each as it was recorded. RunError where one is not."""
    record = run.lineage.record(stage)
    known = (record.files if record else None) or {}
    for file in _handed_on(source, trusted):
        copy = to / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        name = file.relative_to(run.stage(stage).root).as_posix()
        if known.get(name) != sha256_file(copy) and not _matches(file.name, EDITED):
            what = "is not as its stage left it, so the figures of the run may not be of this model."
            hint = "Put it back as it was, or run the stage again."
            raise RunError(what, code="run/changed-result", where=str(file), hint=hint)


def _handed_on(source: Path, trusted: bool) -> list[Path]:
    kinds = (*KEPT, CODE) if trusted else KEPT
    files = (file for file in source.rglob("*") if file.is_file())
    return sorted(file for file in files if _matches(file.name, kinds) and not file.name.startswith("."))


def _refuse_code(source: Path) -> None:
    """Whoever loads the export may trust it: what runs then is not handed on unread."""
    code = [name for name in code_of(source) if name.endswith(".py") or "auto_map" in name]
    if code:
        what = f"brings Python code along ({', '.join(code)}), which would run where the export is loaded with trust."
        hint = "Read that code. If you trust it as it is, add --trust-remote-code."
        raise ModelError(what, code="model/hands-on-code", where=str(source), hint=hint)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _names(directory: Path) -> list[str]:
    return sorted(file.relative_to(directory).as_posix() for file in directory.rglob("*") if file.is_file())
