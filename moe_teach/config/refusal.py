"""How a configuration refuses: in a full sentence."""


def refuse(condition: bool, sentence: str) -> None:
    """Raise `ValueError(sentence)` when `condition` holds; the sentence says what to do."""
    if condition:
        raise ValueError(sentence)


def refuse_non_positive(**sizes: int) -> None:
    """Refuse sizes below 1, by name."""
    for name, size in sizes.items():
        refuse(size < 1, f"{name} must be at least 1, but it is {size}.")
