"""The load lab: what a server bears, beside its peers and under abuse (`moe-teach bench serve`)."""
