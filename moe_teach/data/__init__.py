"""Text with known truth: a corpus of four domains, tokenizers, batches and reference losses."""
