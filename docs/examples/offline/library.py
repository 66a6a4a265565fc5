"""An application, as small as can be: it asks a model who wrote a book."""

import os

import instructor
from pydantic import BaseModel
from samecall import Cache
from samecall.instructor import cached

MODEL = os.environ.get("MODEL", "openai/gpt-4o-mini")
cache = Cache(os.environ.get("SAMECALL_URL", "memory://"), namespace="library")


class Author(BaseModel):
    name: str


def client_for(answers: Cache) -> instructor.AsyncInstructor:
    return cached(instructor.from_provider(MODEL, async_client=True), answers)


async def author_of(book: str, client: instructor.AsyncInstructor | None = None) -> Author:
    client = client or client_for(cache)
    messages = [{"role": "user", "content": f"Who wrote {book}?"}]
    return await client.create(response_model=Author, messages=messages, temperature=0.0)
