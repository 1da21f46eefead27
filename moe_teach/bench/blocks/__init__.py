"""Our MoE layer beside the blocks of published architectures."""
