"""Models written as GGUF against llama.cpp on the files: every architecture, tiny, in seconds.

A case passes when no log-probability of the whole vocabulary differs by 1e-4 after prompts of
several lengths, and the most probable continuation is the same. A wrong pairing of router and
architecture is off by 0.1 to 3 nats; float32 in another order, by less than 1e-5.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from moe_teach.bench.llama_cpp import LlamaCpp
from moe_teach.checkpoint.gguf.export import export_gguf
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.nn.model import Model
from moe_teach.train.shipped import load_shipped

LARGEST = 1e-4
"""The border of the gate, in nats."""
PROMPT_LENGTHS = (1, 2, 7, 33, 100)
N_GREEDY = 16


@dataclass(frozen=True)
class Case:
    """A model to be written, and the architecture that it must find."""

    name: str
    architecture: str
    model: Callable[[], Model]


@dataclass(frozen=True)
class Parity:
    """What came out: the largest difference of a log-probability, and equal greedy tokens."""

    case: str
    architecture: str
    largest: float
    same_tokens: int
    n_tokens: int

    @property
    def passes(self) -> bool:
        """Whether the gate is passed; NaN does not pass."""
        return self.largest < LARGEST and self.same_tokens == self.n_tokens

    def cells(self) -> list[str]:
        """Return the row of a table under `HEADER`."""
        tokens = f"{self.same_tokens}/{self.n_tokens}"
        verdict = "equal" if self.passes else "DIFFERENT"
        return [self.case, self.architecture, f"{self.largest:.1e}", tokens, verdict]


HEADER = ["model", "GGUF architecture", "largest |difference| (nats)", "greedy tokens", "verdict"]


def measure(case: Case) -> Parity:
    """Write one model and compare llama.cpp on the file with the model itself."""
    model = case.model()
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # llama.cpp holds the file
        file = Path(folder) / "model.gguf"
        written = export_gguf(model, file)
        peer = LlamaCpp(file, model.config.max_seq_len)
        return compare(case.name, written.architecture, model, peer)


def measure_all() -> Iterator[Parity]:
    """Measure every case, one after another."""
    yield from map(measure, CASES)


def compare(case: str, architecture: str, model: Model, peer: LlamaCpp) -> Parity:
    """Compare a model with llama.cpp on prompts of several lengths, and one continuation."""
    draws = torch.Generator().manual_seed(0)
    largest = torch.zeros((), dtype=torch.double)
    vocab = model.config.vocab_size
    for length in PROMPT_LENGTHS:
        prompt = torch.randint(1, vocab, (length,), generator=draws)
        difference = peer.log_probs(prompt.tolist(), harmless=vocab // 3) - log_probs(model, prompt)
        largest = torch.maximum(largest, difference.abs().max())  # NaN stays
    start = torch.randint(1, vocab, (7,), generator=draws).tolist()
    theirs = peer.greedy(start, N_GREEDY)
    ours = greedy(model, start, len(theirs))
    same = sum(mine == other for mine, other in zip(ours, theirs, strict=True))
    return Parity(case, architecture, largest.item(), same, len(theirs))


@torch.no_grad()
def log_probs(model: Model, prompt: Tensor) -> Tensor:
    """Return the model's log-probabilities (V,) of the next token."""
    return model(prompt[None]).logits[0, -1].double().log_softmax(dim=-1)


def greedy(model: Model, start: list[int], n_tokens: int) -> list[int]:
    """Return the model's most probable continuation, without a cache."""
    ids = list(start)
    for _ in range(n_tokens):
        ids.append(int(log_probs(model, torch.tensor(ids)).argmax()))
    return ids[len(start) :]


@torch.no_grad()
def drawn(config: ModelConfig, with_bias: bool = False) -> Model:
    """Return a model with weights so large that no part of it goes unnoticed."""
    draws = torch.Generator().manual_seed(0)
    model = Model(config).eval()
    for name, parameter in model.named_parameters():
        normal = torch.randn(parameter.shape, generator=draws)
        is_scale = parameter.dim() == 1 and "proj" not in name
        parameter.copy_(1 + 0.3 * normal if is_scale else normal * parameter.shape[-1] ** -0.5)
    for name, bias in model.named_buffers():
        if with_bias and name.endswith("expert_bias"):
            bias.copy_(0.3 * torch.randn(bias.shape, generator=draws))
    return model


def _case(
    name: str,
    architecture: str,
    *,
    attention: dict | None = None,
    moe: dict | None = None,
    bias: bool = False,
    model: dict | None = None,
    **router: object,
) -> Case:
    heads = {"n_heads": 4, "n_kv_heads": 2, "d_head": 8} | (attention or {})
    config = ModelConfig(
        n_layers=3,
        d_model=32,
        vocab_size=96,
        attention=AttentionConfig(**heads),
        moe=MoEConfig(
            router=RouterConfig(**{"n_experts": 6, "top_k": 2} | router), d_ff=48, **(moe or {})
        ),
        max_seq_len=128,
        **(model or {}),
    )
    return Case(name, architecture, lambda: drawn(config, bias))


def _dense() -> Model:
    config = ModelConfig(
        n_layers=2,
        d_model=32,
        vocab_size=96,
        attention=AttentionConfig(n_heads=4, n_kv_heads=1, d_head=8),
        d_ff_dense=40,
        max_seq_len=128,
    )
    return drawn(config)


def shipped_model() -> Model:
    """Return the trained model that comes with the package."""
    return load_shipped().model


_TIED = {"tie_embeddings": True}
_DENSE_FIRST = {"n_dense_layers": 1, "d_ff_dense": 64}
_PER_HEAD = {"d_head": 16, "qk_norm": "head"}
_FULL = {"n_kv_heads": 4, "qk_norm": "full"}
_GLM = {"score_fn": "sigmoid", "gate_scale": 2.5, "bias": True}
_SHARED = {"n_shared_experts": 1}
_GATED = {"n_shared_experts": 1, "shared_gate": True}

CASES = (
    Case("the shipped model", "ernie4_5-moe", shipped_model),
    _case("Mixtral", "llama"),
    _case("Mixtral, tied embeddings", "llama", model=_TIED),
    _case("Mixtral, top-1", "llama", top_k=1),
    _case("Mixtral, top-k before the softmax", "llama", topk_first=True),
    _case("Mixtral, one expert", "llama", n_experts=1, top_k=1),
    Case("dense Llama", "llama", _dense),
    _case("Qwen3-MoE", "qwen3moe", attention=_PER_HEAD),
    _case("Qwen3-MoE, tied embeddings", "qwen3moe", attention=_PER_HEAD, model=_TIED),
    _case("OLMoE", "olmoe", attention=_FULL, normalize_gates=False),
    _case("OLMoE, tied embeddings", "olmoe", attention=_FULL, normalize_gates=False, model=_TIED),
    _case("Qwen2-MoE", "qwen2moe", moe=_GATED, normalize_gates=False),
    _case(
        "Qwen2-MoE, biases, tied embeddings",
        "qwen2moe",
        attention={"bias": True, "qkv_bias_only": True},
        moe=_GATED | {"d_ff_shared": 40},
        model=_TIED,
        normalize_gates=False,
    ),
    _case("ERNIE 4.5, selection bias", "ernie4_5-moe", bias=True),
    _case("ERNIE 4.5, shared expert", "ernie4_5-moe", bias=True, moe=_SHARED),
    _case("ERNIE 4.5, dense first layer", "ernie4_5-moe", bias=True, model=_DENSE_FIRST),
    _case("GLM-4-MoE", "glm4moe", moe=_SHARED, model=_DENSE_FIRST, **_GLM),
    _case(
        "GLM-4-MoE, groups, two shared experts",
        "glm4moe",
        moe={"n_shared_experts": 2},
        **_GLM,
        n_experts=8,
        top_k=3,
        n_groups=4,
        top_groups=2,
    ),
    _case(
        "GLM-4-MoE, not renormalised, norms per head, biases",
        "glm4moe",
        attention=_PER_HEAD | {"bias": True, "qkv_bias_only": True},
        moe=_SHARED,
        **_GLM,
        normalize_gates=False,
    ),
)
"""Every architecture that is written, with what each allows."""
