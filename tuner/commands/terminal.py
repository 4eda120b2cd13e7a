"""What all commands do on a terminal: one message for an error, JSON for machines, bars for long work, the exit codes.

Exit codes: 0 done; 1 something failed; 2 bad input; 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

INTERRUPTED = 130

errors = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(error: BaseException | str, code: int = 2) -> Any:
    """Prints one message and exits."""
    errors.print(f"[bold red]error:[/] {escape(str(error))}")
    raise SystemExit(code)


def print_json(data: Any) -> None:
    """Prints JSON on standard output."""
    json.dump(data, sys.stdout, indent=1)
    print()


def counted(count: int, noun: str) -> str:
    """
    >>> counted(1, "picture"), counted(2, "picture")
    ('1 picture', '2 pictures')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


@contextmanager
def bars(console: Console) -> Iterator[Callable[[str, int, int | None], None]]:
    """Bars that vanish at the end, one for each kind of work that the function yielded is told of.

    It takes (kind of work, done, total); total is None where it is not known before all is done.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        kinds: dict[str, TaskID] = {}

        def update(what: str, done: int, total: int | None) -> None:
            if what not in kinds:
                kinds[what] = progress.add_task(what, total=total)
            progress.update(kinds[what], completed=done, total=total)

        yield update
