"""What follows from a failure. The table of docs/reliability.md, in code.

=============== ================================================== ==========================================================
kind            what it is                                         what follows
=============== ================================================== ==========================================================
infrastructure  a worker, Tune actor, mailbox or node is gone; a   the trial goes on from its checkpoint, up to ``retries``
                process group did not start or broke; a GPU errs;  times without a new report, away from a node that fails
                storage refuses                                    again and again; TPE hears nothing of it
configuration   out of memory, an exception in the trial           FAILED with its cause; TPE is told FAIL, which it ignores
training        not finite, saturated, collapsed                   FAILED with its reason; TPE is told PRUNED with what the
                                                                   trial reached, and keeps away from there
=============== ================================================== ==========================================================

``breaker`` failures in a row without one report between them pause the sweep: what they have in common is likely to be mended by
a person sooner than by trying.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tuner.engine.patience import Patience
from tuner.records.paths import SweepPaths, trial_folder
from tuner.records.trials import Fault, RecordBook, State

ERROR = "error.txt"  # in a trial's folder: the traceback of its last failure
_BAD_NODE = 2  # infrastructure failures in a row after which a node is kept away from


@dataclass(frozen=True)
class Failure:
    """One failure of one trial."""

    number: int
    fault: Fault
    summary: str  # one line
    nodes: frozenset[str]  # ids of those that it happened on, as far as known


class Failures:
    """Decides what follows from each failure and keeps what the next decision needs.

    Args:
        retries: infrastructure failures that a trial may have without a new report in between.
        breaker: failures in a row, of whatever trials, after which the sweep pauses.
        can_do_without: whether the rest of the cluster can place a group without these nodes.
        say: shows a line to the user.
    """

    def __init__(
        self,
        paths: SweepPaths,
        records: RecordBook,
        patience: Patience,
        *,
        retries: int,
        breaker: int,
        can_do_without: Callable[[Iterable[str]], bool],
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._paths, self._records, self._patience = paths, records, patience
        self._retries, self._breaker, self._can_do_without, self._say = retries, breaker, can_do_without, say
        self._in_a_row: list[Failure] = []
        self._at_work: set[int] = set()  # trials that have reported since they were handed out last
        self._by_node: Counter[str] = Counter()
        self.paused: str | None = None  # why the sweep must pause

    def reported(self, number: int, nodes: Iterable[str]) -> None:
        """A new report of a trial came up from a group on these nodes: they work."""
        self._in_a_row.clear()
        self._at_work.add(number)
        for node in nodes:
            self._by_node.pop(node, None)

    def happened(self, number: int, fault: Fault, text: str, nodes: Iterable[str]) -> None:
        """A trial has failed; its record says afterwards whether it goes on.

        Args:
            text: a traceback or what Ray says; its last line is the summary.
            nodes: ids of the nodes that it happened on, as far as known.
        """
        name = f"trials/{trial_folder(number)}/{ERROR}"
        self._patience.insist(f"writing {name}", lambda: self._paths.storage.write_bytes(name, text.encode()))
        lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason was given"]
        # A traceback's last line says what it was; what Ray says of a dead actor begins with it.
        failure = Failure(number, fault, lines[-1] if text.startswith("Traceback") else lines[0], frozenset(nodes))
        reason = f"{failure.summary} (traceback: {name})"
        # Of both kinds: what a node lacks, such as a package, looks like the configuration's fault there.
        self._by_node.update(sorted(failure.nodes))  # of equals the same order in every process
        if fault == Fault.INFRASTRUCTURE:
            attempts = self._patience.insist(f"writing trial {number}'s record", lambda: self._records.attempt(number))
            self._say(f"trial {number}: infrastructure failed ({attempts} of {self._retries} retries): {failure.summary}")
            if attempts > self._retries:
                self._end(number, f"given up after {attempts} infrastructure failures without a new report: {reason}", fault)
        else:
            self._end(number, reason, fault)
        if number in self._at_work:
            # It did report: many of these together are one node that was lost, and no common cause.
            self._at_work.discard(number)
            return
        self._in_a_row.append(failure)
        if len(self._in_a_row) >= self._breaker:
            self.paused = f"{len(self._in_a_row)} failures in a row without one report: {in_common(self._in_a_row)}"

    def avoid(self) -> list[str]:
        """Ids of nodes that failed again and again, worst first, as long as the rest of the cluster can place a group."""
        bad: list[str] = []
        for node, count in self._by_node.most_common():
            if count >= _BAD_NODE and self._can_do_without([*bad, node]):
                bad.append(node)
        return bad

    def _end(self, number: int, reason: str, fault: Fault) -> None:
        end = self._records.end
        self._patience.insist(f"writing trial {number}'s record", lambda: end(number, State.FAILED, reason, fault))


def in_common(failures: Sequence[Failure]) -> str:
    """What failures have in common, for people; where they have nothing, each kind of them once."""
    said = list(dict.fromkeys(failure.summary for failure in failures))
    parts = [f"all of them {said[0]}" if len(said) == 1 else "; ".join(said[:3]) + ("; …" if len(said) > 3 else "")]
    trials = sorted({failure.number for failure in failures})
    if len(trials) == 1:
        parts.append(f"all in trial {trials[0]}")
    nodes = frozenset.intersection(*(failure.nodes for failure in failures))
    if nodes:
        parts.append(f"all on node {', '.join(sorted(node[:6] for node in nodes))}")
    return ", ".join(parts)
