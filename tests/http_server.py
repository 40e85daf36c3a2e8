"""A real OpenAI-compatible chat server on loopback, with faults that a seed decides."""

import asyncio
import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SERVER_ERROR, RATE_LIMIT, STALL = "server error", "rate limit", "stall"
DROP, TRUNCATE, MALFORM = "drop", "truncate", "malform"
CONFLICT, NO_OBJECT, NO_CHOICES = "conflict", "no object", "no choices"
EMPTY_CHOICES, NO_MESSAGE = "empty choices", "no message"
NO_ANSWER = {
    NO_OBJECT: [1, 2],
    NO_CHOICES: {"id": "chatcmpl-1", "object": "chat.completion", "model": "some-model"},
    NO_MESSAGE: {"model": "some-model", "choices": [{"index": 0, "finish_reason": "stop"}]},
}
"""Bodies, sent in full and with status 200, that hold no answer."""
GARBLED = (MALFORM, EMPTY_CHOICES, *NO_ANSWER)
FAULTS = (SERVER_ERROR, RATE_LIMIT, STALL, DROP, TRUNCATE, CONFLICT, *GARBLED)


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong, decided by seed, request and attempt: not by the order of arrival."""

    rates: Mapping[str, float] = field(default_factory=dict)
    """Fault to its probability in [0, 1] per attempt; at most 1 in sum."""
    seed: int = 0
    most: int = 3
    """Attempts of one request that may fail; the next one is answered."""
    retry_after_s: float = 0.05
    burst: int = 3
    """Requests in a row that a rate limit refuses."""
    stall_s: float = 0.6
    serve_s: float = 0.002

    def draw(self, body: bytes, attempt: int) -> str | None:
        """Return the fault of a request's attempt (from 0), or None."""
        if attempt >= self.most:
            return None
        key = hashlib.sha256(body).hexdigest()
        chance = random.Random(f"{self.seed}:{key}:{attempt}").random()
        for fault, rate in self.rates.items():
            if chance < rate:
                return fault
            chance -= rate
        return None


class ChatServer:
    """Answers `/chat/completions` with `reply(text)`, and counts what it did.

    Args:
        reply: Answers a text.
        faults: What goes wrong.
        allowed: Requests that are served at once: what is beyond gets a 429.
    """

    def __init__(
        self,
        reply: Callable[[str], str | None],
        faults: Faults | None = None,
        *,
        allowed: int | None = None,
    ) -> None:
        self._reply, self._faults = reply, faults or Faults()
        self._allowed = allowed
        self._lock = threading.Lock()
        self._attempts: Counter[bytes] = Counter()
        self._burst = 0
        self.requests = 0
        """Requests that arrived in full."""
        self.connections: set[Any] = set()
        """Addresses that requests came from, a port for each connection."""
        self.fates: Counter[str] = Counter()
        """Requests by what became of them: "ok" or a fault."""
        self.input_tokens = self.output_tokens = 0
        """Tokens reported in answers that were sent in full."""
        self.in_flight = self.most_in_flight = 0
        self.arrivals: list[float] = []
        self.url = ""

    @contextmanager
    def running(self) -> Iterator["ChatServer"]:
        """Serve on a free port of 127.0.0.1 from a thread of its own."""
        app = Starlette(routes=[Route("/v1/chat/completions", self._chat, methods=["POST"])])
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_level="critical", http="h11", lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.002)
            port = server.servers[0].sockets[0].getsockname()[1]
            self.url = f"http://127.0.0.1:{port}/v1"
            yield self
        finally:
            server.should_exit = server.force_exit = True
            thread.join(timeout=5)

    async def _chat(self, request: Request) -> Response:
        body = await request.body()
        with self._lock:
            self.requests += 1
            self.connections.add(request.client)
            self.arrivals.append(time.monotonic())
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            full = self._allowed is not None and self.in_flight > self._allowed
            fault = RATE_LIMIT if full else self._fault(body)
            self.fates[fault or "ok"] += 1
        try:
            await asyncio.sleep(self._faults.stall_s if fault == STALL else self._faults.serve_s)
            return self._response(json.loads(body), fault)
        finally:
            with self._lock:
                self.in_flight -= 1

    def _fault(self, body: bytes) -> str | None:
        attempt = self._attempts[body]
        self._attempts[body] += 1
        fault = self._faults.draw(body, attempt)
        if fault == RATE_LIMIT:
            self._burst = self._faults.burst - 1
        elif fault is None and self._burst and attempt < self._faults.most:
            self._burst -= 1
            return RATE_LIMIT
        return fault

    def _response(self, asked: dict[str, Any], fault: str | None) -> Response:
        if fault == SERVER_ERROR:
            return JSONResponse({"error": {"message": "boom", "type": "server_error"}}, 500)
        if fault == RATE_LIMIT:
            said = {"error": {"message": "slow down", "type": "rate_limit_exceeded"}}
            wait = str(self._faults.retry_after_s)
            return JSONResponse(said, 429, headers={"Retry-After": wait})
        if fault == DROP:
            return _Cut(b"", share=0.0)
        if fault == CONFLICT:
            return JSONResponse({"error": {"message": "busy", "type": "conflict"}}, 409)
        if fault in NO_ANSWER:
            return JSONResponse(NO_ANSWER[fault])
        payload = self._completion(asked, count=fault in (None, EMPTY_CHOICES))
        if fault == EMPTY_CHOICES:
            payload = json.dumps(json.loads(payload) | {"choices": []}).encode()
        if fault == TRUNCATE:
            return _Cut(payload, share=0.5)
        if fault == MALFORM:
            payload = payload[: len(payload) // 2] + b"\x00<html>"
        return Response(payload, media_type="application/json")

    def _completion(self, asked: dict[str, Any], *, count: bool) -> bytes:
        text = "\n".join(str(message["content"]) for message in asked["messages"])
        answer = self._reply(text)
        inputs, outputs = len(text) // 4 + 1, len(answer or "") // 4 + 1
        if count:
            with self._lock:
                self.input_tokens += inputs
                self.output_tokens += outputs
        message = {"role": "assistant", "content": answer}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {
            "prompt_tokens": inputs,
            "completion_tokens": outputs,
            "total_tokens": inputs + outputs,
        }
        whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1}
        whole |= {"model": asked["model"], "choices": [choice], "usage": usage}
        return json.dumps(whole).encode()


class _Cut(Response):
    """A response whose connection is closed after a share of its body; of nothing, if 0."""

    def __init__(self, content: bytes, *, share: float) -> None:
        super().__init__(content, media_type="application/json")
        self._share = share

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # Starlette hands down uvicorn's own `receive`, a method of the request's cycle.
        transport = receive.__self__.transport
        if self._share:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            part = bytes(self.body)[: int(len(self.body) * self._share)]
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.sleep(0.01)
        transport.abort() if not self._share else transport.close()
