"""Stored outputs as pages want them: pictures and programs in files of their own, texts kept.

A figure carries its alternative text in the metadata of its output, where the tools that make pages
do not look; a widget's static twin carries its whole program, which pages of a site can share.
"""

import base64
import hashlib
import json
import re
import struct
from dataclasses import dataclass
from html import escape
from typing import Any

from moe_teach.course.authoring.site.plan import text_of

_TWIN = re.compile(
    r'<div class="moe-twin (?P<classes>[^"]*)" data-moe-twin="(?P<digest>\w+)">\n(?P<still>.*?)'
    r'\n<script>\n.*startTwin\("(?P=digest)", (?P<payload>\{.*\})\);\n\}\)\(\);\n</script>\n</div>',
    re.DOTALL,
)
_RUN_ME = re.compile(r"<p><em>This figure is interactive where scripts may run:.*?</em></p>")
_SCRIPTS_NEEDED = "<p><em>This figure is interactive where scripts may run.</em></p>"
Files = dict[str, bytes]  # by path under the site's static folder


@dataclass(frozen=True)
class Shown:
    """HTML for a page, with the shared files that it asks for."""

    html: str
    files: Files


def figure(bundle: dict[str, Any], metadata: dict[str, Any], static: str) -> Shown:
    """Show a stored picture from a file, with its alternative text.

    `static` is the way from the page to the static folder. Raises `ValueError` without a text.
    """
    alt = metadata.get("image/png", {}).get("alt", "")
    if not alt:
        raise ValueError(
            "A stored figure has no alternative text. Show it with `show_figure`, which asks for "
            "one, and run the lesson again."
        )
    png = base64.b64decode(text_of(bundle["image/png"]))
    width, height = struct.unpack(">II", png[16:24])
    name = f"figures/{_digest(png)}.png"
    image = (
        f'<div class="moe-site-picture"><img src="{static}/{name}" alt="{escape(alt)}" '
        f'width="{width}" height="{height}" loading="lazy"></div>'
    )
    return Shown(image, {name: png})


def is_twin(html: str) -> bool:
    """Say whether a piece of stored HTML is a widget's static twin."""
    return html.startswith('<div class="moe-twin')


def twin(html: str, static: str) -> Shown:
    """Show a static twin whose program lies in a file that other twins may share.

    Raises `ValueError` where the stored HTML is not what `CourseWidget.html` writes.
    """
    found = _TWIN.fullmatch(html.strip())
    if not found:
        raise ValueError(
            "A stored widget is not written as `CourseWidget.html` writes it now. Run the lesson "
            "again, or teach moe_teach.course.authoring.site.outputs the new form."
        )
    payload = json.loads(found["payload"])
    program = {part: payload.pop(part) for part in ("name", "esm", "css")}
    text = json.dumps(program, sort_keys=True)
    code = f"{program['name']}-{_digest(text.encode())}"
    state = json.dumps(payload, sort_keys=True).replace("<", "\\u003c")
    still = _RUN_ME.sub(_SCRIPTS_NEEDED, found["still"])
    page = (
        f'<div class="moe-twin {found["classes"]}" data-moe-twin="{found["digest"]}" '
        f'data-moe-code="{code}">\n{still}\n'
        f'<script type="application/json">{state}</script>\n</div>\n'
        f'<script defer src="{static}/widgets/{code}.js"></script>'
    )
    # twins.js may come later on the page: all deferred scripts run before this event.
    start = f'() => startTwins("{code}", {text})'
    program_file = f'document.addEventListener("DOMContentLoaded", {start});\n'
    return Shown(page, {f"widgets/{code}.js": program_file.encode()})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:10]
