"""What an exported model's README.md says beyond that of the run: verdict, data by content, licence of the base."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from truing.config.recipe import Recipe
from truing.core.text import code_span, markdown
from truing.models.fetched import directory_of
from truing.models.model_card import MEASURED
from truing.report.change import Outcome
from truing.report.run_files import RunFiles
from truing.report.stages import policies
from truing.report.verdict import Verdict, verdicts

CARD = "README.md"
LICENCE_KEYS = ("license", "license_name", "license_link")
UNKNOWN_LICENCE = (
    "What licence the base has is not on this machine: read its page before you pass this on, since it is that of what "
    "was made of it too."
)
MADE_UP = "The base was made up by truing: no licence but truing's own is on it."


def write_export_card(directory: Path, run: RunFiles, stage: str, recipe: Recipe) -> None:
    """Adds to the README.md that lies there what somebody has to know who gets the directory alone."""
    file = directory / CARD
    card = ModelCard(file.read_text(encoding="utf-8") if file.is_file() else f"# {markdown(run.name)}\n")
    licence = licence_of(recipe)
    base = None if recipe.base is None or Path(recipe.base.path).is_dir() else recipe.base.path
    front = licence | ({"base_model": base} if base else {})
    for key, value in front.items():
        setattr(card.data, key, value)
    judged = next((one for one, made in zip(verdicts(run), policies(run), strict=False) if made.name == stage), None)
    sections = [
        card.text.rstrip(),
        *(["## Verdict", "\n\n".join(_verdict(judged, card.text))] if judged else []),
        *_data(run.lineage.facts["inputs"]),
        "## Licence",
        _licence(licence, recipe),
    ]
    card.text = "\n\n".join(sections) + "\n"
    file.write_text(str(card), encoding="utf-8")


def licence_of(recipe: Recipe) -> dict[str, str]:
    """What the base's own card says of its licence, where that card is on this machine."""
    source = directory_of(recipe.base) if recipe.base else None
    if source is None or not (source / CARD).is_file():
        return {}
    try:
        known = vars(ModelCard((source / CARD).read_text(encoding="utf-8")).data)
    except ValueError:  # its front matter is no YAML, or it is no text
        return {}
    return {key: known[key] for key in LICENCE_KEYS if isinstance(known.get(key), str)}


def _verdict(found: Verdict, above: str) -> Iterator[str]:
    """As the report has it, but for what the card says `above`: that of a whole model has figures, with limits."""
    yield f"**{markdown(found.headline)}**"
    told = [markdown(text) for text in (*found.guard, *found.findings, *found.warnings)]
    yield from (text for text in told if text not in above)
    if found.measured and MEASURED not in above:
        yield "\n".join(map(_outcome, found.measured))


def _outcome(one: Outcome) -> str:
    before, after, by = (" ".join(filter(None, part)) for part in (one.before, one.after, one.difference))
    return f"- {markdown(one.title)}: {before} → {after}{f' ({by})' if by else ''}"


def _data(inputs: Mapping[str, Any]) -> Sequence[str]:
    """The rows of the run by name and content."""
    rows = {name: found for name, found in inputs.items() if name.startswith("data.")}
    if not rows:
        return []
    lines = [
        f"| {markdown(name.removeprefix('data.'))} | {code_span(_file(found))} | {code_span(_content(found))} |"
        for name, found in rows.items()
    ]
    return ["## Data", "\n".join(["| rows | file or Hub id | SHA-256 or revision |", "|---|---|---|", *lines])]


def _file(found: Mapping[str, Any]) -> str:
    return Path(str(found["path"])).name if "path" in found else str(found.get("hub", "?"))


def _content(found: Mapping[str, Any]) -> str:
    return str(found.get("sha256") or found.get("revision") or "not on record")


def _licence(licence: Mapping[str, str], recipe: Recipe) -> str:
    if recipe.world is not None:
        return MADE_UP
    told = ", ".join(code_span(value) for value in licence.values())
    return f"The base's own card names {told}; it holds for what was made of it too." if told else UNKNOWN_LICENCE
