"""The other ways to keep an answer in Redis, each as its users would write it.

Two jobs. A *plain* peer keeps the model as a dict and gives back the model alone. One that is
*alike* does what samecall does: it keeps the provider's completion, and each caller gets a model
that instructor's own parser makes of it, with that completion and the usage on it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiocache
import cashews
from instructor.v2.core.retry import _finalize_parsed_response
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion
from redis.asyncio import Redis

from hit import User, client, question
from samecall.instructor import cached
from versus_instructor import DocumentedRedisCache

__all__ = ["Floor", "LiteLLM", "Parser", "Peers"]

Ask = Callable[[str], Awaitable[Any]]


def _where(url: str) -> dict[str, Any]:
    """What a URL says, for those who take no URL."""
    said = Redis.from_url(url).connection_pool.connection_kwargs
    return {
        "host": said.get("host", "localhost"),
        "port": said.get("port", 6379),
        "db": said.get("db", 0),
        "username": said.get("username"),
        "password": said.get("password"),
    }


class LiteLLM:
    """LiteLLM's Redis cache, asked as its client asks it."""

    def __init__(self, url: str) -> None:
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it asks GitHub for prices, else
        from litellm.caching.redis_cache import RedisCache

        self._cache = RedisCache(**_where(url), namespace="samecall-bench-litellm")

    async def __call__(self, text: str, call: Callable[[], Awaitable[Any]]) -> Any:
        found = await self._cache.async_get_cache(text)
        if found is None:
            found = await call()
            await self._cache.async_set_cache(text, found, ttl=600)
        return found

    async def aclose(self) -> None:
        """Close its connections."""
        await self._cache.disconnect()


class Parser:
    """A stored completion to what `create` returns, by instructor's own parser."""

    def __init__(self) -> None:
        from samecall import Cache

        calls: Any = cached(client(), Cache())._samecall_calls  # type: ignore[attr-defined]
        self._parse = calls.handlers().response_parser
        self._model: Any = None

    async def learn(self) -> None:
        """Have instructor make its class of the model, once: samecall remembers it, too."""
        self._model = type(await client().create(**question()))

    def __call__(self, kept: tuple[bytes, bytes]) -> Any:
        raw = ChatCompletion.model_validate_json(kept[0])
        usage = CompletionUsage.model_validate_json(kept[1])
        parsed = self._parse(
            response=raw, response_model=self._model, validation_context=None, strict=True,
            stream=False, is_async=True,
        )  # fmt: skip
        value = _finalize_parsed_response(parsed, raw)
        value._total_usage = usage
        return value


async def _completion(bare: Any, text: str) -> tuple[bytes, bytes]:
    value, raw = await bare.create_with_completion(**question(text))
    parts = (raw, value._total_usage)
    kept = [each.model_dump_json(exclude_unset=True).encode() for each in parts]
    return kept[0], kept[1]


async def _dumped(answer: Awaitable[Any]) -> Any:
    # instructor makes a class for each call, which nobody can pickle
    return (await answer).model_dump()


async def _validated(kept: Awaitable[Any]) -> User:
    return User.model_validate(await kept)


class Peers:
    """`plain` and `alike`: what to await for the answer to a text, by the peer's name."""

    def __init__(self, url: str) -> None:
        bare = client()
        documented = client(cache=DocumentedRedisCache(url, prefix="samecall-bench-"))
        self._cashews, self._litellm, self._parser = cashews.Cache(), LiteLLM(url), Parser()
        self._cashews.setup(url)
        where = _where(url)

        def in_aiocache(prefix: str, call: Ask) -> Ask:
            kept: Any = aiocache.cached(
                cache=aiocache.RedisCache, endpoint=where["host"], port=where["port"],
                db=where["db"], password=where["password"],
                connection_pool_kwargs={"username": where["username"]},
                serializer=aiocache.serializers.PickleSerializer(),
                key_builder=lambda _f, text: f"{prefix}:{text}",
            )  # fmt: skip
            return kept(call)

        async def asked(text: str) -> Any:
            return await _dumped(bare.create(**question(text)))

        async def completed(text: str) -> Any:
            return await _completion(bare, text)

        dicts, wholes = (
            in_aiocache("samecall-bench-aio", asked),
            in_aiocache("samecall-bench-aio-raw", completed),
        )

        @self._cashews(ttl="10m", key="samecall-bench-cashews:{text}")
        async def with_cashews(text: str) -> Any:
            return await asked(text)

        @self._cashews(ttl="10m", key="samecall-bench-raw:{text}")
        async def whole_with_cashews(text: str) -> Any:
            return await completed(text)

        self.plain: dict[str, Ask] = {
            "instructor's Redis adapter": lambda text: documented.create(**question(text)),
            "cashews": lambda text: _validated(with_cashews(text)),
            "aiocache": lambda text: _validated(dicts(text)),
            "LiteLLM": lambda text: _validated(self._litellm(text, lambda: asked(text))),
        }
        self.alike: dict[str, Ask] = {
            "cashews": lambda text: self._parsed(whole_with_cashews(text)),
            "aiocache": lambda text: self._parsed(wholes(text)),
        }

    async def learn(self) -> None:
        """Before anything is measured."""
        await self._parser.learn()

    async def _parsed(self, kept: Awaitable[Any]) -> Any:
        return self._parser(await kept)

    async def aclose(self) -> None:
        """Close their connections."""
        await self._cashews.close()
        await self._litellm.aclose()


class Floor:
    """What no cache can do without that answers each caller of its own: no key, no lease, no check.

    One MGET of ready names for all callers, a task for each that waits for it, and instructor's
    parser over what came.
    """

    def __init__(self, url: str, texts: list[str]) -> None:
        self._redis, self._parser = Redis.from_url(url), Parser()
        self._texts, self._names = texts, [f"samecall-bench-floor:{text}" for text in texts]
        self._sizes: list[int] = []

    async def fill(self) -> None:
        """Store the completions."""
        await self._parser.learn()
        for text, name in zip(self._texts, self._names, strict=True):
            raw, usage = await _completion(client(), text)
            self._sizes.append(len(raw))
            await self._redis.set(name, raw + usage, ex=600)

    async def ask(self) -> list[Any]:
        """One answer for each text."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Any]] = [loop.create_future() for _ in self._texts]

        async def waits(future: asyncio.Future[Any]) -> Any:
            data, size = await future
            return self._parser((data[:size], data[size:]))

        waiting = [asyncio.ensure_future(waits(future)) for future in futures]
        await asyncio.sleep(0)
        found = await self._redis.mget(self._names)
        for future, data, size in zip(futures, found, self._sizes, strict=True):
            future.set_result((data, size))
        return await asyncio.gather(*waiting)

    async def aclose(self) -> None:
        """Close its connection."""
        await self._redis.aclose()
