"""The sizes at which layers are compared: training shapes and decode shapes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """One MoE layer and the number of tokens it sees (letters as in `moe_teach.types`)."""

    n_tokens: int
    d_model: int
    d_ff: int
    n_experts: int
    top_k: int

    @property
    def n_rows(self) -> int:
        """Rows that the experts compute: one for each token and choice."""
        return self.n_tokens * self.top_k

    @property
    def forward_flops(self) -> int:
        """Floating-point operations of the three SwiGLU matrices over all rows, forward."""
        return 2 * 3 * self.n_rows * self.d_model * self.d_ff

    @property
    def gathered_bytes(self) -> int:
        """Float32 bytes a layer needs if it copies the three matrices once for each row."""
        return 4 * 3 * self.n_rows * self.d_model * self.d_ff

    def __str__(self) -> str:
        return f"T={self.n_tokens} d={self.d_model} f={self.d_ff} E={self.n_experts} k={self.top_k}"


TRAINING = (
    Shape(128, 256, 512, 8, 2),
    Shape(512, 256, 512, 8, 2),
    Shape(2048, 256, 512, 8, 2),
    Shape(2048, 512, 1024, 16, 2),
    Shape(4096, 512, 512, 64, 8),
    Shape(8192, 1024, 1024, 32, 4),
)
DECODE = tuple(
    Shape(n_tokens, d_model, d_ff, n_experts, top_k)
    for d_model, d_ff, n_experts, top_k in ((256, 512, 8, 2), (512, 1024, 16, 2), (512, 512, 64, 8))
    for n_tokens in (1, 4, 16, 64)
)
GRIDS = {
    "training": TRAINING,
    "decode": DECODE,
    "quick": (Shape(16, 32, 48, 4, 2), Shape(128, 64, 96, 8, 2)),
}
