"""A published configuration, read with a sentence where something is missing or not ours."""

from collections.abc import Mapping
from typing import Any

from moe_teach.config import Activation, refuse

_MISSING: Any = object()
_GATED: dict[str, Activation] = {
    "silu": "swiglu",
    "swish": "swiglu",
    "gelu_pytorch_tanh": "geglu",
    "gelu_new": "geglu",
}


class Published:
    """What a configuration of transformers, or the dictionary of its config.json, says.

    Values are asked for under the names that stand in files. A default is what the architecture's
    own class takes where a file leaves the value out.
    """

    def __init__(self, config: Any, layer: int = 0) -> None:
        self.config, self.layer = config, layer
        self.model_type: str = self("model_type")

    def __call__(self, name: str, default: Any = _MISSING) -> Any:
        """Give a value.

        Raises:
            ValueError: if it is missing and there is no default.
        """
        if isinstance(self.config, Mapping):
            value = self.config.get(name, default)
        else:
            value = getattr(self.config, name, default)
        refuse(
            value is _MISSING,
            f"The configuration says nothing about {name!r}, which decides how the MoE layer "
            "computes: take it from the model's own config.json.",
        )
        return value

    def either(self, name: str, other: str) -> Any:
        """Give a value that files name in one of two ways."""
        return self(name, self(other, None)) or self(name)

    def within(self, name: str) -> "Published":
        """Give a part of the configuration that is one itself."""
        return _Part(self(name), self.layer, self.model_type)

    def activation(self, name: str = "hidden_act") -> Activation:
        """Give our name for the activation of experts that have a gate.

        Raises:
            ValueError: if our experts do not have it.
        """
        return self.activation_of(self(name, "silu"))

    @staticmethod
    def activation_of(theirs: str) -> Activation:
        """Give our name for theirs of an activation behind a gate.

        Raises:
            ValueError: if our experts do not have it.
        """
        refuse(
            theirs not in _GATED,
            f"The experts' gates go through {theirs!r}, but known here are only "
            f"{', '.join(_GATED)}.",
        )
        return _GATED[theirs]

    def demand(self, name: str, wanted: Any, default: Any, because: str) -> None:
        """Refuse a value with which the block would compute something else than our layer."""
        value = self(name, default)
        refuse(value != wanted, f"{name} is {value!r}, but must be {wanted!r} here: {because}.")


class _Part(Published):
    """A part of a configuration, which does not name the architecture itself."""

    def __init__(self, config: Any, layer: int, model_type: str) -> None:
        self.config, self.layer, self.model_type = config, layer, model_type
