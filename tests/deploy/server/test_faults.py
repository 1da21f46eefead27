"""Good and bad requests side by side: nobody gets a wrong answer, no slot stays behind."""

import asyncio

from moe_teach.bench.serve.faults import Storm
from moe_teach.bench.serve.oracle import right_answers
from moe_teach.data.tokenizer import ByteTokenizer
from moe_teach.nn.model import Model
from tests.deploy.server.live import Live


def test_a_storm_leaves_no_slot_taken_and_no_answer_wrong(model: Model, live: Live) -> None:
    answers = right_answers(model, ByteTokenizer(), 12)
    storm = Storm(live.url, "tiny", answers, model.config.max_seq_len)

    report = asyncio.run(storm.run(120, at_once=24))

    assert report.wrong == []
    assert report.n_sent == 120
