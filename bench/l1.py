"""An L1 hit and a key, beside instructor's AutoCache, its parser, and the bare hash.

python bench/l1.py [--short] [--json FILE] [--rounds N] [--calls N]
"""

from __future__ import annotations

import asyncio
import statistics
import time
from hashlib import blake2b
from typing import Any

from instructor.cache import AutoCache
from openai.types.chat import ChatCompletion
from rich.progress import track

from common import Row, arguments, report, timed
from hit import client, question
from samecall import Cache
from samecall._key import digest_of
from samecall.instructor import cached

__all__ = ["measure"]


async def measure(rounds: int, calls: int) -> list[Row]:
    """The rows of an L1 hit and of keys; the ways take turns in each round."""
    async with Cache() as cache:
        ours, auto = cached(client(), cache), client(cache=AutoCache(maxsize=10_000))
        asked = question()
        prepared, raw = await ours.create_with_completion(**asked)
        await auto.create(**asked)
        await asyncio.sleep(0.1)  # the answer is stored
        data, handlers = raw.model_dump_json(), ours._samecall_calls.handlers()

        async def parse(restored: Any = raw) -> Any:
            return handlers.response_parser(
                response=restored, response_model=type(prepared), validation_context=None,
                strict=True, stream=False, is_async=True,
            )  # fmt: skip

        async def restore_and_parse() -> Any:
            return await parse(ChatCompletion.model_validate_json(data))

        async def looked() -> Any:
            value: Any = await ours.create(**asked)
            return value._raw_response  # made by who looks at it

        ways = {
            "looked": looked,
            "hit": lambda: ours.create(**asked),
            "auto": lambda: auto.create(**asked),
            "parser": parse,
            "from bytes": restore_and_parse,
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in track(range(rounds), "L1 hit"):
            for name, ask in ways.items():
                found[name].append(await timed(ask, calls))
    us = {name: 1e6 * statistics.median(values) for name, values in found.items()}
    peer, floor = f"AutoCache {us['auto']:.0f} µs", f"parser on bytes {us['from bytes']:.1f} µs"
    times, over = us["auto"] / us["looked"], us["looked"] / us["from bytes"]
    return [
        Row("L1 hit through client.create, nobody looks at the completion", us["hit"], "µs", "",
            None, peer, floor),
        Row("L1 hit through client.create, completion looked at", us["looked"], "µs", "", None,
            peer, floor),
        Row("faster than AutoCache", times, "times", "at least 25", times >= 25, peer, floor),
        Row("L1 hit over the parser on the stored bytes", over, "times", "at most 2.5", over <= 2.5,
            "", floor),
        Row("L1 hit over the parser alone, completion looked at", us["looked"] / us["parser"],
            "times", "", None, "", f"parser {us['parser']:.1f} µs"),
        *_keys(rounds),
    ]  # fmt: skip


def _keys(rounds: int) -> list[Row]:
    rows: list[Row] = []
    for size, times in ((2_000, 200), (200_000, 20)):
        text = "x" * size
        asked = {"model": "m", "messages": [{"role": "user", "content": text}]}
        data = text.encode()
        key, bare = _least(lambda a=asked: digest_of(a), rounds, times), 0.0
        bare = _least(lambda d=data: blake2b(d, digest_size=32).digest(), rounds, times)
        floor = f"bare hash {bare:.1f} µs"
        if size == 2_000:
            rows.append(Row("key of a 2 KB prompt", key, "µs", "at most 10", key <= 10, "", floor))
        else:
            share = key / bare
            rows.append(
                Row("key of a 200 KB prompt over its bare hash", share, "times", "at most 1.5",
                    share <= 1.5, "", floor)
            )  # fmt: skip
    return rows


def _least(work: Any, rounds: int, times: int) -> float:
    least = float("inf")
    for _ in range(max(rounds, 5)):
        began = time.process_time()
        for _ in range(times):
            work()
        least = min(least, (time.process_time() - began) / times)
    return 1e6 * least


def main() -> None:
    """Print the rows."""
    told = arguments(__doc__, rounds=(15, 5), calls=(300, 100))
    report(asyncio.run(measure(told.rounds, told.calls)), told.json)


if __name__ == "__main__":
    main()
