"""How the site is built: `make docs`, or sphinx-build -c docs/site . site. Nothing is fetched, a warning is a failure.

The pages stay where a code host shows them, so the source directory is the project's own: a link that works there works
here. Home is docs/index.md.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "src")]

from truing import __version__  # noqa: E402

project, release = "truing", __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "code_pages", "navigation", "formulas", "docstrings"]
root_doc = "docs/index"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**.md", "benchmarks/README.md"]
exclude_patterns = ["docs/site", ".venv", "runs", "site", "tests", "src"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # `page.md#a-heading`, as code hosts make them
myst_url_schemes = ["http", "https", "mailto", "code"]  # the last: what code_pages marks
nitpicky = True
suppress_warnings = ["myst.header"]  # a page may begin at its second level: README's pictures come first

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 80
add_module_names = False
nitpick_ignore_regex = [("py:.*", ".*")]  # types of tensors, which have no page here

html_theme = "furo"
html_title = "truing"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = html_show_copyright = False
html_math_renderer = "mathml"
highlight_language = "none"  # of a block that names none: a shell, mostly
pygments_style, pygments_dark_style = "friendly", "github-dark"
