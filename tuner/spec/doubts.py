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
from trainables.source.source import DISCRIMINATOR
from tuner.spec import SweepSpec
from tuner.spec.checks import example_configs
from tuner.spec.source_fit import different_networks, fit_of, generator_of


def doubts(spec: SweepSpec) -> list[str]:
    """One sentence for each doubt about a spec that `check_spec` has nothing against."""
    configs = example_configs(spec)
    return [*_judged_by_a_trunk(spec, configs), *_started_in_part(configs, spec.sources), *_keeps_random_weights(configs)]


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
        cut, lost = set[str](), ""
        for config in different_networks([config for config in configs if config.source == source]):
            report = fit_of(config, tensors)
            cut.update(report.cut)
            # What gives nothing at all, and what gives a part unasked, is refused.
            if config.source_fit == "partial" and any(name.startswith(DISCRIMINATOR) for name in (*report.lacking, *report.left)):
                lost = report.problem() or ""
            if config.source_fit == "partial" and report.copied:
                text = partial_start(source, report, config.generator, partial(generator_of, config))
                told |= {config.generator: (report.generator_share, text)} if text else {}
        if told:
            yield f"source: {min(told.values())[1]}" + (
                f" (the worst of {len(told)} kinds of generators)" if len(told) > 1 else ""
            )
        if lost:
            yield f"source: {source} gives a part of D: {lost}"
        if cut:
            size = configs[0].resolution
            yield (
                f"source: {source} makes pictures larger than data.resolution, {size} px, so its blocks above that are left out "
                f"({grouped(sorted(cut))}), and the first block of a D of its own kind reads the picture by new weights"
            )


def _keeps_random_weights(configs: Sequence[TrialConfig]) -> Iterator[str]:
    """A StyleGAN's parts that start from random values where a spec reads as if they were pretrained."""
    told = {}
    for config in configs:
        own = [d for d in getattr(config.discriminator, "members", (config.discriminator,)) if d.name == "stylegan2"]
        frozen = max((d.frozen_depth for d in own), default=0)
        kept = f", and frozen_depth {frozen} keeps as many of its blocks so" if frozen else ""
        if config.source is None:
            way, parts = getattr(config.generator, "adapt", "full"), getattr(config.generator, "frozen", None)
            if way != "full" or (parts is not None and parts != type(parts)()):
                told["g"] = "generator: without a source, what adapt and frozen leave as it is stays at random values"
            if frozen:
                told["d"] = f"discriminator: without a source, stylegan2 starts from random values{kept}"
        elif own and not _holds_own_discriminator(config.source):
            told["d"] = f"discriminator: {config.source} holds no stylegan2's, which starts from random values{kept}"
    yield from told.values()


def _holds_own_discriminator(source: str) -> bool:
    try:
        return any(name.startswith(f"{DISCRIMINATOR}stylegan2.") for name in read_source(source))
    except ValueError:
        return True  # the preflight's affair
