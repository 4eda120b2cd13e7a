"""The folders of our own packages, which a cluster gets with a sweep."""

from __future__ import annotations

from pathlib import Path

import cluster
import search_spaces
import trainables
import tuner

CODE = [Path(package.__file__).parent for package in (cluster, search_spaces, trainables, tuner) if package.__file__]
