"""What a router did, and whether a layer keeps the laws of every MoE layer."""
