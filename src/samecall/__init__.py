"""samecall: the same call, paid for once."""

__all__: list[str] = []
