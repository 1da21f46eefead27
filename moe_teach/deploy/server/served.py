"""What the server knows of the model it serves, beside the engine that runs it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from moe_teach.config import ModelConfig
from moe_teach.data.tokenizer import AnyTokenizer
from moe_teach.deploy.server.chat import ChatTemplate
from moe_teach.deploy.store.expert_store import ExpertStore


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model by its name, with all that turns requests into tokens and tokens into answers.

    Args:
        name: what clients write in the field `model`.
        config: the shape of the model.
        tokenizer: the one it was trained with.
        end_ids: tokens that say: the text ends here.
        template: how a conversation becomes one text.
        special: names that the template may use, such as `bos_token`.
        digest: a short hash of the weights, part of every answer's `system_fingerprint`.
        created: when the model was opened, in seconds since 1970.
        store: where its experts lie, if they do not all fit into memory.
    """

    name: str
    config: ModelConfig
    tokenizer: AnyTokenizer
    end_ids: frozenset[int]
    template: ChatTemplate
    digest: str
    created: int
    special: dict[str, str] = field(default_factory=dict)
    store: ExpertStore | None = None

    def prompt_of(self, messages: Sequence[dict[str, str]]) -> str:
        """Write a conversation as the text that the model goes on with."""
        return self.template.text(messages, **self.special)

    def fingerprint(self, version: int) -> str:
        """Name the weights that spoke: the checkpoint, and how often experts were replaced."""
        return f"moe-{self.digest[:12]}-v{version}"
