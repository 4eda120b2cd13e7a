"""What fine-tuning starts from, one file a format: a source checkpoint, an earlier export, a trial's checkpoint, an official
StyleGAN pickle, a checkpoint of rosinality's stylegan2-pytorch. None of their code is run.

`open_source` reads any of them into a `Source`: tensors named ``generator.<tensor>`` and ``discriminator.<whose>.<tensor>``, and
what they are of. `load_source` copies what fits into a trial's networks.
"""

from __future__ import annotations

from trainables.source.checkpoint_file import save_source, write_source
from trainables.source.fit import LoadReport, fit, load_source, not_whole, partial_start
from trainables.source.formats import SUFFIXES, architecture_of, open_source, read_source
from trainables.source.network import generator_of, load_generator
from trainables.source.one_class import of_class
from trainables.source.source import Architecture, Source

__all__ = [
    "SUFFIXES",
    "Architecture",
    "LoadReport",
    "Source",
    "architecture_of",
    "fit",
    "generator_of",
    "load_generator",
    "load_source",
    "not_whole",
    "of_class",
    "open_source",
    "partial_start",
    "read_source",
    "save_source",
    "write_source",
]
