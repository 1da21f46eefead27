"""What the usual slips in a transformer block compute, for exercise 5.1 to name them."""

from torch import Tensor, nn

from moe_teach.chapters.ch05_language_model.inputs import rms_norm


def block_slips(x: Tensor, attention: nn.Module, moe: nn.Module) -> dict[tuple[str, str], Tensor]:
    """Give the stream that each slip makes of `x`, under its cause and its cure."""

    def mixed(h: Tensor) -> Tensor:
        return moe(h)[0]

    h = x + attention(rms_norm(x))
    lone = attention(rms_norm(x))
    usual = {
        (
            "The residual of the MoE is missing.",
            "Return the stream *plus* the MoE's output.",
        ): mixed(rms_norm(h)),
        (
            "The residual around attention is missing.",
            "Its output is *added*: x = x + attention(...).",
        ): lone + mixed(rms_norm(lone)),
        (
            "The residual is added twice.",
            "The stream goes on once: after attention, x has already been counted.",
        ): x + h + mixed(rms_norm(h)),
        (
            "Attention's work is lost on the way out: the MoE's output is added to the old x.",
            "Add it to the stream after attention.",
        ): x + mixed(rms_norm(h)),
        (
            "The two branches stand side by side: both read the old x.",
            "The MoE must read the stream after attention.",
        ): h + mixed(rms_norm(x)),
    }
    return usual | _slips_of_norms(x, attention, moe)


def _slips_of_norms(
    x: Tensor, attention: nn.Module, moe: nn.Module
) -> dict[tuple[str, str], Tensor]:
    def mixed(h: Tensor) -> Tensor:
        return moe(h)[0]

    h = x + attention(rms_norm(x))
    raw = x + attention(x)
    first = x + mixed(rms_norm(x))
    return {
        (
            "The MoE reads the stream as it is.",
            "Its norm is made but never used: moe(self.moe_norm(x)).",
        ): h + mixed(h),
        (
            "Attention reads x as it is.",
            "Its norm is made but never used: attention(self.attention_norm(x)).",
        ): raw + mixed(rms_norm(raw)),
        (
            "The norms stand behind the branches (post-norm).",
            "In a pre-norm block they stand in front, and the stream itself is never normalised.",
        ): rms_norm(rms_norm(raw) + mixed(rms_norm(raw))),
        (
            "The stream was normalised.",
            "What is added to must be x itself, and not its norm.",
        ): rms_norm(h) + mixed(rms_norm(h)),
        (
            "The MoE runs before attention.",
            "The order is attention first.",
        ): first + attention(rms_norm(first)),
    }
