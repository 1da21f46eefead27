"""How the server says no: a status, a full sentence, and OpenAI's JSON around it."""

from collections.abc import Mapping
from typing import Any

BAD_REQUEST, NO_KEY, FORBIDDEN, NOT_FOUND = 400, 401, 403, 404
TOO_LARGE, TOO_MANY, FAULT, NOT_NOW = 413, 429, 500, 503
_KINDS = {
    NO_KEY: "authentication_error",
    FORBIDDEN: "permission_error",
    TOO_MANY: "rate_limit_error",
    FAULT: "server_error",
    NOT_NOW: "server_error",
}


class Refusal(Exception):
    """A request that gets a sentence instead of an answer.

    Args:
        status: the HTTP status.
        sentence: what was wrong, what was expected, what to do.
        param: the field that is to blame, if it is one.
        code: OpenAI's short word for the case, where there is one.
        retry_after: seconds after which it is worth asking again.
    """

    def __init__(
        self,
        status: int,
        sentence: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
        self.param, self.code, self.retry_after = param, code, retry_after

    @property
    def body(self) -> dict[str, Any]:
        """The JSON that OpenAI's clients expect of an error."""
        kind = _KINDS.get(self.status, "invalid_request_error")
        error = {"message": self.sentence, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}

    @property
    def headers(self) -> Mapping[str, str]:
        """What goes with it."""
        if self.retry_after is not None:
            return {"retry-after": str(self.retry_after)}
        return {"www-authenticate": "Bearer"} if self.status == NO_KEY else {}


def demand(condition: bool, sentence: str, *, param: str | None = None) -> None:
    """Refuse the request with status 400 unless `condition` holds."""
    if not condition:
        raise Refusal(BAD_REQUEST, sentence, param=param)
