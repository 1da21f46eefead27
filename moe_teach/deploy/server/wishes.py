"""A request body becomes a checked wish, or is refused in words.

The fields are those of OpenAI's API reference for completions and chat completions. What this
server cannot do is refused where it is asked for and accepted where its value asks for nothing;
fields it has never heard of are accepted, and named in a header of the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import randbits
from typing import Any, Literal

from moe_teach.deploy.server.fields import Fields, demand_readable, shown
from moe_teach.deploy.server.refusals import NOT_FOUND, Refusal, demand

Endpoint = Literal["/v1/chat/completions", "/v1/completions"]
CHAT: Endpoint = "/v1/chat/completions"
TEXT: Endpoint = "/v1/completions"
MOST_STOPS, LONGEST_STOP, MOST_MESSAGES = 16, 256, 1024
MOST_LOGPROBS, MOST_TOP_LOGPROBS = 5, 20  # of a completion and of a chat, as at OpenAI
DEFAULT_TOKENS = 16  # what OpenAI's completions add where nobody says how many
_NO_TOOLS = "This server calls no tools and no functions: leave {name} out."
_NO_PENALTY = "This server knows no {name}: leave it out or send 0."
# What cannot be done here: the values that ask for nothing, and what to say to all others.
_CANNOT: dict[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), "This server gives one answer per request: leave n out, send 1, or ask again."),
    "best_of": ((1,), "This server gives the one answer it draws: leave best_of out or send 1."),
    "echo": ((False,), "This server does not repeat the prompt: leave echo out or send false."),
    "suffix": (("",), "This model writes forwards only: leave suffix out."),
    "presence_penalty": ((0,), _NO_PENALTY),
    "frequency_penalty": ((0,), _NO_PENALTY),
    "min_p": ((0,), "This server knows no min_p: leave it out and use top_p or top_k."),
    "repetition_penalty": ((1,), "This server knows no {name}: leave it out or send 1."),
    "logit_bias": (({},), "This server does not bend logits: leave logit_bias out."),
    "tools": (([],), _NO_TOOLS),
    "functions": (([],), _NO_TOOLS),
    "tool_choice": (("none", "auto"), _NO_TOOLS),
    "function_call": (("none", "auto"), _NO_TOOLS),
    "response_format": (
        ({"type": "text"},),
        'This model writes plain text: leave response_format out or send {{"type": "text"}}.',
    ),
    "modalities": ((["text"],), "This model writes text only: leave modalities out."),
    "audio": ((), "This model writes text only: leave audio out."),
    "web_search_options": ((), "This server searches nothing: leave web_search_options out."),
}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a client asked for, checked field by field. `prompt` is text, or token ids as given."""

    endpoint: Endpoint
    prompt: str | tuple[int, ...]
    max_tokens: int | None
    temperature: float
    top_k: int | None
    top_p: float
    seed: int
    stops: tuple[str, ...] = ()
    ends: bool = True
    stream: bool = False
    counts_usage: bool = False
    logprobs: bool = False
    n_alternatives: int = 0
    trace: bool = False
    ignored: tuple[str, ...] = ()


def demand_model(name: Any, served: str) -> None:
    """Refuse a request that names another model than the one that is served."""
    demand(isinstance(name, str), f"model must be a text, such as {served!r}.", param="model")
    if name != served:
        raise Refusal(
            NOT_FOUND,
            f"There is no model {shown(name)} here; this server has {served!r}.",
            param="model",
            code="model_not_found",
        )


def read_completion(body: Mapping[str, Any], served: str) -> Wish:
    """Read the body of `/v1/completions`.

    Raises:
        Refusal: a field is missing, wrong, or asks for what this server cannot do.
    """
    fields = Fields(body)
    demand_model(fields.get("model"), served)
    prompt = _prompt(fields.get("prompt"))
    max_tokens = fields.whole("max_tokens", 1)
    n_alternatives = fields.whole("logprobs", 0, MOST_LOGPROBS)
    demand(
        not fields.whole("top_logprobs", 0, MOST_TOP_LOGPROBS),
        "top_logprobs belongs to a chat: a completion says with logprobs how many tokens it wants "
        "to see, such as logprobs: 3.",
        param="top_logprobs",
    )
    return _wish(
        fields,
        TEXT,
        prompt,
        max_tokens=max_tokens or DEFAULT_TOKENS,
        logprobs=n_alternatives is not None,
        n_alternatives=n_alternatives or 0,
    )


def read_chat(body: Mapping[str, Any], served: str) -> tuple[Wish, tuple[dict[str, str], ...]]:
    """Read the body of `/v1/chat/completions`: a wish without a prompt, and the messages.

    Raises:
        Refusal: a field is missing, wrong, or asks for what this server cannot do.
    """
    fields = Fields(body)
    demand_model(fields.get("model"), served)
    messages = _messages(fields.get("messages"))
    newer, older = fields.whole("max_completion_tokens", 1), fields.whole("max_tokens", 1)
    logprobs = fields.flag("logprobs")
    n_alternatives = fields.whole("top_logprobs", 0, MOST_TOP_LOGPROBS) or 0
    demand(
        logprobs or not n_alternatives,
        "top_logprobs goes with logprobs: send logprobs: true as well, or leave it out.",
        param="top_logprobs",
    )
    told = {"logprobs": logprobs, "n_alternatives": n_alternatives}
    return _wish(fields, CHAT, "", max_tokens=newer or older, **told), messages


def _wish(fields: Fields, endpoint: Endpoint, prompt: str | tuple[int, ...], **known: Any) -> Wish:
    for name, (neutral, sentence) in _CANNOT.items():
        value = fields.get(name)
        if value is not None:
            demand(_is_one_of(value, neutral), sentence.format(name=name), param=name)
    stream = fields.flag("stream")
    seed = fields.whole("seed", -(2**63), 2**63 - 1)
    return Wish(
        endpoint=endpoint,
        prompt=prompt,
        temperature=fields.number("temperature", 1.0, 0.0, 2.0),
        top_k=fields.whole("top_k", 1),
        top_p=_top_p(fields),
        seed=randbits(63) if seed is None else seed,
        stops=_stops(fields.get("stop")),
        ends=not fields.flag("ignore_eos"),
        stream=stream,
        counts_usage=_counts_usage(fields.get("stream_options"), stream),
        trace=fields.flag("moe_trace"),
        **known,
        ignored=fields.unread(),
    )


def _is_one_of(value: Any, neutral: Sequence[Any]) -> bool:
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in neutral)


def _top_p(fields: Fields) -> float:
    top_p = fields.number("top_p", 1.0, 0.0, 1.0)
    demand(top_p > 0, "top_p must lie above 0: for the likeliest token only, send temperature 0.")
    return top_p


def _counts_usage(options: Any, stream: bool) -> bool:
    if options is None:
        return False
    name = "stream_options"
    demand(stream, f"{name} goes with a stream: send stream: true, or leave it out.", param=name)
    demand(
        isinstance(options, dict),
        f'{name} must be an object such as {{"include_usage": true}}, not {shown(options)}.',
        param=name,
    )
    return Fields(options).flag("include_usage")


def _stops(value: Any) -> tuple[str, ...]:
    texts = () if value is None else (value,) if isinstance(value, str) else value
    fit = isinstance(texts, list | tuple) and all(isinstance(t, str) and t for t in texts)
    demand(
        fit,
        f"stop must be a text or a list of texts, none empty, not {shown(value)}.",
        param="stop",
    )
    demand(
        len(texts) <= MOST_STOPS and all(len(text) <= LONGEST_STOP for text in texts),
        f"stop may hold at most {MOST_STOPS} texts of at most {LONGEST_STOP} characters.",
        param="stop",
    )
    return tuple(demand_readable(text, "stop") for text in texts)


def _prompt(value: Any) -> str | tuple[int, ...]:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
        value = value[0]  # a list of one prompt is that prompt
    if isinstance(value, str):
        demand(value != "", "The prompt is empty: give the model a text to go on with.")
        return demand_readable(value, "prompt")
    demand(value is not None, "There is no prompt: send a text to go on with.", param="prompt")
    are_ids = isinstance(value, list) and all(type(one) is int for one in value)
    demand(
        are_ids,
        f"prompt must be one text or one list of token ids, not {shown(value)}; for several "
        "prompts send several requests, which this server answers side by side.",
        param="prompt",
    )
    demand(bool(value), "The prompt is empty: give the model at least one token.", param="prompt")
    return tuple(value)


def _messages(value: Any) -> tuple[dict[str, str], ...]:
    demand(
        isinstance(value, list) and 0 < len(value) <= MOST_MESSAGES,
        f"messages must be a list of 1 to {MOST_MESSAGES} messages such as "
        '{"role": "user", "content": "Hello"}.',
        param="messages",
    )
    return tuple(_message(one, f"messages[{place}]") for place, one in enumerate(value))


def _message(value: Any, name: str) -> dict[str, str]:
    demand(
        isinstance(value, dict) and isinstance(value.get("role"), str),
        f'{name} must be an object with "role" and "content", not {shown(value)}.',
        param=name,
    )
    content = value.get("content")
    if isinstance(content, list):  # OpenAI's parts
        texts = [part.get("text") if isinstance(part, dict) else None for part in content]
        demand(
            all(isinstance(text, str) for text in texts),
            f"{name}.content may hold parts of type text only: this model reads nothing else.",
            param=name,
        )
        content = "".join(texts)
    demand(
        isinstance(content, str),
        f"{name}.content must be a text, not {shown(content)}.",
        param=name,
    )
    role = demand_readable(value["role"], name)
    return {"role": role, "content": demand_readable(content, name)}
