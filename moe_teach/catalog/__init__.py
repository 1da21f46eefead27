"""Published models as configurations, with what their authors say about them.

Each row carries the sizes that `moe_teach.cost` counts and how the router chooses; numerical
constants such as `norm_eps` and `rope_theta` stay at our defaults. Sizes come from the public
configuration or paper named in `source`; `moe_teach.cost` reproduces the published counts within
0.5 %, or `note` says why not. Class defaults of libraries are not the released models: never fill
a gap from them.

    CATALOG["DeepSeek-V3"].config        a ModelConfig
    find("deepseek")                     every card whose name contains the word
"""

from moe_teach.catalog.card import ModelCard, solve_shared_and_expert
from moe_teach.catalog.few_experts import FEW_EXPERTS
from moe_teach.catalog.fine_grained import FINE_GRAINED
from moe_teach.catalog.mixed_layers import MIXED_LAYERS

__all__ = ["ARTICLE_MODEL", "CATALOG", "ModelCard", "find", "solve_shared_and_expert"]

_ALL = (*FEW_EXPERTS, *FINE_GRAINED, *MIXED_LAYERS)
CATALOG: dict[str, ModelCard] = {card.name: card for card in _ALL}
ARTICLE_MODEL = CATALOG["72B/12B solved"]


def find(words: str) -> list[ModelCard]:
    """Give the cards whose name contains `words`, in any case.

    Raises `KeyError` with the list of names when there is none.
    """
    found = [card for name, card in CATALOG.items() if words.lower() in name.lower()]
    if not found:
        raise KeyError(f"No model is called {words!r}. The catalog has: {', '.join(CATALOG)}.")
    return found
