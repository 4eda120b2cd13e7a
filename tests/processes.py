"""Processes for tests: forked from one that has loaded the libraries once, which would take each of them seconds."""

from __future__ import annotations

import multiprocessing

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["trainables.gan", "torch._dynamo", "timm"])
