"""Modules: router, experts, the MoE layer that composes them, attention, blocks and the model."""
