"""Python source as coloured HTML that follows the notebook's theme."""

from html import escape

from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String, _TokenType

from moe_teach.course.learner import feedback

# JupyterLab's editor colours where they exist; otherwise mid-tones that read on white and on black.
_COLOURS: tuple[tuple[_TokenType, str], ...] = (
    (Comment, "color: var(--jp-mirror-editor-comment-color, #6f8a91); font-style: italic;"),
    (String, "color: var(--jp-mirror-editor-string-color, #c4574c);"),
    (Number, "color: var(--jp-mirror-editor-number-color, #1a9850);"),
    (Keyword, "color: var(--jp-mirror-editor-keyword-color, #1a9850); font-weight: 600;"),
    (Operator.Word, "color: var(--jp-mirror-editor-keyword-color, #1a9850); font-weight: 600;"),
    (Name.Function, "color: var(--jp-mirror-editor-def-color, #4078c0);"),
    (Name.Class, "color: var(--jp-mirror-editor-def-color, #4078c0);"),
    (Name.Builtin, "color: var(--jp-mirror-editor-builtin-color, #1a9850);"),
    (Name.Decorator, "color: var(--jp-mirror-editor-meta-color, #8a6fd1);"),
)


def python_html(source: str) -> str:
    """Highlight `source`; everything in it is escaped."""
    pieces = []
    for token, text in PythonLexer().get_tokens(source):
        style = _style(token)
        shown = escape(text)
        pieces.append(f'<span style="{style}">{shown}</span>' if style else shown)
    pre = (
        f'<pre style="{feedback.MONOSPACE} margin: 6px 0 0; padding: 6px 10px; overflow-x: auto; '
        # JupyterLab would break lines anywhere, in the middle of a word too.
        "white-space: pre; word-break: normal; overflow-wrap: normal; "
        'background: rgba(128, 128, 128, 0.10); color: inherit; line-height: 1.4;">'
    )
    return f"{pre}{''.join(pieces).rstrip()}</pre>"


def _style(token: _TokenType) -> str:
    return next((style for kind, style in _COLOURS if token in kind), "")
