"""A batch job over many documents: duplicates are paid for once, a second run costs nothing.

pip install "samecall[cli]"
SAMECALL_URL=redis://localhost:6379/0 python batch.py 1000

Start it twice at the same time, or on two machines: the two share the work, call by call.
"""

import asyncio
import os
import sys
from collections.abc import Iterable

import instructor
from pydantic import BaseModel
from rich.progress import Progress
from samecall import Cache, Policy
from samecall.instructor import cached

MODEL = os.environ.get("MODEL", "openai/gpt-4o-mini")
AT_ONCE = 50


class Invoice(BaseModel):
    number: str
    total: float


def documents(count: int) -> Iterable[str]:
    """Real life has duplicates: here every tenth document comes again."""
    for number in range(count):
        yield f"Invoice no. {number - number % 10 if number % 10 == 9 else number}"


async def main(count: int) -> None:
    url = os.environ.get("SAMECALL_URL", "redis://localhost:6379/0")
    async with Cache(url, namespace="invoices", policy=Policy(ttl=7 * 86_400)) as cache:
        client = cached(instructor.from_provider(MODEL, async_client=True), cache)
        room = asyncio.Semaphore(AT_ONCE)

        async def read(document: str) -> Invoice:
            async with room:
                messages = [{"role": "user", "content": document}]
                return await client.create(response_model=Invoice, messages=messages)

        with Progress(disable=not sys.stdout.isatty()) as progress:
            bar = progress.add_task("reading", total=count)
            tasks = [asyncio.create_task(read(document)) for document in documents(count)]
            for task in tasks:
                task.add_done_callback(lambda _: progress.advance(bar))
            invoices = await asyncio.gather(*tasks)
        counts = cache.statistics()
    print(f"{len(invoices)} documents, {counts.provider_calls} provider calls")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
