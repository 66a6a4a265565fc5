"""What is wrong, slow or unsafe about a store, and how to mend it."""

from samecall.cli.doctor.findings import Finding, Health
from samecall.cli.doctor.functions import exercise
from samecall.cli.doctor.servers import examine

__all__ = ["Finding", "Health", "examine", "exercise"]
