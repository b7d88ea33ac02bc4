"""One network on one runtime with one size of batch: what a process of its own measures."""

from dataclasses import dataclass
from pathlib import Path

from secateur.runtimes.session import Pictures
from secateur.runtimes.table import Runtime


@dataclass(frozen=True, slots=True)
class Job:
    """All that a process needs to know.

    Attributes:
        model: the network, as the user named it.
        runtime: what runs it.
        file: the exported file; None with torch, which takes the network itself.
        compiled: whether torch compiles it.
        threads: processor threads.
        pictures: batches that it is given in turn.
    """

    model: str
    runtime: Runtime
    file: Path | None
    compiled: bool
    threads: int
    pictures: list[Pictures]

    def __str__(self) -> str:
        """Give the name for messages."""
        batch = len(self.pictures[0])
        return f"{self.model} on {self.runtime}" + (f" in batches of {batch}" if batch > 1 else "")
