"""How often something was tried, and what did not survive it."""

from dataclasses import dataclass, field


@dataclass
class Tally:
    """One row of the table: a test, its tries, and for each try that was not survived what happened."""

    test: str
    tries: int = 0
    broken: list[str] = field(default_factory=list)

    def count(self, problem: str = "") -> None:
        """Note one try; `problem` is empty where it was survived."""
        self.tries += 1
        if problem:
            self.broken.append(problem)
