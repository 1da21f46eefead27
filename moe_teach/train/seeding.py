"""Models whose first weights depend on a seed alone."""

from moe_teach.config import ModelConfig
from moe_teach.nn.model import Model
from moe_teach.seeding import seeded


def seeded_model(config: ModelConfig, seed: int) -> Model:
    """Build a model whose first weights depend on the seed alone."""
    with seeded(seed):
        return Model(config)
