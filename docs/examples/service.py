"""A service on several workers: a question that many ask at once is paid for once.

pip install samecall fastapi "uvicorn[standard]"
SAMECALL_URL=redis://localhost:6379/0 uvicorn service:app --workers 4

`/person` answers with an object. `/story` streams one to the browser while it is being written:
whoever comes while it is, in whatever worker, sees the same stream from its start.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import instructor
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel
from samecall import Cache, Policy
from samecall.instructor import cached

MODEL = os.environ.get("MODEL", "openai/gpt-4o-mini")
cache = Cache(
    os.environ.get("SAMECALL_URL", "redis://localhost:6379/0"),
    namespace="service",
    policy=Policy(ttl=3600, wait=30),
)
client = cached(instructor.from_provider(MODEL, async_client=True), cache)


class Person(BaseModel):
    name: str
    profession: str


class Story(BaseModel):
    title: str
    text: str


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with cache:  # what has been paid for is stored before the worker ends
        yield


app = FastAPI(lifespan=lifespan)


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@app.get("/person")
async def person(about: str) -> Person:
    return await client.create(response_model=Person, messages=ask(f"Who was {about}?"))


@app.get("/story", response_class=EventSourceResponse)
async def story(about: str) -> AsyncIterator[ServerSentEvent]:
    parts = client.create_partial(
        response_model=Story, messages=ask(f"Tell a story about {about}.")
    )
    async for part in parts:
        yield ServerSentEvent(data=part)
    yield ServerSentEvent(event="end", data="")


@app.get("/statistics")
async def statistics() -> dict[str, int]:
    counts = cache.statistics()
    return {"pid": os.getpid(), "calls": counts.calls, "provider_calls": counts.provider_calls}


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return """<!doctype html><title>samecall</title>
<style>body { font: 18px/1.5 system-ui; max-width: 40em; margin: 3em auto; padding: 0 1em }</style>
<h1 id=title>&hellip;</h1><p id=text></p><small id=state>waiting</small>
<script>
const about = new URLSearchParams(location.search).get("about") ?? "a lighthouse";
const events = new EventSource("/story?about=" + encodeURIComponent(about));
const put = (id, text) => document.getElementById(id).textContent = text ?? "";
events.onmessage = ({data}) => {
    const story = JSON.parse(data);
    put("title", story.title); put("text", story.text); put("state", "writing");
};
events.addEventListener("end", () => { events.close(); put("state", "the end"); });
</script>"""
