"""Says in a terminal's words what the course says in a notebook's."""

import re

_CALL = re.compile(r"""`(hint|solution|progress|reset)\("?([\dq.]*)"?(?:, (\d))?\)`""")


def as_typed(said: object) -> str:
    """Turn calls into commands: `hint("0.2", 2)` is `moe-teach hint 0.2 2` in a terminal."""
    return _CALL.sub(
        lambda call: f"`{' '.join(filter(None, ('moe-teach', *call.groups())))}`", str(said)
    )
