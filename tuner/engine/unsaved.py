"""How the sweep's parts that Tune holds pickle: not at all."""

from __future__ import annotations

from typing import Any


class Unsaved:
    """For the sweep's searcher, scheduler and callback: Tune pickles them to restore a run, which gansweep never does.

    Their state is the sweep's own files. So they pickle as empty shells, whatever they hold.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}
