"""When a worker is replaced, after how long, and when it is given up.

Pure: times come in as arguments. A death counts against the mount only when
the worker did nothing useful before it, so that a worker that is killed from
outside a hundred times is replaced a hundred times, at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """The bounds. Times in seconds."""

    strikes: int = 5
    """Deaths in a row without a request answered, after which a mount is given up."""
    burst: int = 600
    burst_period_s: float = 300.0
    """At most so many deaths of any kind in so long."""
    retry_first_s: float = 0.5
    retry_most_s: float = 60.0
    """How long to wait before a mount that could not be made is tried again."""


@dataclass(slots=True)
class RestartHistory:
    """What became of one mount's workers so far."""

    policy: RestartPolicy = field(default_factory=RestartPolicy)
    restarts: int = 0
    failures: int = 0
    _strikes: int = 0
    _deaths_s: list[float] = field(default_factory=list)

    def died(self, now_s: float, *, useful: bool) -> float | None:
        """Return in how many seconds to start a successor; None to give up."""
        self.restarts += 1
        self._strikes = 0 if useful else self._strikes + 1
        period = self.policy.burst_period_s
        self._deaths_s = [at for at in self._deaths_s if now_s - at < period]
        self._deaths_s.append(now_s)
        if self._strikes >= self.policy.strikes or len(self._deaths_s) > self.policy.burst:
            return None
        return 0.0 if self._strikes == 0 else min(0.05 * 2**self._strikes, 1.0)

    def was_useful(self) -> None:
        """A worker answers requests: deaths before count no longer as in a row."""
        self._strikes = 0

    def failed(self) -> float:
        """The mount could not be made: return in how many seconds to try again."""
        wait_s = self.policy.retry_first_s * float(2 ** min(self.failures, 16))
        self.failures += 1
        return min(wait_s, self.policy.retry_most_s)

    def served(self) -> None:
        """The mount answers: the next failure waits the shortest time again."""
        self.failures = 0
