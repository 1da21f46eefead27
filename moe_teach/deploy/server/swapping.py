"""One expert of the model replaced between two steps, while the others speak, and taken back."""

import asyncio
from pathlib import Path
from typing import Any

import safetensors.torch
from fastapi import FastAPI, Request
from safetensors import SafetensorError
from torch import Tensor

from moe_teach.deploy.engine.engine import Engine
from moe_teach.deploy.server.refusals import BAD_REQUEST, NOT_FOUND, Refusal, demand
from moe_teach.deploy.server.service import Service
from moe_teach.types import ExpertWeights

_MATRICES = ("w_up", "w_down", "w_gate")


def add_swapping(app: FastAPI, service: Service) -> None:
    """Add the addresses under `/admin`, which the guard opens for those with the key."""

    @app.post("/admin/experts/{layer}/{expert}")
    async def replace(layer: int, expert: int, request: Request) -> dict[str, Any]:
        """Take the body, a safetensors file, or the file named by `?file=`, as the expert."""
        service.demand_open()
        name = request.query_params.get("file")
        content = await request.body() if name is None else await _stored(service, name)
        weights = await asyncio.to_thread(_weights, content)
        return await _changed(service, lambda engine: engine.replace_expert(layer, expert, weights))

    @app.post("/admin/roll-back")
    async def roll_back() -> dict[str, Any]:
        service.demand_open()
        return await _changed(service, Engine.roll_back)


async def _changed(service: Service, change: Any) -> dict[str, Any]:
    try:
        version = await service.worker.between_steps(change)
    except ValueError as problem:
        raise Refusal(BAD_REQUEST, str(problem)) from problem
    fingerprint = service.demand_open().fingerprint(version)
    return {"version": version, "system_fingerprint": fingerprint}


async def _stored(service: Service, name: str) -> bytes:
    folder = service.options.experts
    demand(
        folder is not None,
        "This server takes no experts from files: start it with --experts FOLDER, or send the "
        "file as the body.",
    )
    file = Path(folder, name)
    demand(
        file.name == name,
        f"file must be the name of a file, without folders, not {name!r}.",
        param="file",
    )
    if not file.is_file():
        raise Refusal(NOT_FOUND, f"There is no file {name!r} in the folder of experts.")
    return await asyncio.to_thread(file.read_bytes)


def _weights(content: bytes) -> ExpertWeights:
    """Read one expert's matrices, (F, D) and (D, F), from a safetensors file."""
    try:
        tensors = safetensors.torch.load(content)
    except SafetensorError as problem:
        raise Refusal(
            BAD_REQUEST,
            f"The expert is not a safetensors file that can be read ({problem}): send one with "
            f"the tensors {', '.join(_MATRICES)}.",
        ) from None
    strange = sorted(set(tensors) - set(_MATRICES))
    demand(not strange, f"An expert has no tensors {', '.join(strange)}; it has {_MATRICES}.")
    missing = sorted({"w_up", "w_down"} - set(tensors))
    demand(not missing, f"The expert lacks {', '.join(missing)}.")
    return ExpertWeights(*(_single(name, tensors.get(name)) for name in _MATRICES))


def _single(name: str, matrix: Tensor | None) -> Tensor | None:
    if matrix is None:
        return None
    shape = tuple(matrix.shape)
    demand(matrix.ndim == 2, f"{name} must be one expert's matrix, but its shape is {shape}.")
    return matrix[None]
