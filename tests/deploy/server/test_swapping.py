"""One expert replaced while the server speaks, and taken back."""

from collections.abc import Iterator

import pytest
import safetensors.torch
import torch

from moe_teach.nn.model import Model
from tests.deploy.server.live import Live, running, tiny_model

ASK = {"model": "tiny", "prompt": "Hello", "max_tokens": 30, "temperature": 0, "ignore_eos": True}


@pytest.fixture
def swapped(tmp_path) -> Iterator[Live]:
    with running(tiny_model(), api_key="k", experts=tmp_path) as server:
        yield server


def an_expert(model: Model, **changed: torch.Tensor | None) -> bytes:
    experts = model.blocks[0].ffn.experts
    tensors = {
        name: 3 * getattr(experts, name).detach()[1].clone().contiguous()
        for name in ("w_up", "w_down", "w_gate")
    }
    tensors |= changed
    return safetensors.torch.save({n: t for n, t in tensors.items() if t is not None})


def said(live: Live, **more: object) -> dict:
    with live.http() as http:
        return http.post("/v1/completions", json=ASK | more).json()


def test_a_swap_changes_answers_and_a_roll_back_brings_the_old_ones_back(swapped: Live) -> None:
    before = said(swapped)
    with swapped.http() as http:
        first = http.post("/admin/experts/0/1", content=an_expert(swapped.model)).json()
        after = said(swapped)
        second = http.post("/admin/roll-back").json()
        again = said(swapped)
        empty = http.post("/admin/roll-back")

    assert (first["version"], second["version"]) == (1, 2)
    assert [one["moe"]["versions"] for one in (before, after, again)] == [[0], [1], [2]]
    assert after["system_fingerprint"].endswith("-v1")
    assert after["choices"][0]["text"] != before["choices"][0]["text"]
    assert again["choices"][0]["text"] == before["choices"][0]["text"]
    assert empty.status_code == 400
    assert "nothing to roll back" in empty.json()["error"]["message"]
    assert swapped.metric("moe_version") == 2


def test_an_expert_comes_from_the_folder_by_its_name(swapped: Live) -> None:
    folder = swapped.service.options.experts
    (folder / "loud.safetensors").write_bytes(an_expert(swapped.model))
    with swapped.http() as http:
        taken = http.post("/admin/experts/0/1?file=loud.safetensors")
        missing = http.post("/admin/experts/0/1?file=quiet.safetensors")
        outside = http.post("/admin/experts/0/1?file=../loud.safetensors")

    assert taken.json()["version"] == 1
    assert (missing.status_code, outside.status_code) == (404, 400)


def test_what_is_no_such_expert_changes_nothing(swapped: Live) -> None:
    model, wide = swapped.model, torch.zeros(17, 16)
    wrong = {
        "/admin/experts/0/1": [
            (b"no tensors", "not a safetensors file"),
            (an_expert(model, w_up=None), "lacks w_up"),
            (an_expert(model, w_gate=None), "w_gate is missing"),
            (an_expert(model, w_up=wide), "shape"),
            (an_expert(model, w_up=torch.full((16, 16), torch.nan)), "infinite or NaN"),
            (an_expert(model, w_up=torch.zeros(2, 16, 16)), "one expert's matrix"),
            (an_expert(model, w_side=wide), "no tensors w_side"),
        ],
        "/admin/experts/0/4": [(an_expert(model), "numbered 0 to 3")],
        "/admin/experts/2/0": [(an_expert(model), "There is no MoE layer 2")],
        "/admin/experts/first/0": [(an_expert(model), "whole number")],
    }
    before = said(swapped)
    with swapped.http() as http:
        for path, cases in wrong.items():
            for content, sentence in cases:
                answer = http.post(path, content=content)
                assert answer.status_code == 400
                assert sentence in answer.json()["error"]["message"]

    after = said(swapped)
    assert after["moe"]["versions"] == [0]
    assert after["choices"][0]["text"] == before["choices"][0]["text"]


def test_a_server_without_a_key_lets_nobody_swap(live: Live) -> None:
    with live.http() as http:
        answer = http.post("/admin/roll-back")

    assert answer.status_code == 403
    assert "--api-key" in answer.json()["error"]["message"]


def test_a_text_that_is_being_written_names_every_version_it_met(swapped: Live) -> None:
    with (
        swapped.http() as http,
        http.stream("POST", "/v1/completions", json=ASK | {"stream": True, "max_tokens": 120}) as s,
    ):
        lines = s.iter_lines()
        first = next(lines)
        with swapped.http() as other:
            other.post("/admin/experts/0/1", content=an_expert(swapped.model))
        rest = list(lines)

    assert '"version":0' in first
    assert '"version":1' in "".join(rest)
