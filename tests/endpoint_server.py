"""A server on the loopback that speaks the protocols of teachers and judges, and misbehaves when told to.

It answers chat completions, completions, moderations and Perspective's comments:analyze as documented; `answer` makes
the text (or for judges the score) of a prompt.
"""

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Behaviour:
    """What the server does: `answer` of the last message or the prompt; `faults` are used up one a request.

    A fault is a status code, "stall", "broken", "html", "empty", "null", "no choices", "list", "huge", "drip" (a byte
    now and then), "endless" or "cut" (the connection is lost in the middle).
    """

    answer: Any = field(default=lambda prompt: f"an answer to {prompt}")
    faults: list = field(default_factory=list)
    always: Any = None
    model: str = "a-teacher"
    logprobs: Any = None
    retry_after: str = "0.01"
    refuses: dict = field(default_factory=dict)  # a setting, and what a request that has it is told
    finish: str = "stop"
    stall: float = 2.0
    requests: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self):
        with self.lock:
            return self.faults.pop(0) if self.faults else self.always


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def behaviour(self) -> Behaviour:
        return self.server.behaviour

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.split("?")[0]
        with self.behaviour.lock:
            self.behaviour.requests.append((path, body, dict(self.headers)))
        refused = next((said for name, said in self.behaviour.refuses.items() if name in body), None)
        if refused is not None:
            return self.send(400, json.dumps({"error": {"message": refused, "type": "invalid_request_error"}}))
        fault = self.behaviour.next_fault()
        if isinstance(fault, int):
            error = {"error": {"message": f"fault {fault}", "type": "a_fault", "code": fault}}
            return self.send(fault, json.dumps(error), {"retry-after": self.behaviour.retry_after})
        if fault == "stall":
            time.sleep(self.behaviour.stall)
        texts = {"broken": '{"choices": [{"mess', "html": "<html>hello</html>", "list": "[1, 2]", "no choices": "{}"}
        if fault in texts:
            return self.send(200, texts[fault])
        if fault in ("drip", "endless", "cut"):
            return self.misdeliver(fault)
        answers = {"empty": "", "null": None, "huge": "x" * 300_000}
        answer = answers[fault] if fault in answers else self.behaviour.answer(_asked(path, body))
        return self.send(200, json.dumps(_reply(path, body, answer, self.behaviour)))

    def misdeliver(self, fault):
        """Announce a body of a terabyte and send a part of it, slowly or as fast as it is taken."""
        self.close_connection = True
        try:
            self.send_response(200)
            self.send_header("content-length", str(10**12))
            self.end_headers()
            for _ in range({"drip": 200, "endless": 10_000, "cut": 1}[fault]):
                self.wfile.write(b" " * (1 if fault == "drip" else 10_000))
                self.wfile.flush()
                time.sleep(0.02 if fault == "drip" else 0)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has gone

    def send(self, status, text, headers=None):
        data = text.encode()
        try:
            self.send_response(status)
            for name, value in {"content-type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has gone


def _asked(path, body):
    if path.endswith("chat/completions"):
        return body["messages"][-1]["content"]
    if path.endswith("comments:analyze"):
        return body["comment"]["text"]
    return body.get("prompt", body.get("input"))


def _reply(path, body, answer, behaviour):
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    common = {"id": "x", "created": 0, "model": behaviour.model, "usage": usage}
    if path.endswith("chat/completions"):
        message = {"role": "assistant", "content": answer}
        choice = {"index": 0, "message": message, "finish_reason": behaviour.finish, "logprobs": behaviour.logprobs}
        return {**common, "object": "chat.completion", "choices": [choice]}
    if path.endswith("completions"):
        choice = {"index": 0, "text": answer, "finish_reason": "length", "logprobs": None}
        return {**common, "object": "text_completion", "choices": [choice]}
    if path.endswith("moderations"):
        scores = {"harassment": answer, "violence": answer / 2, "illicit": None}
        result = {"flagged": answer > 0.5, "categories": {}, "category_scores": scores}
        return {"id": "x", "model": behaviour.model, "results": [result]}
    attribute = next(iter(body["requestedAttributes"]))
    return {"attributeScores": {attribute: {"summaryScore": {"value": answer, "type": "PROBABILITY"}}}}


@contextmanager
def serve(behaviour: Behaviour):
    """The base URL of a server that behaves so, while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.behaviour = behaviour
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
