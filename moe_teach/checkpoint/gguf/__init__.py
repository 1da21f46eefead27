"""GGUF, the file that llama.cpp opens: written from our models where it computes the same."""
