"""What two runs that should be the same are compared by."""

from pathlib import Path

# Wall times, who writes, how it stands, the position before the last one and the times of files belong
# to one execution.
OWN = {"timings.csv", "run.json", ".lock", "last.previous.ckpt"}


def contents(run: Path) -> dict[str, bytes]:
    """Every file of a run that is computed, by its path inside the folder."""
    found = (path for path in sorted(run.rglob("*")) if path.is_file())
    files = (path for path in found if path.name not in OWN and not path.name.endswith(".info.json"))
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Names of files that only one of two runs has, or that differ in any byte."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
