"""What holds for all tests."""

import os

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is: no test asserts a time. In CI the examples
# are those of the last run, so that it judges the change; new ones are searched for on desks.
settings.register_profile(
    "samecall",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("samecall")
