"""What is added to the adversarial losses: G's picture losses, and the regularisers of D and of G."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainables.backbones import BACKBONES, Backbone, load_backbone
from trainables.batches import Batch, Images
from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.losses import (
    GENERATOR_REGULARISERS,
    RECONSTRUCTION,
    REGULARISERS,
    DiscriminatorStep,
    GeneratorStep,
    Regulariser,
    feature_loss,
    gram_distance,
    gram_matrices,
)
from trainables.networks import device_of, features_of, parameters_of
from trainables.registry import Registry
from trainables.tasks import Task

_STYLE_BATCH = 32


class PictureLosses:
    """G's losses on its pictures themselves: feature distance, style, reconstruction; (name, weight, value) of each in use."""

    def __init__(
        self, config: TrialConfig, task: Task, style: Images | None, collective: Collective, device: torch.device
    ) -> None:
        self.options, self.reconstruction = config.feature_loss, config.reconstruction
        self.restores = task.in_channels > 0
        self.collective = collective
        self.extractor: Backbone | None = None
        if config.uses_features:
            info = BACKBONES[config.backbone]
            with torch.random.fork_rng(devices=[]):  # of random weights, asked for by name
                torch.manual_seed(config.seed)
                extractor = load_backbone(info, config.weights).freeze(info.depth)
            self.extractor = config.speed.lay_out(extractor.to(device))
        self.style_grams = self._style_grams(style, device) if style is not None and self.options.style_layers else {}

    def __call__(self, pictures: Tensor, batch: Batch) -> Iterator[tuple[str, float, Tensor]]:
        """Losses of G's ``pictures`` [N, 3, R, R] for its part of a batch."""
        if self.extractor is not None:
            layers = tuple(dict.fromkeys(self.options.layers + self.options.style_layers))
            features = self._features(pictures, layers)
            if self.options.layers and self.options.weight > 0:
                with torch.no_grad():
                    wanted = self._features(batch.target, self.options.layers)
                yield "feature_distance", self.options.weight, feature_loss(features, wanted, self.options, self.collective)
            if self.style_grams:
                yield "style_distance", self.options.style_weight, gram_distance(features, self.style_grams)
        if self.restores and self.reconstruction.weight > 0:
            distance = RECONSTRUCTION[self.reconstruction.name]
            yield "reconstruction", self.reconstruction.weight, distance(pictures, batch.target)

    def share_trunk(self, discriminator: nn.Module) -> Backbone | None:
        """Looks at features of D's own trunk from now on, if its frozen stages are those looked at, with the same parameters.

        That is a network less to hold, and one forward for both of what both are shown. Returns that trunk.
        """
        if self.extractor is None:
            return None
        names = self.extractor.info.layer_names
        depth = 1 + max(names.index(layer) for layer in self.options.layers + self.options.style_layers)
        looked_at = self.extractor.stages[:depth].state_dict()
        for trunk in discriminator.modules():
            if isinstance(trunk, Backbone) and trunk.info.name == self.extractor.info.name and trunk.frozen_depth >= depth:
                held = trunk.stages[:depth].state_dict()
                if all(torch.equal(held[name], x) for name, x in looked_at.items()):
                    self.extractor = trunk
                    return trunk
        return None

    def _features(self, pictures: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        assert self.extractor is not None
        features: dict[str, Tensor] = self.extractor(pictures, layers, self.options.input_px)
        return features

    @torch.no_grad()
    def _style_grams(self, style: Images, device: torch.device) -> dict[str, Tensor]:
        """The mean Gram matrices of all style pictures."""
        totals: dict[str, Tensor] = {}
        for indices in torch.arange(len(style)).split(_STYLE_BATCH):
            grams = gram_matrices(self._features(style.batch(indices).to(device), self.options.style_layers))
            totals = {layer: totals.get(layer, 0) + gram.sum(0) for layer, gram in grams.items()}
        return {layer: total / len(style) for layer, total in totals.items()}


class Penalties(nn.Module):
    """A network's regularisers that a trial asks for, each at its own interval of steps; their state is in the state_dict."""

    def __init__(self, registry: Registry[Any], options: Sequence[Any], network: nn.Module, collective: Collective) -> None:
        super().__init__()
        terms: list[Regulariser[Any]] = [registry[o.name](o) for o in options]
        self.terms = nn.ModuleList(terms).to(device_of(network))
        self._network, self._collective = [network], collective  # in a list: it is no part of this module's state
        self._trained = parameters_of(network)
        self._initial: Mapping[str, Tensor] | None = None
        if any(term.needs_initial for term in terms):
            self._initial = {name: parameter.detach().clone() for name, parameter in self._trained}
        start_is_needed = any(term.needs_start for term in terms)
        self._start: list[Any] = [copy.deepcopy(network).requires_grad_(False)] if start_is_needed else []

    @property
    def network(self) -> Any:
        """The one that is trained."""
        return self._network[0]

    def forward(self, step: int, seen: Any, *, own_graph: bool = True) -> Iterator[tuple[str, Tensor]]:
        """(name, weighted value) of each regulariser that is due at ``step``; each is computed when it is asked for.

        Args:
            seen: what they may look at.
            own_graph: those with a graph of their own (`Regulariser.own_graph`), or the others.
        """
        for term in self.terms:
            assert isinstance(term, Regulariser)
            if term.own_graph == own_graph and step % term.options.every == 0:
                yield term.options.name, term(seen, self._collective) * (term.strength(seen) * term.options.every)


class DiscriminatorPenalties(Penalties):
    """The regularisers of D."""

    def __init__(self, options: Sequence[Any], batch_size: int, discriminator: nn.Module, collective: Collective) -> None:
        super().__init__(REGULARISERS, options, discriminator, collective)
        self.batch_size = batch_size

    def seen(
        self,
        real: Tensor,
        fake: Tensor,
        logits: tuple[list[Tensor], list[Tensor]],
        condition: Tensor | None,
        mix: Tensor,
    ) -> DiscriminatorStep:
        """What they may look at.

        Args:
            real, fake: images [N, 3, R, R] as D saw them, two for each condition.
            logits: D's of the real and of the generated ones, with their graph.
            condition: what a conditional D saw beside either, [N, C, R, R]; else None.
            mix: see `DiscriminatorStep`.
        """
        return DiscriminatorStep(
            logits=functools.partial(self.network, condition=condition),
            real=real,
            fake=fake,
            real_logits=logits[0],
            fake_logits=logits[1],
            mix=mix,
            batch_size=self.batch_size,
            balance=self.network.balance,
            trained=self._trained,
            initial=self._initial,
            features=functools.partial(self.network.features, condition=condition) if self._start else None,
            initial_features=functools.partial(self._start[0].features, condition=condition) if self._start else None,
        )


class GeneratorPenalties(Penalties):
    """The regularisers of G."""

    def __init__(self, options: Sequence[Any], generator: nn.Module, collective: Collective) -> None:
        super().__init__(GENERATOR_REGULARISERS, options, generator, collective)

    def seen(self, inputs: Tensor, places: range) -> GeneratorStep:
        """What they may look at.

        Args:
            inputs: G's, latents [N, z_dim] or conditions [N, C, R, R].
            places: see `GeneratorStep`.
        """
        return GeneratorStep(
            generator=self.network,
            inputs=inputs,
            places=places,
            trained=self._trained,
            initial=self._initial,
            features=functools.partial(features_of, self.network) if self._start else None,
            initial_features=functools.partial(features_of, self._start[0]) if self._start else None,
        )
