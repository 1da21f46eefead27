"""What whoever starts the server decides: how much, how long, for whom."""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from moe_teach.config import refuse
from moe_teach.config.refusal import refuse_non_positive

_MEBIBYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Options:
    """Addresses and limits of a server.

    Args:
        host: the address to listen at; other machines reach only one that is not loopback.
        port: 0 takes any free one.
        api_key: what clients must send as `Authorization: Bearer ...`; None asks nobody.
        n_slots: requests that are computed side by side.
        max_waiting: requests that may wait for a slot; the next one is told to come back.
        max_prompt: tokens of a prompt; None leaves it to the model.
        max_tokens: tokens of an answer; None leaves it to the model.
        max_body: bytes of a request.
        max_expert: bytes of an expert that is sent to replace one.
        body_seconds: how long a client may take to send a body.
        drain_seconds: how long answers may go on after the server was told to stop.
        experts: a folder from which experts may be taken by name; None takes none.
        expert_bytes: memory for experts, the others stay on the disk; None loads them all.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    n_slots: int = 8
    max_waiting: int = 64
    max_prompt: int | None = None
    max_tokens: int | None = None
    max_body: int = _MEBIBYTE
    max_expert: int = 1024 * _MEBIBYTE
    body_seconds: float = 30.0
    drain_seconds: float = 30.0
    experts: Path | None = None
    expert_bytes: int | None = None

    def __post_init__(self) -> None:
        refuse_non_positive(n_slots=self.n_slots, max_body=self.max_body)
        for name in ("max_prompt", "max_tokens"):
            value = getattr(self, name)
            refuse(value is not None and value < 1, f"{name} must be at least 1, not {value}.")
        refuse(not 0 <= self.port <= 65535, f"port must lie in 0 to 65535, but is {self.port}.")
        refuse(self.max_waiting < 0, f"max_waiting must not be negative: {self.max_waiting}.")
        for name in ("body_seconds", "drain_seconds"):
            value = getattr(self, name)
            refuse(not value >= 0, f"{name} must not be negative, but it is {value}.")
        key = self.api_key
        refuse(
            key is not None and (not key.isascii() or not key.isprintable() or not key.strip()),
            "The API key must consist of printable ASCII letters and must not be empty.",
        )
        refuse(
            key is None and not self.is_private,
            f"At {self.host} other machines could use this server: give it a key with --api-key "
            "or the environment variable MOE_TEACH_API_KEY, or listen at 127.0.0.1.",
        )

    @property
    def is_private(self) -> bool:
        """Say whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False
