"""What a client reads: OpenAI's objects for completions and chats, whole or event by event.

Beside OpenAI's fields every answer carries `moe`: the version of the weights that spoke, and,
where the request asked for it, the experts and gates behind every token.
"""

import json
import math
import time
from collections.abc import Iterable
from typing import Any

from moe_teach.deploy.server.served import Served
from moe_teach.deploy.server.transcript import CUT, Piece, Said, Transcript
from moe_teach.deploy.server.wishes import CHAT, Wish

_DIGITS = 6  # of a gate


class Composer:
    """Writes the answer to one request; what all of its events share is made once."""

    def __init__(self, name: str, wish: Wish, served: Served, n_prompt: int) -> None:
        self._wish, self._served, self._n_prompt = wish, served, n_prompt
        self._is_chat = wish.endpoint == CHAT
        self._kept: list[Said] = []
        self._texts: list[str] = []
        self._is_begun = False
        self._head = {
            "id": name,
            "object": "",
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": "",
        }

    def keep(self, piece: Piece) -> None:
        """Take a piece of an answer that will be sent whole."""
        self._texts.append(piece.text)
        if self._wish.logprobs or self._wish.trace:
            self._kept += piece.said

    def whole(self, transcript: Transcript, ending: str) -> dict[str, Any]:
        """Return the answer with all that was kept."""
        text, logprobs = "".join(self._texts), self._logprobs(self._kept)
        choice = {"index": 0, "finish_reason": ending, "logprobs": logprobs}
        if self._is_chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text
        kind = "chat.completion" if self._is_chat else "text_completion"
        answer = self._about(kind, transcript)
        moe = {"versions": transcript.versions} | self._trace(self._kept)
        return answer | {"choices": [choice], "usage": self.usage(transcript), "moe": moe}

    def event(self, piece: Piece, transcript: Transcript) -> str:
        """Write a piece as the data of one event."""
        choice = {
            "index": 0,
            "finish_reason": piece.ending,
            "logprobs": self._logprobs(piece.said),
        }
        if self._is_chat:
            delta: dict[str, Any] = {"content": piece.text}
            choice["delta"] = delta if self._is_begun else {"role": "assistant"} | delta
        else:
            choice["text"] = piece.text
        self._is_begun = True
        moe = {"version": transcript.versions[-1]} | self._trace(piece.said)
        answer = self._about(self._chunk, transcript) | {"choices": [choice], "moe": moe}
        return _written(answer | ({"usage": None} if self._wish.counts_usage else {}))

    def last_event(self, transcript: Transcript) -> str:
        """Write the event that counts tokens, for who asked to be told."""
        answer = self._about(self._chunk, transcript)
        return _written(answer | {"choices": [], "usage": self.usage(transcript)})

    def usage(self, transcript: Transcript) -> dict[str, int]:
        """Count the tokens read and written."""
        n_new = transcript.n_tokens
        return {
            "prompt_tokens": self._n_prompt,
            "completion_tokens": n_new,
            "total_tokens": self._n_prompt + n_new,
        }

    @property
    def _chunk(self) -> str:
        return "chat.completion.chunk" if self._is_chat else "text_completion"

    def _about(self, kind: str, transcript: Transcript) -> dict[str, Any]:
        mark = self._served.fingerprint(transcript.versions[-1])
        return self._head | {"object": kind, "system_fingerprint": mark}

    def _trace(self, said: Iterable[Said]) -> dict[str, Any]:
        if not self._wish.trace:
            return {}
        tokens = [
            {
                "token_id": one.token.token_id,
                "token": one.text,
                "experts": one.token.experts,
                "gates": [[round(gate, _DIGITS) for gate in layer] for layer in one.token.gates],
            }
            for one in said
        ]
        return {"trace": tokens}

    def _logprobs(self, said: Iterable[Said]) -> dict[str, Any] | None:
        if not self._wish.logprobs:
            return None
        if self._is_chat:
            return {"content": [_chat_logprob(one) for one in said], "refusal": None}
        tokens = list(said)
        return {
            "tokens": [one.text for one in tokens],
            "token_logprobs": [_finite(one.token.logprob) for one in tokens],
            "top_logprobs": [_by_text(o) for o in tokens] if self._wish.n_alternatives else None,
            "text_offset": [one.place for one in tokens],
        }


def _chat_logprob(said: Said) -> dict[str, Any]:
    others = [_entry(one.text, one.logprob) for one in said.alternatives]
    return _entry(said.text, said.token.logprob) | {"top_logprobs": others}


def _entry(text: str, logprob: float) -> dict[str, Any]:
    # A token that is a part of a character has no text of its own, and so no bytes to tell.
    is_whole = text != "" and CUT not in text
    spelled = list(text.encode()) if is_whole else None
    return {"token": text, "logprob": _finite(logprob), "bytes": spelled}


def _by_text(said: Said) -> dict[str, float | None]:
    """Map the likeliest tokens and the chosen one to their log-probabilities.

    The chosen one stands under its text. Another that has no text, or one that is taken, goes by
    its number: otherwise some of them would be lost.
    """
    found = {said.text: _finite(said.token.logprob)}
    for one in said.alternatives:
        if one.token_id != said.token.token_id:
            is_new = one.text != "" and one.text not in found
            found[one.text if is_new else f"token_id:{one.token_id}"] = _finite(one.logprob)
    return found


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None  # JSON has no word for the others


def _written(answer: dict[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
