"""What the user can mend: one clear message, exit code 2; 1 where it is the machine that refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.errors import ClusterError
from trainables.backbones import WeightsNotFoundError
from trainables.metrics.inception import InceptionWeightsNotFoundError
from tuner.commands.terminal import counted, fail
from tuner.spec.problems import SpecError


@contextmanager
def input_errors() -> Iterator[None]:
    """One clear message instead of a traceback: exit code 2 for what the user can mend, 1 for what refuses by itself."""
    try:
        yield
    except SpecError as error:
        fail(f"{counted(len(error.problems), 'problem')} to mend before anything starts:\n{error}")
    except (ClusterError, WeightsNotFoundError, InceptionWeightsNotFoundError, ValueError) as error:
        fail(error)
    except OSError as error:
        fail(f"the storage, or the network, refuses: {error}", code=1)
