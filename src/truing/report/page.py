"""The page: what is told of a run becomes one self-contained HTML file, and beside it the same in JSON."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from truing.config.yaml_text import write_yaml
from truing.core.text import visible
from truing.report.content import Content, content, plain
from truing.report.run_files import read_run
from truing.report.suspicion import ORDERS
from truing.report.svg import dash_array
from truing.runs.directory import RunDirectory
from truing.runs.files import write_text

MARKS = {"pass": ("good", "✓"), "warn": ("odd", "!"), "fail": ("bad", "✗"), "not measured": ("open", "–")}
"""The class and the mark of a check, by its verdict"""
HERE = Path(__file__).parent
SCRIPT = (HERE / "browser.js").read_text(encoding="utf-8")
"""The one script that the page has, and that its policy allows by this hash"""
SCRIPT_HASH = b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()


def write_report(run: Path) -> Path:
    """Reads the files of a run directory, finished or not, and writes its report.html and report.json.

    Returns:
        The path of the page.

    Raises:
        RunError: the directory holds no run, a file of it is damaged, or the report cannot be written.
    """
    told, directory = content(read_run(run)), RunDirectory(run)
    figures = json.dumps(plain(told), ensure_ascii=False, allow_nan=False)  # in one line: tokens are many
    write_text(directory.report_figures, figures + "\n")
    write_text(directory.report, render(told))
    return directory.report


def render(told: Content) -> str:
    """The page as text."""
    presentation = {
        "marks": MARKS,
        "dashes": [dash_array(series) for series in range(len(told.policies))],
        "yaml": write_yaml,
        "orders": ORDERS,
        "script": Markup(SCRIPT),
        "script_hash": SCRIPT_HASH,
    }
    return fill(HERE / "template.html", vars(told) | presentation)


def fill(template: Path, content: Mapping[str, Any]) -> str:
    """A page, every text in it escaped; beside its own template it may include files of this folder."""
    return _pages(template.parent).get_template(template.name).render(content)


@cache
def _pages(folder: Path) -> Environment:
    """The templates of a folder, which are compiled once."""
    return Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: Any) -> Any:
    """Every piece of text that reaches the page passes here, before it is escaped."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else visible(value)
