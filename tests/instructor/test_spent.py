"""What a call cost is read from its completion, whoever the provider is."""

from types import SimpleNamespace as Space

import pytest
from pydantic import BaseModel

import instructor
from samecall import Cache
from samecall._entry import Spent
from samecall._events import CallAnswered
from samecall.instructor import cached
from samecall.instructor._spent import spent_on


class User(BaseModel):
    name: str
    age: int


@pytest.mark.parametrize(
    "completion",
    [
        Space(usage=Space(prompt_tokens=7, completion_tokens=5)),  # OpenAI
        Space(usage=Space(input_tokens=7, output_tokens=5)),  # Responses
        Space(usage=Space(input_tokens=4, output_tokens=5, cache_read_input_tokens=3)),  # Anthropic
        Space(
            usage_metadata=Space(
                prompt_token_count=7, candidates_token_count=2, thoughts_token_count=3
            )
        ),
        Space(usage=Space(tokens=Space(input_tokens=7.0, output_tokens=5.0))),  # Cohere 2
        Space(meta=Space(billed_units=Space(input_tokens=7.0, output_tokens=5.0))),  # Cohere 1
        {"usage": {"inputTokens": 7, "outputTokens": 5}},  # Bedrock
    ],
)
def test_tokens_under_every_name(completion):
    assert spent_on("m", "p", completion) == Spent("m", "p", 7, 5)


@pytest.mark.parametrize(
    "usage", [None, Space(), Space(prompt_tokens="many"), {"prompt_tokens": -1}, 7]
)
def test_a_usage_that_says_nothing_counts_as_none(usage):
    assert spent_on("m", "p", Space(usage=usage)) == Spent("m", "p")


def test_the_model_that_answered_stands_in_for_one_that_was_not_named():
    assert spent_on(None, "p", Space(model="m-2026")).model == "m-2026"
    assert spent_on(None, "p", Space()) is None


class Ears:
    def __init__(self):
        self.answered = []

    def on_event(self, event):
        if isinstance(event, CallAnswered):
            self.answered.append(event)


async def test_a_hit_knows_what_the_call_had_cost(provider, sdk):
    ears = Ears()
    async with Cache(observers=[ears]) as cache:
        client = cached(instructor.from_openai(sdk), cache)
        for _ in range(2):
            await client.create(
                model="stub-1",
                response_model=User,
                messages=[{"role": "user", "content": "Ada is 36"}],
            )
    led, hit = ears.answered
    assert (led.how, hit.how) == ("led", "l1")
    assert led.spent == hit.spent
    assert (hit.spent.model, hit.spent.provider) == ("stub-1", "openai")
    assert hit.spent.input > 0
    assert hit.spent.output > 0


async def test_a_default_model_is_known_too(provider, bare):
    ears = Ears()
    async with Cache(observers=[ears]) as cache:
        await cached(bare, cache).create(
            response_model=User, messages=[{"role": "user", "content": "Ada is 36"}]
        )
    assert ears.answered[0].spent.model == "stub-1"
