"""samecall: the same call, paid for once."""
