"""Who takes the exported model to transformers gets the engine's answers there."""

from dataclasses import replace

import pytest
import torch

from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.deploy.engine.engine import Engine
from tests.deploy.engine.tiny import ATTENTION, ids, request, served, tiny

MARGIN = 5e-5  # of the likeliest token over the next; the two libraries differ by a tenth at most
PROMPTS = {"a": [3], "b": [5, 6, 7, 8, 9, 10, 11], "c": [1, 2], "d": [28, 0, 14, 3]}


@pytest.mark.parametrize(("layout", "qk_norm"), [("mixtral", "none"), ("qwen3_moe", "head")])
def test_greedy_answers_are_those_of_transformers_generate(layout, qk_norm, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForCausalLM

    model = tiny(attention=replace(ATTENTION, qk_norm=qk_norm)).float()
    export_hf(model, tmp_path / "model", layout)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    engine = Engine(model, n_slots=2, prefill_chunk=3)
    for name, prompt in PROMPTS.items():
        engine.submit(request(name, prompt, max_tokens=10))
    answers = served(engine)
    for name, prompt in PROMPTS.items():
        given = torch.tensor([prompt])
        options = {"max_new_tokens": 10, "do_sample": False, "eos_token_id": None}
        with torch.no_grad():
            text = theirs.generate(given, attention_mask=torch.ones_like(given), **options)
            both = [read(text[:, :-1]).logits[0, len(prompt) - 1 :] for read in (model, theirs)]
        best, second = both[0].topk(2).values.unbind(-1)
        assert (best - second).min() > MARGIN, "no choice of this model is close"
        assert (both[0] - both[1]).abs().max() < MARGIN / 10
        assert ids(answers[name]) == text[0, len(prompt) :].tolist()
