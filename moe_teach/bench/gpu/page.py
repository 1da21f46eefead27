"""The record as a page for readers: what is right, how fast it is, and what is not known."""

from collections.abc import Iterable, Iterator

from moe_teach.bench.gpu.record import Record
from moe_teach.bench.gpu.step import Row
from moe_teach.bench.table import written

_TITLES = {
    "kernels": "The routed experts",
    "layer": "The whole layer, its router included",
    "rivals": "Specialists' packages",
}
_TIMED = (
    "model",
    "tokens",
    "routing",
    "step",
    "contender",
    "ms",
    "% of dense",
    "% of bandwidth",
    "peak MiB",
)
_NO_TIME = "No step of this kind was done."


def page(record: Record) -> str:
    """Write everything that a reader wants to know, in Markdown."""
    parts = [
        *_head(record),
        *_steps(record),
        *_correct(record),
        *_limits(record),
        *(line for kind in _TITLES for line in _timings(record, kind)),
        *_tuning(record),
        *_left_out(record),
    ]
    return "\n\n".join(parts) + "\n"


def _head(record: Record) -> Iterator[str]:
    device = record.device
    yield f"# {device.get('name', 'No device')}"
    if record.subject.get("toy"):
        yield (
            "**These are not GPU numbers**: every kernel ran in Triton's interpreter, one program "
            "after another, to try the code of this command."
        )
    yield _list({**device, **record.machine, "kernels": record.subject.get("kernels", "?")})
    runs = [
        f"- `{run['command']}` on {run['date']}, {run.get('seconds', 0):.0f} s"
        for run in record.runs
    ]
    yield "\n".join(runs)


def _list(facts: dict) -> str:
    """Name facts in one line; packages that are not there are left out."""
    known = [f"{key} {value}" for key, value in facts.items() if value != "not installed"]
    return ", ".join(known) + "."


def _steps(record: Record) -> Iterator[str]:
    """List what was asked and how it ended."""
    yield "## What was done"
    rows = [
        (done.name, done.verdict, f"{done.seconds:.0f}", _cell(done.problem))
        for done in record.steps
        if done.kind != "prepare" or done.verdict != "passed"
    ]
    yield _table(("step", "verdict", "s", "problem"), rows)


def _correct(record: Record) -> Iterator[str]:
    """Give for each operation and dtype the worst error, and which kernels were launched."""
    yield "## Is every kernel right?"
    yield (
        "Compared with the operation's definition in float64. An error is the largest difference "
        "in parts of the largest number."
    )
    rows = [row for row in record.rows("correct") if "error" in row]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["operation"], row["dtype"]), []).append(row)
    lines = []
    for (operation, dtype), members in groups.items():
        wrong = sum(row["verdict"] == "wrong" for row in members)
        worst = max(members, key=_badness)
        where = f"{worst['of']}, {worst['shape']}, {worst['routing']}"
        error = worst["error"] if isinstance(worst["error"], str) else f"{worst['error']:.1e}"
        numbers = (str(len(members)), str(wrong), error, f"{worst['allowed']:.0e}")
        lines.append((operation, dtype, *numbers, where))
    header = ("operation", "type", "compared", "wrong", "worst error", "allowed", "where")
    yield _table(header, lines)
    launched = {name for row in record.rows("correct") for name in row.get("launched", ())}
    every = {name for row in record.rows("correct") for name in row.get("kernels", ())}
    yield f"Launched: {_names(launched)}. Never launched: {_names(every - launched)}."
    for row in record.rows("correct"):
        if "graphs" in row:
            yield f"`torch.compile` makes {row['graphs']} graphs of a layer."


def _names(kernels: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(kernels)) or "none"


def _badness(row: Row) -> float:
    """Order errors; one that is no number is the worst."""
    return float("inf") if isinstance(row["error"], str) else row["error"] / row["allowed"]


def _limits(record: Record) -> Iterator[str]:
    yield "## The card's own limits"
    units = {"bytes/s": (1e-9, "GB/s"), "flop/s": (1e-12, "Tflop/s"), "s": (1e6, "µs")}
    rows = []
    for row in record.rows("limits"):
        factor, unit = units[row["unit"]]
        rows.append((row["what"], f"{factor * row['value']:.1f} {unit}"))
    yield _table(("what", "measured"), rows)


def _timings(record: Record, kind: str) -> Iterator[str]:
    yield f"## {_TITLES[kind]}"
    yield _table(_TIMED, [_timed(row) for row in record.rows(kind)])


def _timed(row: Row) -> tuple[str, ...]:
    shape = row["shape"]
    what = (row["model"], str(shape["n_tokens"]), row["routing"], row["step"], row["contender"])
    if "problem" in row:
        return (*what, "not measured: " + _cell(row["problem"]), "", "", "")
    share = f"{100 * row['bandwidth_share']:.1f}" if row["step"] == "decode" else ""
    peak = f"{row['peak_bytes'] / 2**20:.0f}" if row["peak_bytes"] else ""
    ms = f"{1e3 * row['seconds']:.3f}" + (f" (doubtful: {row['doubt']})" if "doubt" in row else "")
    return (*what, ms, f"{100 / row['ratio']:.1f}", share, peak)


def _tuning(record: Record) -> Iterator[str]:
    yield "## Block sizes"
    yield "Beside the table's own, the best that was found, in parts of the table's time."
    header = ("model", "tokens", "work", "in the table", "best", "of its time", "tried")
    rows = [
        (
            row["model"],
            str(row["shape"]["n_tokens"]),
            row["work"],
            _blocks(row["table"]),
            _blocks(row["best"]) if row["best"] != row["table"] else "the same",
            f"{row['ratio']:.2f}",
            str(row["n_tried"]),
        )
        for row in record.rows("tune")
        if "best" in row
    ]
    yield _table(header, rows)


def _blocks(tiles: dict) -> str:
    sizes = "x".join(str(tiles[name]) for name in ("block_m", "block_n", "block_k"))
    return f"{sizes}, {tiles['num_warps']} warps, {tiles['num_stages']} stages"


def _left_out(record: Record) -> Iterator[str]:
    if not record.left_out:
        return
    yield "## Left out"
    yield "\n".join(f"- {item['name']}: {item['reason']}" for item in record.left_out)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = list(rows)
    return written(header, lines, markdown=True) if lines else _NO_TIME


def _cell(text: str) -> str:
    """Keep a sentence from breaking out of its cell."""
    return " ".join(text.replace("|", "/").split())
