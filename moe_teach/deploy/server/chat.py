"""Messages become one text, as a chat template says.

A template is Jinja, in the form that `transformers` reads from `chat_template.jinja`, so that a
model answers the same conversation with the same text wherever it is served.
"""

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from moe_teach.config import refuse


class ChatTemplate:
    """A template that has been read; it can call nothing but what Jinja allows in its sandbox."""

    def __init__(self, source: str) -> None:
        surroundings = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        surroundings.globals["raise_exception"] = _raise
        try:
            self._template = surroundings.from_string(source)
        except TemplateError as problem:
            raise ValueError(f"The chat template cannot be read: {problem}.") from problem

    def text(self, messages: Sequence[dict[str, str]], **special: Any) -> str:
        """Write the conversation as the text that the model goes on with.

        Args:
            messages: each with "role" and "content".
            special: names the template may use, such as `bos_token`.

        Raises:
            ValueError: the template does not take this conversation.
        """
        try:
            return self._template.render(
                messages=list(messages), add_generation_prompt=True, **special
            )
        except (TemplateError, TypeError) as problem:
            raise ValueError(
                f"The model's chat template does not take this conversation: {problem}."
            ) from problem


def _raise(sentence: str) -> None:
    refuse(True, sentence.rstrip("."))
