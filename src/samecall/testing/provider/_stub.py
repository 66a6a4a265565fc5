"""`StubProvider`: the server in this event loop, in a thread of its own, or in a process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from aiohttp import web

from samecall.testing.provider._behaviour import Answer, Behaviour, check
from samecall.testing.provider._desk import Desk, Predicate, Request
from samecall.testing.provider._server import Settings, application

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from samecall.testing.provider._process import RemoteStub

__all__ = ["StubProvider"]

T = TypeVar("T")


class StubProvider:
    """A provider on loopback, counted and scripted: OpenAI chat and Responses, Anthropic, Gemini,
    Cohere, Writer, Bedrock.

    Answers with an instance of the request's schema, the same for the same prompt. `latency` and
    `chunk_delay` (between the events of a stream) in seconds; `chunk_chars`: text per event;
    `port` 0: any free one; `kept`: how many requests are remembered.
    """

    def __init__(
        self,
        *,
        latency: float = 0.0,
        chunk_delay: float = 0.0,
        chunk_chars: int = 12,
        port: int = 0,
        kept: int = 1000,
    ) -> None:
        self._settings = Settings(latency, chunk_delay, chunk_chars)
        self._port = port
        self._desk = Desk(kept)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._runner: web.AppRunner | None = None

    # --- life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        app = application(self._desk, self._settings)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=4096)
        await site.start()
        self._port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._desk.release()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @classmethod
    @contextmanager
    def in_thread(cls, **settings: Any) -> Generator[Self]:
        """A stub in a thread of its own; same arguments, same methods, safe from any thread."""
        ready: concurrent.futures.Future[tuple[Self, asyncio.Event]] = concurrent.futures.Future()

        async def live() -> None:
            async with cls(**settings) as stub:
                end = asyncio.Event()
                ready.set_result((stub, end))
                await end.wait()

        def run() -> None:
            try:
                asyncio.run(live())
            except BaseException as error:
                if ready.done():
                    raise
                ready.set_exception(error)

        thread = threading.Thread(target=run, name="samecall-stub", daemon=True)
        thread.start()
        stub, end = ready.result(30)
        try:
            yield stub
        finally:
            stub._do(end.set)
            thread.join(10)

    @staticmethod
    def in_process(**settings: Any) -> AbstractContextManager[RemoteStub]:
        """A stub in a process of its own, which ends with the caller's; same arguments."""
        from samecall.testing.provider._process import in_process

        return in_process(**settings)

    # --- where --------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        return self.url

    @property
    def gemini_url(self) -> str:
        return self.url

    # --- counts -------------------------------------------------------------------------------

    @property
    def calls(self) -> int:
        """Provider calls so far, failed ones too."""
        return self._desk.calls

    @property
    def calls_by_prompt(self) -> Counter[str]:
        """Calls per text of the last user message, without what instructor adds to it."""
        return Counter(self._desk.calls_by_prompt)

    @property
    def in_flight(self) -> int:
        """Calls that came and are not answered yet."""
        return self._desk.in_flight

    @property
    def most_in_flight(self) -> int:
        """The most calls that were in flight at one time."""
        return self._desk.most_in_flight

    @property
    def waiting(self) -> int:
        """Calls that wait at the gate."""
        return self._desk.waiting

    @property
    def requests(self) -> list[Request]:
        """The last requests as they came, oldest first."""
        return list(self._desk.requests)

    # --- orders -------------------------------------------------------------------------------

    def script(self, matching: str | Predicate | None, *behaviours: Behaviour) -> None:
        """Queue behaviours, one a call: for a prompt, for what a predicate takes, or (None) all.

        Raises `TypeError` for what is no behaviour, such as a list of them.
        """
        check(behaviours)
        self._do(lambda: self._desk.script(matching, behaviours))

    def answer(self, prompt: str, value: Any) -> None:
        """Answer a prompt with `value` (an `Answer`, a text, or anything that JSON holds)."""
        answer = value if isinstance(value, Answer) else Answer(value)
        self._do(lambda: self._desk.answer(prompt, answer))

    def reset(self) -> None:
        """Forget counts, requests, scripts and answers."""
        self._do(self._desk.reset)

    def hold(self) -> None:
        """Close the gate: calls that come are counted and wait."""
        self._do(self._desk.hold)

    def release(self) -> None:
        """Open the gate."""
        self._do(self._desk.release)

    async def until_waiting(self, count: int) -> None:
        """Return once `count` calls wait at the gate."""
        await self._ask(lambda: self._desk.until(lambda desk: desk.waiting >= count))

    async def until_calls(self, count: int) -> None:
        """Return once `count` calls have come."""
        await self._ask(lambda: self._desk.until(lambda desk: desk.calls >= count))

    async def until_idle(self) -> None:
        """Return once no call is in flight."""
        await self._ask(lambda: self._desk.until(lambda desk: desk.in_flight == 0))

    def _do(self, order: Callable[[], None]) -> None:
        if self._loop is None or self._thread == threading.get_ident():
            order()
            return

        async def carry_out() -> None:
            order()

        asyncio.run_coroutine_threadsafe(carry_out(), self._loop).result(30)

    async def _ask(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._loop is None or self._thread == threading.get_ident():
            return await make()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(make(), self._loop))
