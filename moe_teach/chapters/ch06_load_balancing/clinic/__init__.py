"""The bug clinic: patients with one planted fault each, their charts, and who can be told apart."""
