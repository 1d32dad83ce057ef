"""The navigation is what an index shows: home's headings are the parts and its links their pages, in order."""

import re
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

PAGE = re.compile(r"^- \[([^]]+)\]\(([^)#:]+)\.md\)", re.MULTILINE)


def add_toctrees(app: Sphinx, docname: str, content: list[str]) -> None:
    if docname.endswith("/index"):
        content[0] += "".join(toctrees(content[0]))


def toctrees(home: str) -> Iterator[str]:
    for part in home.split("\n## ")[1:]:
        pages = PAGE.findall(part)
        if pages:
            entries = "".join(f"{name} <{page}>\n" for name, page in pages)
            yield f"\n```{{toctree}}\n:hidden:\n:caption: {part.splitlines()[0]}\n\n{entries}```\n"


def lead_home(app: Sphinx, error: Exception | None) -> None:
    """The top of the site leads to home, which is a page of docs/."""
    home = f"{app.config.root_doc}.html"
    text = (
        f'<!doctype html><meta charset="utf-8"><title>truing</title><meta http-equiv="refresh" content="0; url={home}">'
    )
    if error is None:
        (Path(app.outdir) / "index.html").write_text(f'{text}<a href="{home}">truing</a>\n', encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", add_toctrees, priority=400)
    app.connect("build-finished", lead_home)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
