"""Links between pages: inside the site where the page is there, to the repository elsewhere."""

import posixpath
import re
from collections.abc import Collection

# Code comes first: `kernel[grid](x)` is no link.
_LINK = re.compile(
    r"^```.*?^```|`[^`\n]+`|(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))",
    re.MULTILINE | re.DOTALL,
)
_BADGE = re.compile(r"\[!\[([^\]]+)\]\([^)]+\)\]\(([^)]+)\)")
_BADGE_LINE = re.compile(rf"^{_BADGE.pattern}(?: {_BADGE.pattern})*$", re.MULTILINE)


class Links:
    """Mends the links of a page for the site; `pages` are its files, as paths under the root."""

    def __init__(self, pages: Collection[str], url: str) -> None:
        self.pages = frozenset(pages)
        self.url = url

    def mend(self, text: str, page: str) -> str:
        """Lead relative links of a page's Markdown to the repository where the site lacks them."""

        def target(found: re.Match[str]) -> str:
            return self._target(found[1], found[2] or "", page) if found[1] else found[0]

        return _LINK.sub(target, text)

    def buttons(self, text: str, page: str) -> str:
        """Put buttons of plain text for the line of badges, whose pictures lie on other servers."""
        return _BADGE_LINE.sub(lambda line: self._row(line[0], page), text, count=1)

    def file(self, path: str) -> str:
        """Address a file or a folder of the repository."""
        kind = "blob" if posixpath.splitext(path)[1] or "/" not in path else "tree"
        return f"{self.url}/{kind}/main/{path}"

    def _target(self, target: str, anchor: str, page: str) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
        return target + anchor if path in self.pages else self.file(path) + anchor

    def _row(self, badges: str, page: str) -> str:
        shown = [*_BADGE.findall(badges), ("The notebook on GitHub", self.file(page))]
        links = (f'<a class="moe-site-button" href="{url}">{name}</a>' for name, url in shown)
        return f'<p class="moe-site-open">{"".join(links)}</p>'
