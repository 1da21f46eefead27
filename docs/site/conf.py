"""Sphinx's settings for the course as pages. `make site` prepares the source and calls it."""

import re
import shutil
import tomllib
from pathlib import Path

import sphinxcontrib.katex as katex
from sphinx.application import Sphinx
from sphinxcontrib.katex import KaTeXServer

from moe_teach.course.authoring.site.docstrings import as_rst, readable_signature

SITE = Path(__file__).parent
ROOT = SITE.parents[1]
KATEX = SITE / "node_modules/katex/dist"
FETCHED = ROOT / "build/site/fetched"

metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
project = metadata["name"].replace("-", "_")
release = version = metadata["version"]
author = "the authors of moe_teach"
project_copyright = f"{author}, Apache-2.0"
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.katex",
]
exclude_patterns = ["_static"]

# Notebooks are stored with their outputs, and nothing is run for a page.
nb_execution_mode = "off"
nb_code_prompt_show = "Show the {type} of the set-up cell"
nb_code_prompt_hide = "Hide the {type} of the set-up cell"
nb_ipywidgets_js = {}  # the widgets of the course bring what they need
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

napoleon_use_ivar = True  # a field has its entry already
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
add_module_names = False
toc_object_entries = False
python_use_unqualified_type_names = True


def fetched_katex() -> Path:
    """Gather of KaTeX what a page asks for: its style and one format of its fonts."""
    if not KATEX.is_dir():
        raise FileNotFoundError(f"{KATEX} is missing. Type `make site`, which fetches it once.")
    (FETCHED / "katex/fonts").mkdir(parents=True, exist_ok=True)
    shutil.copy2(KATEX / "katex.min.css", FETCHED / "katex")
    for font in (KATEX / "fonts").glob("*.woff2"):
        shutil.copy2(font, FETCHED / "katex/fonts")
    return FETCHED


# A socket in a file is looked for before anybody listens at it; one in the network is waited for.
KaTeXServer.start_server_process = KaTeXServer.start_network_socket
katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 60.0  # a busy machine is no fault
katex_prerender = True  # formulas are set when the site is built, not on a reader's machine
katex_js_path = str(KATEX / "katex.min.js")
katex_css_path = "katex/katex.min.css"

html_theme = "furo"
html_title = "moe_teach"
html_static_path = ["static", str(fetched_katex()), str(ROOT / "build/site/source/_static")]
html_css_files = ["course.css"]
html_js_files = [("twins.js", {"defer": ""}), ("page.js", {"defer": ""})]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_favicon = "static/favicon.svg"
pygments_style = "github-light-high-contrast"
pygments_dark_style = "github-dark-high-contrast"
# No paging by arrow keys: they move what a widget lets one move.
html_theme_options = {
    "source_repository": metadata["urls"]["Repository"],
    "top_of_page_buttons": [],
    "light_css_variables": {
        "color-brand-primary": "#005a8e",
        "color-brand-content": "#00629b",
        "color-brand-visited": "#6b4a86",
        "color-api-name": "#00629b",
        "color-api-pre-name": "#565d6b",
    },
    "dark_css_variables": {
        "color-brand-primary": "#8ccbf2",
        "color-brand-content": "#8ccbf2",
        "color-brand-visited": "#c9aee0",
        "color-api-name": "#8ccbf2",
        "color-api-pre-name": "#a9b0be",
    },
}


# What the theme and the reader of notebooks leave out of what screen readers are told.
MENDED = {
    'class="caption" role="heading"': 'class="caption" role="heading" aria-level="2"',
    ' aria-label="Toggle hidden content"': "",  # the words of the line say more
}


# A long signature is written as a list of descriptions without terms.
SIGNATURE = re.compile(r"<dl>\n(<dd><em.*?)</dl>", re.DOTALL)


def lines_of(signature: re.Match[str]) -> str:
    """Write the parameters of a signature as lines, which may stand inside a term."""
    lines = signature[1].replace("<dd>", '<span class="moe-site-parameter">')
    return lines.replace("</dd>", "</span>")


def translate(*about: object) -> None:
    """Read docstrings for what they are, before napoleon reads their sections."""
    lines = about[-1]
    lines[:] = as_rst(lines)


def simplify(*about: object) -> tuple[str | None, str | None]:
    """Keep what a signature shows to what Sphinx can take apart."""
    signature, returned = (None if part is None else str(part) for part in about[-2:])
    return signature and readable_signature(signature), returned


def mend(
    _app: Sphinx, _page: str, _template: str, context: dict[str, object], _tree: object
) -> None:
    """Mend the HTML of a page and of its navigation."""
    for part in ("body", "furo_navigation_tree"):
        for wrong, right in MENDED.items():
            context[part] = str(context.get(part, "")).replace(wrong, right)
    context["body"] = SIGNATURE.sub(lines_of, str(context["body"]))


def setup(app: Sphinx) -> None:
    """Put all where Sphinx calls them; the navigation is the theme's, which has to come first."""
    app.connect("autodoc-process-docstring", translate, priority=100)
    app.connect("autodoc-process-signature", simplify)
    app.connect("html-page-context", mend, priority=900)
