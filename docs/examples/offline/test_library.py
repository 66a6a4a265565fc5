"""Its tests: offline, free of charge, and the same on every machine.

pip install samecall openai pytest pytest-asyncio
pytest --samecall-record    # once, with OPENAI_API_KEY: calls what is not recorded yet
pytest                      # from then on: OPENAI_API_KEY=none will do

What was recorded lies in cassettes/test_library and is committed with the tests.
"""

import asyncio

import instructor
import library
import pytest
from samecall import Cassette


@pytest.fixture
def client(samecall_cassette: Cassette) -> instructor.AsyncInstructor:
    return library.client_for(samecall_cassette)


def test_an_author(client: instructor.AsyncInstructor) -> None:
    assert asyncio.run(library.author_of("Emma", client)).name


@pytest.mark.parametrize("book", ["Walden", "Ulysses"])
def test_authors(client: instructor.AsyncInstructor, book: str) -> None:
    assert asyncio.run(library.author_of(book, client)).name
