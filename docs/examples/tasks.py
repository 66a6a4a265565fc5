"""Celery workers: a task that is queued twice, or retried, is paid for once.

pip install samecall "celery[redis]"
SAMECALL_URL=redis://localhost:6379/0 BROKER=redis://localhost:6379/1 celery -A tasks worker

Celery's tasks are plain functions, so the client is a synchronous one; threads, processes and
machines coalesce all the same, also with an asynchronous service that asks the same.
"""

import os

import instructor
from celery import Celery
from pydantic import BaseModel
from samecall import Cache, Policy
from samecall.instructor import cached

MODEL = os.environ.get("MODEL", "openai/gpt-4o-mini")
app = Celery("tasks", broker=os.environ.get("BROKER", "redis://localhost:6379/1"))
app.conf.result_backend = os.environ.get("BROKER", "redis://localhost:6379/1")

# At module level: each worker process that Celery forks opens connections of its own.
cache = Cache(
    os.environ.get("SAMECALL_URL", "redis://localhost:6379/0"),
    namespace="tasks",
    policy=Policy(ttl=86_400),
)
client = cached(instructor.from_provider(MODEL), cache)


class Summary(BaseModel):
    title: str
    points: list[str]


@app.task
def summarise(document: str) -> dict[str, object]:
    messages = [{"role": "user", "content": f"Summarise: {document}"}]
    summary = client.create(response_model=Summary, messages=messages)
    return summary.model_dump()
