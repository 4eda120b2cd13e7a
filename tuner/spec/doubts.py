"""What is allowed and yet likely to mislead: told before a sweep and by a dry run, and never a reason to refuse it.

(What cannot be is refused: see `tuner.spec.checks` for a spec's own parts, `tuner.spec.preflight` for the world it names.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from trainables.config import TrialConfig
from trainables.metrics import AnyMetric, parse_any_metric
from trainables.metrics.paired import LPIPS_NETWORKS, PairedName
from trainables.networks import build_generator, build_task, uses_backbone
from trainables.source import compare, partial_start, read_source
from tuner.spec import SweepSpec
from tuner.spec.checks import example_configs


def doubts(spec: SweepSpec) -> list[str]:
    """One sentence for each doubt about a spec that `check_spec` has nothing against."""
    configs = example_configs(spec)
    return [*_judged_by_a_trunk(spec, configs), *_started_in_part(spec, configs)]


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


def _started_in_part(spec: SweepSpec, configs: Sequence[TrialConfig]) -> Iterator[str]:
    if spec.source is None:
        return
    try:
        tensors = read_source(Path(spec.source))
    except ValueError:
        return  # the preflight's affair
    told = []
    for config in {config.generator: config for config in configs}.values():
        build = partial(_generator, config)
        report = compare(build(config.generator), tensors)
        # What gives nothing at all is refused.
        if report.copied and (text := partial_start(spec.source, report, config.generator, build)):
            told.append((report.generator_share, text))
    if told:
        worst = min(told)[1]
        yield f"source: {worst}" + (f" (the worst of {len(told)} kinds of generators)" if len(told) > 1 else "")


def _generator(config: TrialConfig, options: Any) -> nn.Module:
    return build_generator(options, build_task(config.task, config.resolution), config.backbone)
