"""What the surroundings say: how much work is wanted, and what is installed."""

import os
from importlib.metadata import PackageNotFoundError, version


def wants_short_work() -> bool:
    """Tell whether MOE_TEACH_FAST asks for the short form of everything."""
    return os.environ.get("MOE_TEACH_FAST", "") not in ("", "0")


def version_of(package: str, missing: str = "not installed") -> str:
    """Return the installed version of a package, or the word for one that is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return missing
