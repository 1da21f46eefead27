"""A model that came from a folder, with what belongs to it."""

from dataclasses import dataclass

from moe_teach.nn.model import Model


@dataclass(frozen=True, slots=True)
class Opened:
    """A model in evaluation mode, and the texts that make its ids readable.

    `tokenizer_json` is the text of a `tokenizer.json`, `chat_template` one in Jinja, `end_token`
    the token that ends a text; each is None where the folder holds none. `layout` names the
    published layout that a released checkpoint had; it is None for one of the course's own.
    """

    model: Model
    tokenizer_json: str | None = None
    chat_template: str | None = None
    end_token: str | None = None
    layout: str | None = None
