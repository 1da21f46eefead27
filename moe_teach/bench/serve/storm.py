"""The storm of `moe-teach bench serve --faults`, against a server process."""

import asyncio
import tempfile
from pathlib import Path

from moe_teach.bench.serve.faults import Report, Storm
from moe_teach.bench.serve.oracle import right_answers
from moe_teach.bench.serve.peers import OURS, running
from moe_teach.bench.table import written
from moe_teach.train.shipped import DEFAULT, load_shipped

_TOKENS, _SLOTS = 24, 8


def storm(n_requests: int) -> int:
    """Send the storm, print what came of it, and return 1 if anything was wrong."""
    model, tokenizer, _ = load_shipped()
    answers = right_answers(model, tokenizer, _TOKENS)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), (OURS,), _SLOTS, 1) as (ours,),
        ours.awake(),
    ):
        asking = Storm(f"http://127.0.0.1:{ours.port}", DEFAULT, answers, model.config.max_seq_len)
        report = asyncio.run(asking.run(n_requests, at_once=100))
    _tell(report)
    return 1 if report.wrong else 0


def _tell(report: Report) -> None:
    print(f"{report.n_sent} requests; told {report.n_busy} times to come back later.")
    rows = [(outcome, str(count)) for outcome, count in sorted(report.outcomes.items())]
    print(written(("what was sent, and what came of it", "requests"), rows, markdown=False))
    print(f"{len(report.wrong)} wrong.", *report.wrong, sep="\n")
