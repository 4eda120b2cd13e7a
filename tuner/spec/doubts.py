"""What is allowed and yet likely to mislead: told before a sweep and by a dry run, and never a reason to refuse it.

(What cannot be is refused: see `tuner.spec.checks` for a spec's own parts, `tuner.spec.preflight` for the world it names.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from trainables.config import TrialConfig
from trainables.metrics import AnyMetric, parse_any_metric
from trainables.metrics.paired import LPIPS_NETWORKS, PairedName
from trainables.networks import uses_backbone
from trainables.source import partial_start, read_source
from trainables.source.fit import grouped
from tuner.spec import SweepSpec
from tuner.spec.checks import example_configs
from tuner.spec.source_fit import different_networks, fit_of, generator_of


def doubts(spec: SweepSpec) -> list[str]:
    """One sentence for each doubt about a spec that `check_spec` has nothing against."""
    configs = example_configs(spec)
    return [*_judged_by_a_trunk(spec, configs), *_started_in_part(configs, spec.sources)]


def _judged_by_a_trunk(spec: SweepSpec, configs: Sequence[TrialConfig]) -> Iterator[str]:
    """A judge should be nobody's trunk: what D or G's loss looks at is what G learns to please, above all with frozen layers."""
    trunks = {_network(config.backbone): config.backbone for config in configs if uses_backbone(config)}
    judges = {"trial.evaluation.metric": spec.metric}
    if spec.finalists:
        judges["finalists.metric"] = parse_any_metric(spec.finalists.metric)
    for key, metric in judges.items():
        judge = _judge(metric)
        if _network(judge) in trunks:
            trials = "trials" if len(trunks) == 1 else f"trials on {trunks[_network(judge)]}"
            yield (
                f"{key}: {metric} judges by {judge}, with which {trials} train: their G can learn to please the judge without "
                "making better pictures, and they are ranked too high. Take a network that no trial trains with"
            )


def _judge(metric: AnyMetric) -> str:
    """The network that a metric looks through; empty where it looks at pixels."""
    return LPIPS_NETWORKS.get(metric.network, "") if isinstance(metric, PairedName) else metric.extractor


def _network(name: str) -> str:
    """A network's name without its library and the origin of its weights, of which there may be several spellings.

    >>> _network("timm/tf_efficientnet_lite2.in1k"), _network("torchvision/vgg16")
    ('efficientnet_lite2', 'vgg16')
    """
    return name.rpartition("/")[2].removeprefix("tf_").partition(".")[0]


def _started_in_part(configs: Sequence[TrialConfig], sources: Sequence[str]) -> Iterator[str]:
    for source in sources:
        try:
            tensors = read_source(source)
        except ValueError:
            continue  # the preflight's affair
        told: dict[Any, tuple[float, str]] = {}
        cut = set[str]()
        for config in different_networks([config for config in configs if config.source == source]):
            report = fit_of(config, tensors)
            cut.update(report.cut)
            # What gives nothing at all, and what gives a part unasked, is refused.
            if config.source_fit == "partial" and report.copied:
                text = partial_start(source, report, config.generator, partial(generator_of, config))
                told |= {config.generator: (report.generator_share, text)} if text else {}
        if told:
            yield f"source: {min(told.values())[1]}" + (
                f" (the worst of {len(told)} kinds of generators)" if len(told) > 1 else ""
            )
        if cut:
            size = configs[0].resolution
            yield (
                f"source: {source} makes pictures larger than data.resolution, {size} px, so its blocks above that are left out "
                f"({grouped(sorted(cut))}), and the first block of a D of its own kind reads the picture by new weights"
            )
