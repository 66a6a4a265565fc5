"""What the workers of a fleet have told of themselves, added up and priced."""

from samecall.cli.seen.fleet import Fleet, Seen, Since, added_up, read

__all__ = ["Fleet", "Seen", "Since", "added_up", "read"]
