"""How the checks of chapter 14 ask a policy: without a watch, and from far away all at once."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from moe_teach.deploy.store.policies import Key
from moe_teach.judging.elsewhere import ability


def unwatched(policy: Any) -> Any:
    """Give a policy's class without what watches its calls, for simulations that call it often."""
    if not isinstance(policy, type):
        return policy
    if together := ability(policy, "together"):
        return lambda *args: _Elsewhere(policy(*args), together)
    own = {name: inspect.unwrap(getattr(policy, name)) for name in ("__init__", "use", "worth")}
    return type(policy.__name__, (policy,), own)


def worths(policies: Sequence[Any], keys: Sequence[Sequence[Key]]) -> list[list[Any]]:
    """Give what each policy says of its keys; those of another process are asked in one message."""
    if policies and all(isinstance(policy, _Elsewhere) for policy in policies):
        questions = [policy.question(own) for policy, own in zip(policies, keys, strict=True)]
        said = zip(policies[0].together(questions, "use", "worth"), keys, strict=True)
        return [[one for one, _ in zip(worth, own, strict=True)] for worth, own in said]
    return [list(map(one.worth, own)) for one, own in zip(policies, keys, strict=True)]


class _Elsewhere:
    """A policy of another process, which is asked about many experts at once.

    A simulation has tens of thousands of questions. So uses are told when the next worth is needed,
    and the worth of everybody comes back with them: it stays until the next use.
    """

    def __init__(self, policy: Any, together: Callable[..., list[list[Any]]]) -> None:
        self._policy, self.together = policy, together
        self.per_layer = policy.per_layer
        self._numbers: dict[Key, int] = {}
        self._new: list[Key] = []
        self._uses: list[tuple[int, int]] = []
        self._worths: list[Any] = []

    def use(self, key: Key, step: int) -> None:
        """Remember a use, to be told."""
        self._uses.append((self._number(key), step))

    def worth(self, key: Key) -> Any:
        """Give the worth of an expert after all uses so far."""
        number = self._number(key)
        if self._uses or self._new:
            (self._worths,) = worths([self], [list(self._numbers)])
        return self._worths[number]

    def question(self, keys: Sequence[Key]) -> tuple[Any, ...]:
        """Give the policy, the keys it has not heard of, its uses since, and whom to ask about."""
        asked = [self._number(key) for key in keys]
        new, uses, self._new, self._uses = self._new, self._uses, [], []
        return self._policy, new, uses, asked

    def _number(self, key: Key) -> int:
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._new.append(key)
        return self._numbers[key]
