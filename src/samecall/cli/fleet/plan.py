"""What the fleet is asked to do: who asks which prompt in which wave."""

from __future__ import annotations

import random

import msgspec

__all__ = ["Plan", "prompt"]

_NAMES = ("Ada", "Barbara", "Edsger", "Frances", "Grace", "Ken", "Leslie", "Lynn", "Tony")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The load: `calls` per wave over all workers, `latency` of the provider in seconds."""

    workers: int
    calls: int
    prompts: int
    latency: float
    seed: int

    def waves(self) -> list[list[list[int]]]:
        """The numbers of the prompts, by wave and worker.

        Drawn by Zipf's law: the k-th prompt is 1/k as frequent as the first. In both waves every
        prompt is asked at least once.
        """
        draw = random.Random(self.seed)  # noqa: S311 - a repeatable draw, nothing secret
        return [self._wave(draw) for _ in range(2)]

    def _wave(self, draw: random.Random) -> list[list[int]]:
        weights = [1 / rank for rank in range(1, self.prompts + 1)]
        more = draw.choices(range(self.prompts), weights, k=self.calls - self.prompts)
        asked = [*range(self.prompts), *more]
        draw.shuffle(asked)
        return [asked[worker :: self.workers] for worker in range(self.workers)]


def prompt(number: int) -> str:
    """The text of one prompt."""
    name = _NAMES[number % len(_NAMES)]
    return f"Extract the person: {name} (no. {number + 1}) is {20 + number % 60} years old."
