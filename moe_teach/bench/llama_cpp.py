"""llama.cpp at work on a GGUF file, in this process: what it makes of token ids.

It is the peer that exported files are compared with. Its server comes with the `xllamacpp` wheel.
Three of its defaults would hide what is asked for, so they are changed here: keys and values are
kept in float32 (in float16 the answers differ by 3e-3), flash attention is off, and no answer is
continued from the one before. All settings are those of one short text after another.
"""

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moe_teach.config import refuse


class LlamaCpp:
    """A GGUF file opened by llama.cpp.

    Raises:
        ValueError: `xllamacpp` is not installed, or llama.cpp does not open the file.
    """

    def __init__(self, file: Path | str, n_context: int = 256, n_threads: int = 1) -> None:
        try:
            self._server = _serve(Path(file), n_context, n_threads)
        except ImportError as problem:
            raise ValueError(
                "llama.cpp is not here: install xllamacpp (there are wheels for Linux, macOS and "
                "Windows)."
            ) from problem
        except RuntimeError as problem:
            raise ValueError(f"llama.cpp does not open {file}: {problem}") from problem

    def log_probs(self, token_ids: Sequence[int], harmless: int = 0) -> Float[Tensor, " V"]:
        """Return the log-probability of every token of the vocabulary to come next.

        `harmless` is a token that llama.cpp is made to write here: it keeps the numbers to itself
        where it would write a piece of a character. The numbers are those before that wish.
        """
        answer = self._ask(
            "/completion",
            prompt=list(token_ids),
            n_predict=1,
            n_probs=1 << 20,
            temperature=0,
            logit_bias=[[harmless, 1e4]],
            cache_prompt=False,
            ignore_eos=False,
        )
        listed = answer["completion_probabilities"]
        refuse(not listed, f"llama.cpp gave no probabilities: token {harmless} is not harmless.")
        top = listed[0]["top_logprobs"]
        ids = torch.tensor([entry["id"] for entry in top])
        log_probs = torch.full((int(ids.max()) + 1,), torch.nan, dtype=torch.double)
        values = torch.tensor([entry["logprob"] for entry in top], dtype=torch.double)
        return log_probs.scatter(0, ids, values)

    def greedy(self, token_ids: Sequence[int], n_tokens: int) -> list[int]:
        """Return the most probable continuation."""
        answer = self._ask(
            "/completion",
            prompt=list(token_ids),
            n_predict=n_tokens,
            temperature=0,
            ignore_eos=False,
            return_tokens=True,
            cache_prompt=False,
        )
        return answer["tokens"]

    def sampled_seconds(self, token_ids: Sequence[int], n_tokens: int, seed: int = 0) -> float:
        """Draw a continuation from the whole vocabulary, and return the seconds each token took."""
        answer = self._ask(
            "/completion",
            prompt=list(token_ids),
            n_predict=n_tokens,
            samplers=["temperature"],
            temperature=1.0,
            seed=seed,
            ignore_eos=True,
            cache_prompt=False,
        )
        timings = answer["timings"]
        refuse(
            timings["predicted_n"] != n_tokens,
            f"llama.cpp stopped after {timings['predicted_n']} of {n_tokens} tokens.",
        )
        return timings["predicted_ms"] / 1000.0 / n_tokens

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        return self._ask("/tokenize", content=text)["tokens"]

    def chat_prompt(self, messages: list[dict[str, str]]) -> str:
        """Return the text that the file's chat template makes of a conversation."""
        return self._ask("/apply-template", messages=messages)["prompt"]

    def _ask(self, path: str, **body: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            self._server.listening_address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def _serve(file: Path, n_context: int, n_threads: int) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx = n_context
    params.n_parallel = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.warmup = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = n_threads
    params.verbosity = 0
    return xllamacpp.Server(params)
