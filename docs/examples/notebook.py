"""In a notebook: run a cell again, and only what is new is paid for.

pip install samecall openai

Jupyter runs an event loop of its own, so `await` stands at the top level of a cell. Each `# %%`
is a cell (VS Code, Spyder and jupytext read it so).
"""

# %%
import os

import instructor
from pydantic import BaseModel
from samecall import Cache, Policy
from samecall.instructor import cached

MODEL = os.environ.get("MODEL", "openai/gpt-4o-mini")
# A file beside the notebook: what was asked yesterday is there today.
cache = Cache(
    os.environ.get("SAMECALL_URL", "disk:///tmp/notebook.db"), policy=Policy(ttl=30 * 86_400)
)
client = cached(instructor.from_provider(MODEL, async_client=True), cache)


# %%
class Person(BaseModel):
    name: str
    profession: str


async def who(name: str) -> Person:
    return await client.create(
        response_model=Person, messages=[{"role": "user", "content": f"Who was {name}?"}]
    )


people = [await who(name) for name in ("Ada Lovelace", "Grace Hopper", "Ada Lovelace")]
assert people[0] == people[2]

# %%
cache.statistics()
