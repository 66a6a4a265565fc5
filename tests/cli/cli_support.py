"""The command line, called in this process or as one of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import Any

from typer.testing import CliRunner

from samecall import Cache
from samecall._codec import PlainCodec
from samecall._entry import Payload, Spent
from samecall.cli._app import application

LIMIT = 120
SAMECALL = (sys.executable, "-m", "samecall.cli")


class Done:
    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr


def samecall(*arguments: str, given: str | None = None) -> Done:
    """In this process: quick, and without a terminal."""
    result = CliRunner().invoke(application(), list(arguments), input=given)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def process(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    """As its users run it."""
    return subprocess.Popen(
        [*SAMECALL, *arguments],
        stdout=more.pop("stdout", subprocess.PIPE),
        stderr=more.pop("stderr", subprocess.PIPE),
        text=True,
        start_new_session=True,
        # a shell starts background jobs with SIGINT ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        **more,
    )


class Priced(PlainCodec):
    """Plain data that was paid for."""

    def encode(self, value: Any) -> Payload:
        plain = super().encode(value)
        return Payload(plain.tag, plain.data, Spent("gpt-4o-mini", "openai", 1000, 100))

    def about(self) -> Spent:
        return Spent("gpt-4o-mini", "openai")


def fill(url: str, namespace: str = "default", entries: int = 3, hits: int = 2) -> None:
    """A worker's morning: so many calls, each asked for again."""

    async def work() -> None:
        async with Cache(url, namespace=namespace) as cache:
            for number in range(entries):

                async def call(number: int = number) -> dict[str, Any]:
                    return {"number": number, "text": "Grüße"}

                for _ in range(1 + hits):
                    await cache.get_or_call(f"call {number}", call, codec=Priced())

    asyncio.run(work())


def wait_for(true: Any) -> None:
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
