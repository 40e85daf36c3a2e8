"""Runs notebooks with `MODEL` set, on a provider that answers and then refuses: `NOTEBOOK ...`.

Prints a JSON object: path to what ended a notebook before it was refused, or null.
"""

import json
import os
import re
import sys
from contextlib import redirect_stdout
from typing import Any

import matplotlib
import nbformat
from starlette.responses import JSONResponse, Response

from tests.http_server import ChatServer

ANSWERS = 20
"""Requests of a notebook that are answered; the next one is refused, and ends the run."""

_FIELD = re.compile(r"\[\[ ## (\w+) ## \]\]")


class Provider(ChatServer):
    """Answers whatever DSPy asks for, `left` times."""

    left = 0

    def _response(self, asked: dict[str, Any], fault: str | None) -> Response:
        self.left -= 1
        if self.left < 0:
            said = {"message": "enough", "type": "invalid_request_error", "code": "invalid_api_key"}
            return JSONResponse({"error": said}, 401)
        return super()._response(asked, fault)


def reply(text: str) -> str:
    """Return the fields that a scorer LM is asked for, else an instruction or a solution."""
    if names := list(dict.fromkeys(_FIELD.findall(text))):
        return "\n\n".join(f"[[ ## {name} ## ]]\n7" for name in names)
    return "<INS>Think.</INS> [Think.] <pair>w=1, b=2</pair>"


def ended_by(path: str, provider: Provider) -> str | None:
    """Run the cells of a notebook until one fails: as it should, once the provider refuses."""
    cells = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    cells[0] = cells[0].replace("MODEL = None", 'MODEL = "openai/gpt-4.1-mini"')
    names: dict[str, Any] = {}
    provider.left = ANSWERS
    for number, source in enumerate(cells):
        try:
            exec(compile(source, f"cell {number}", "exec"), names)
        except Exception as error:  # noqa: BLE001
            said = f"cell {number}: {type(error).__name__}: {error}"
            return said if provider.left >= 0 else None
    return "nothing: no real LM was called"


if __name__ == "__main__":
    matplotlib.use("agg")
    provider = Provider(reply)
    with provider.running(), redirect_stdout(sys.stderr):
        os.environ.update(OPENAI_API_BASE=provider.url, OPENAI_API_KEY="none")
        ends = {path: ended_by(path, provider) for path in sys.argv[1:]}
    sys.stdout.write(json.dumps(ends))
