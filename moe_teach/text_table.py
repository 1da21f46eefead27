"""Tables of texts, aligned for a terminal or in Markdown for a page, and counts in words."""

from collections.abc import Collection, Sequence


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table with its columns under each other."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def in_markdown(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()
) -> str:
    """Write a table in Markdown; the columns named in `right` are set flush right."""
    rule = [("---:" if name in right else "---") for name in header]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))


def counted(count: int, noun: str) -> str:
    """Say how many there are of something: 1 file, 2 files."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
