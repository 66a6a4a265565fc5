"""A stub in a process of its own, and the handle on it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from samecall.testing.provider._behaviour import Behaviour, to_json

__all__ = ["Counts", "RemoteStub", "in_process"]


@dataclass(frozen=True, slots=True)
class Counts:
    """What `GET /samecall/counts` says."""

    calls: int
    calls_by_prompt: Counter[str]
    in_flight: int
    most_in_flight: int
    waiting: int


@dataclass(frozen=True, slots=True)
class RemoteStub:
    """A stub known by its URL; blocking calls over loopback. It travels between processes."""

    url: str

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        return self.url

    @property
    def gemini_url(self) -> str:
        return self.url

    @property
    def calls(self) -> int:
        """Provider calls so far, failed ones too."""
        return self.counts().calls

    @property
    def calls_by_prompt(self) -> Counter[str]:
        """Calls per text of the last user message."""
        return self.counts().calls_by_prompt

    def counts(self) -> Counts:
        """All counts of one moment."""
        data = self._send("counts")
        data["calls_by_prompt"] = Counter(cast("dict[str, int]", data["calls_by_prompt"]))
        return Counts(**data)

    def reset(self) -> None:
        """Forget counts, requests, scripts and answers."""
        self._send("reset", {})

    def script(self, prompt: str | None, *behaviours: Behaviour) -> None:
        """Queue behaviours, one a call, for a prompt or (None) for all."""
        self._send("script", {"prompt": prompt, "then": [to_json(b) for b in behaviours]})

    def answer(self, prompt: str, value: Any) -> None:
        """Answer a prompt with `value`, a text or anything that JSON holds."""
        self._send("answer", {"prompt": prompt, "value": value})

    def hold(self) -> None:
        """Close the gate: calls that come are counted and wait."""
        self._send("gate", {"held": True})

    def release(self) -> None:
        """Open the gate."""
        self._send("gate", {"held": False})

    def _send(self, what: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/samecall/{what}", data)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            return cast("dict[str, Any]", json.load(response))


@contextmanager
def in_process(**settings: Any) -> Generator[RemoteStub]:
    """Start the stub's process, hand out its handle, end the process."""
    command = [sys.executable, "-m", "samecall.testing.provider", json.dumps(settings)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("the stub's process has no standard output")
            url = process.stdout.readline().decode().strip()
            if not url:
                raise RuntimeError(f"the stub's process ended with {process.wait(10)}")
            yield RemoteStub(url)
        finally:
            # It reads its standard input to the end: closing it is the order to go.
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
