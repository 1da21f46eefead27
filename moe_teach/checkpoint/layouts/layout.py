"""What a published layout says, as tables that can be read in both directions.

A layout is the architecture of a released model as its checkpoints have it on disk: the keys of
`config.json`, and the names of the tensors. It holds no code of its own; export, import, the
guard and the GGUF writer read the same tables.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moe_teach.checkpoint.layouts.changes import AS_IS, Change
from moe_teach.config import ModelConfig

REQUIRED = object()  # the default of a key that a file must have
N_LAYERS = "num_hidden_layers"


@dataclass(frozen=True)
class Key:
    """One key of `config.json`, and the field of `ModelConfig` that it states.

    `ours` is a path such as "moe.router.top_k". `default` is what a file without the key means,
    or a function of what the file says. `values` translates ours to theirs, where they differ.
    `also` is another name of the key, which newer programs write.
    """

    theirs: str
    ours: str
    default: Any = REQUIRED
    values: Mapping[Any, Any] | None = None
    also: str | None = None


@dataclass(frozen=True)
class Fused:
    """One tensor with the matrices of all experts (E, n_parts * R, C), and which rows are meant.

    So transformers 5 holds experts in memory, gate above up, and so files are that were written
    as the memory is (by mergekit, or `save_pretrained(save_original_format=False)`).
    """

    name: str
    part: int = 0
    n_parts: int = 1


@dataclass(frozen=True)
class Rule:
    """Where a tensor of ours stands on disk.

    `{layer}` stands for the number of a layer, on both sides. A name of theirs with `{expert}`
    holds one expert's matrix, and ours all of them along its first axis. A rule applies to the
    models that have a tensor of our name. `also` is where it stands in files that are as
    transformers 5 has a model in memory; it is read and never written.
    """

    ours: str
    theirs: str
    change: Change = AS_IS
    also: str | Fused | None = None


@dataclass(frozen=True)
class Rope:
    """What a file means that does not state its rotary embedding."""

    theta: float
    turned: float = 1.0  # the part of each head that turns


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """A published architecture.

    `always` holds fields of `ModelConfig` that the architecture fixes and no key states; any other
    field that no key states must be at its default. `fixed` holds keys of `config.json` with the
    only value that is the computation of `moe_teach.nn`, which is also what a file without them
    means. `written` holds keys that are written for other programs and change nothing here, and
    `harmless` those that released files have and that change nothing.
    `placing` names the keys that say which layers have experts; `dense` gives them, and `sparse`
    reads them: for each layer, whether it has experts. `needs` are further conditions, each a
    sentence for what does not fit, or None. `unread` tells by name and number of layers which
    tensors belong to parts that are not built here, such as a head that predicts the next but one
    token.
    """

    name: str
    title: str
    architecture: str
    keys: tuple[Key, ...]
    rules: tuple[Rule, ...]
    rope: Rope
    always: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict)
    harmless: tuple[str, ...] = ()
    placing: tuple[str, ...] = ()
    dense: Callable[[ModelConfig], dict[str, Any]] = lambda config: {}
    sparse: Callable[[Mapping[str, Any]], list[bool]] = lambda said: [True] * said[N_LAYERS]
    needs: tuple[Callable[[ModelConfig], str | None], ...] = ()
    unread: Callable[[str, int], bool] = lambda name, n_layers: False

    @property
    def has_selection_bias(self) -> bool:
        """Whether the architecture has a bias that steers the choice and never the mixture."""
        return any(rule.ours.endswith("router.expert_bias") for rule in self.rules)
