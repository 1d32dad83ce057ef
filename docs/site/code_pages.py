"""Links to code lead to pages of that code: ../src/truing/x.py#L9 to code/src/truing/x.py.html#L9, with line 9 marked.

Only what a page links has a page. A link whose file is not there is left as it is, and fails the build.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from os.path import relpath
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.application import Sphinx

LINK = re.compile(r"\]\((?!\w+:|#)(?P<target>[^)#\s]+)(?P<line>#L\d+)?\)")
PAGES = {".md", ".png", ".svg", ".html"}
"""What has a place on the site of its own"""
SCHEME = "code:"


def mark_links(app: Sphinx, docname: str, content: list[str]) -> None:
    """Links to code get a scheme of their own, before they are taken for downloads."""
    page = Path(app.env.doc2path(docname))

    def marked(link: re.Match[str]) -> str:
        place = code_place(page, link["target"], app.srcdir)
        return link[0] if place is None else f"]({SCHEME}{place}{link['line'] or ''})"

    content[0] = LINK.sub(marked, content[0])


def code_place(page: Path, target: str, root: Path) -> str | None:
    """The path from the project's root of a linked file or folder of code."""
    path = (page.parent / target).resolve()
    if not path.exists() or path.suffix in PAGES or not path.is_relative_to(root):
        return None
    return path.relative_to(root).as_posix()


def lead_links(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """What was marked becomes a link from this page to that of the code."""
    for link in doctree.findall(nodes.reference):
        place, _, line = link.get("refuri", "").partition("#")
        if place.startswith(SCHEME):
            page = page_name(app.srcdir, place.removeprefix(SCHEME)) + ".html"
            link["refuri"] = relpath(page, Path(docname).parent) + (line and f"#{line}")
            link["internal"] = True


def page_name(root: Path, place: str) -> str:
    return f"code/{place}/index" if (root / place).is_dir() else f"code/{place}"


def code_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(name, what the template shows, template) of every linked file, and of every linked folder and its files."""
    waiting = sorted(linked(app))
    seen = set()
    while waiting:
        place = waiting.pop()
        path = app.srcdir / place
        if place in seen:
            continue
        seen.add(place)
        inside = sorted(file.name for file in path.iterdir() if file.is_file()) if path.is_dir() else []
        waiting += [f"{place}/{name}" for name in inside]
        body = listing(inside) if path.is_dir() else listed_code(path)
        context = {"title": place, "body": f'<section class="code-page"><h1>{escape(place)}</h1>\n{body}</section>'}
        yield page_name(app.srcdir, place), context, "page.html"


def linked(app: Sphinx) -> set[str]:
    places = set()
    for docname in app.env.found_docs:
        page = Path(app.env.doc2path(docname))
        found = LINK.finditer(page.read_text(encoding="utf-8"))
        places |= {code_place(page, link["target"], app.srcdir) for link in found}
    return places - {None}


def listing(names: list[str]) -> str:
    lines = (f'<li><a href="{escape(name)}.html"><code>{escape(name)}</code></a></li>' for name in names)
    return "<ul>" + "".join(lines) + "</ul>"


def listed_code(path: Path) -> str:
    """Numbered lines, each with the name by which links know it."""
    try:
        lexer = get_lexer_for_filename(path.name)
    except ClassNotFound:
        lexer = TextLexer()
    formatter = HtmlFormatter(cssclass="highlight", linenos="inline", linespans="L", wrapcode=True)
    return highlight(path.read_text(encoding="utf-8"), lexer, formatter).replace('<span id="L-', '<span id="L')


def share_navigation(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """None of these pages stands in the navigation, so all of a folder show the same: to make it is most of a page."""
    if page.startswith("code/"):
        context["toctree"] = partial(navigation, context["toctree"], app, str(Path(page).parent))


def navigation(make: Callable[..., str], app: Sphinx, folder: str, **options: Any) -> str:
    """What the theme has made of these options for a page of the folder, or what was made for another one there."""
    key = (id(app), folder, *sorted(options.items()))
    if key not in _MADE:
        _MADE[key] = make(**options)
    return _MADE[key]


_MADE: dict[tuple[Any, ...], str] = {}


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", mark_links)
    app.connect("doctree-resolved", lead_links)
    app.connect("html-collect-pages", code_pages)
    app.connect("html-page-context", share_navigation, priority=400)  # before the theme's
    return {"parallel_read_safe": True, "parallel_write_safe": True}
