"""GanTrainer: one GAN fine-tuning run in plain torch. It knows no Ray and works in a notebook:

>>> trainer = GanTrainer(TrialConfig(resolution=32, kimg=1, evaluation={"metric": "..."}), dataset)  # doctest: +SKIP
>>> while not trainer.done:  # doctest: +SKIP
...     losses = trainer.step()

Under data parallelism every worker holds a trainer built from the same config; a step computes what one worker with the whole
batch would, up to the order of float32 summation.
"""

from __future__ import annotations

import contextlib
import copy
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trainables.augment import AdaptiveAugment, augmented_alike
from trainables.balance import Balance
from trainables.batches import Batch, Batches, Images
from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.discriminators.discriminator import in_trunk
from trainables.losses import ADVERSARIAL
from trainables.networks import (
    build_discriminator,
    build_generator,
    build_task,
    follow_mean_style,
    follow_spectral_norms,
    make_pictures,
    parameters_of,
    z_dim_of,
)
from trainables.objectives import DiscriminatorPenalties, GeneratorPenalties, PictureLosses
from trainables.optim import build_optimizer, update_ema
from trainables.source import LoadReport, architecture_of, load_source, partial_start

Losses = dict[str, Tensor]

_UNEVEN_GROUPS = (
    "D judges samples in groups (mbstd_group), so every worker's part of a batch must be a multiple of it, but {} is none of {}: "
    "batch_size {} over {} parts (workers times speed.micro_batches)"
)


class GanTrainer:
    """Builds G, D, their optimizers and the averaged G from ``config``, and trains them a step at a time.

    Args:
        config: the trial.
        dataset: pictures at ``config.resolution``: what D calls real, or, where G restores pictures, what it restores.
        style: the style pictures of style transfer, else None.
        collective: the workers that share each batch; alone when None.
        device: where the networks live.

    Raises:
        ValueError: the batch cannot be shared evenly by the workers and their micro-batches, the source does not fit, or there
            are no style pictures where the task needs some.
        WeightsNotFoundError: the backbone's weights are not to be had.
    """

    def __init__(
        self,
        config: TrialConfig,
        dataset: Images,
        *,
        style: Images | None = None,
        collective: Collective | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        self.collective = collective or Collective()
        self.device = torch.device(device)
        parts = self.collective.world_size * config.speed.micro_batches
        if config.batch_size % parts:
            raise ValueError(
                f"batch_size {config.batch_size} cannot be shared evenly by {self.collective.world_size} workers "
                f"of {config.speed.micro_batches} micro-batches"
            )
        if style is None and getattr(config.task, "style", None) is not None:
            raise ValueError(f"the task {config.task.name!r} needs style pictures, but got style=None")
        self.step_index = 0
        self.first_step_at = 0.0  # time.time() at which this object's first step began; 0 before
        self.task = build_task(config.task, config.resolution)
        # Initial weights are drawn from the global generator, on the CPU: the same on every worker and device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            generator = build_generator(config.generator, self.task, config.backbone, config.weights)
            discriminator = build_discriminator(config.discriminator, self.task, config.backbone, config.weights)
        self.source_report: LoadReport | None = None
        self._pretrained = False  # all of G
        if config.source:
            self.source_report = load_source(
                config.source, generator, discriminator, config.backbone, partial=config.source_fit == "partial"
            )
            self._pretrained = not any(name.startswith("generator.") for name in self.source_report.lacking)
            self._warn_of_partial_start(config.source, self.source_report)
        self.generator = config.speed.lay_out(generator.to(self.device))
        self.discriminator = config.speed.lay_out(discriminator.to(self.device)).eval()  # see `follow_spectral_norms`
        share, group = config.batch_size // parts, int(discriminator.group)  # type: ignore[arg-type]
        if share % group:
            raise ValueError(_UNEVEN_GROUPS.format(share, group, config.batch_size, parts))
        self.ema = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self._run_generator = config.speed.compiled(self.generator)
        self._run_discriminator = config.speed.compiled(self.discriminator)
        self.batches = Batches(config, self.task, dataset, style, self.z_dim, self.collective, self.device)
        self.adversarial = ADVERSARIAL[config.adversarial]
        self.balance: Balance = self.discriminator.balance  # type: ignore[assignment]
        self.picture_losses = PictureLosses(config, self.task, style, self.collective, self.device)
        # Compiled, D has a forward of its own.
        self._shared_trunk = None if config.speed.compile else self.picture_losses.share_trunk(self.discriminator)
        self.penalties = DiscriminatorPenalties(config.regularisers, config.batch_size, self.discriminator, self.collective)
        self.generator_penalties = GeneratorPenalties(config.generator_regularisers, self.generator, self.collective)
        self.adaptive: AdaptiveAugment | None = None
        if config.adaptive:
            self.adaptive = AdaptiveAugment(config.adaptive, config.speed.micro_batches, source_p=_augment_p(config.source)).to(
                self.device
            )
        self._generator_parameters = parameters_of(self.generator)
        self._discriminator_parameters = parameters_of(self.discriminator)
        rates = config.optimizer
        self.generator_optimizer = build_optimizer(self.generator, rates.generator_lr, rates)
        self.discriminator_optimizer = build_optimizer(self.discriminator, rates.discriminator_lr, rates)

    @property
    def z_dim(self) -> int:
        """Length of G's latents; 0 where G takes pictures."""
        return z_dim_of(self.generator)

    @property
    def images_seen(self) -> int:
        """Real images shown to D so far, over all workers; those of a generator's pre-training count."""
        return self.step_index * self.config.batch_size

    @property
    def kimg(self) -> float:
        """Thousand real images shown to D so far."""
        return self.images_seen / 1000

    @property
    def done(self) -> bool:
        """Whether the run has had all its steps."""
        return self.step_index >= self.config.total_steps

    @property
    def phase(self) -> Literal["generator", "discriminator", "both"]:
        """Who trains: at first G alone, on its picture losses, then D alone, on what G makes by now (NoGAN), then both."""
        if self.step_index < self.config.pretrain_steps:
            return "generator"
        return "discriminator" if self.step_index < self.config.joint_step else "both"

    def step(self) -> Losses:
        """One update of D, one of G (`phase`), one of the averaged G. Returns this worker's losses as detached scalars."""
        self.first_step_at = self.first_step_at or time.time()
        batch = self.batches.at(self.step_index)
        phase, losses = self.phase, Losses()
        if phase != "generator":
            losses |= self.d_step(batch)
        if phase != "discriminator":
            losses |= self.g_step(batch)
        self.step_index += 1
        follow_mean_style(self.generator, batch.inputs_g, self.collective)
        halflife = self.config.ema.halflife(self.images_seen, pretrained=self._pretrained)
        update_ema(self.ema, self.generator, self.config.batch_size, halflife)
        return losses

    def d_step(self, batch: Batch) -> Losses:
        """Updates D on real images and as many generated ones."""
        self._train_discriminator(True)
        follow_spectral_norms(self.discriminator)
        return self._update(self.discriminator_optimizer, self._discriminator_parameters, batch, self._d_losses)

    def g_step(self, batch: Batch) -> Losses:
        """Updates G against D (after pre-training), by the feature distance and, where G restores pictures, by their targets."""
        self._train_discriminator(False)
        self._train_generator()
        return self._update(self.generator_optimizer, self._generator_parameters, batch, self._g_losses)

    @torch.no_grad()
    def sample(self, inputs: Tensor) -> Tensor:
        """Pictures of the averaged generator: float32 [N, 3, H, W] in [-1, 1], on the device.

        Args:
            inputs: latents [N, z_dim], or conditions [N, C, H, W] as `Task.degrade` makes them.
        """
        inputs = self.config.speed.images(inputs.to(self.device))
        with self.config.speed.autocast(self.device):
            return make_pictures(self.task, self.ema, inputs)

    def _d_losses(self, part: Batch) -> Iterator[tuple[Tensor, Losses]]:
        """First what D says of the images, then each regulariser with a forward of its own: one graph is in memory at a time."""
        speed = self.config.speed
        with torch.no_grad(), speed.autocast(self.device):
            fake = make_pictures(self.task, self._run_generator, speed.images(part.inputs_d), noise="random")
        condition = self._condition(part.inputs_d)
        real, seen = self._augmented(part.real, condition, "d_real", part)
        fake, _ = self._augmented(fake, condition, "d_fake" if condition is None else "d_real", part)
        both = None if seen is None else torch.cat([seen, seen])
        with speed.autocast(self.device):
            logits = [torch.tensor_split(x, 2) for x in self._run_discriminator(speed.images(torch.cat([real, fake])), both)]
        real_logits, fake_logits = [x[0] for x in logits], [x[1] for x in logits]
        loss = self.balance.total(self.adversarial.discriminator, real_logits, fake_logits)
        losses = {"d_loss": loss.detach()}
        judged = self.penalties.seen(real, fake, (real_logits, fake_logits), seen, part.mix)
        for name, term in self.penalties(self.step_index, judged, own_graph=False):
            losses[name] = term.detach()
            loss = loss + term
        if self.adaptive is not None:
            losses["augment_p"] = self.adaptive.p.clone()
            images = len(real) * self.collective.world_size
            losses["augment_r"] = self.adaptive.update(real_logits, images, self.collective, self.balance)
        if self.adversarial.boundary:
            with torch.no_grad():
                right = [torch.cat([(r > 0).flatten(), (f < 0).flatten()]) for r, f in zip(real_logits, fake_logits, strict=True)]
                losses["d_accuracy"] = self.balance.mean(torch.mean, torch.stack([x.float().mean() for x in right]))
        yield loss, losses
        for name, term in self.penalties(self.step_index, judged):
            yield term, {name: term.detach()}

    def _g_losses(self, part: Batch) -> Iterator[tuple[Tensor, Losses]]:
        """First what G's pictures say, then each regulariser apart: only one graph is in memory at a time."""
        with self._shared_trunk.sharing() if self._shared_trunk else contextlib.nullcontext():
            terms = self._g_terms(part)
        yield terms
        seen = self.generator_penalties.seen(self.config.speed.images(part.inputs_g), self.batches.places)
        for name, term in self.generator_penalties(self.step_index, seen):
            yield term, {f"g_{name}": term.detach()}

    def _g_terms(self, part: Batch) -> tuple[Tensor, Losses]:
        speed = self.config.speed
        with speed.autocast(self.device):
            fake = speed.images(make_pictures(self.task, self._run_generator, speed.images(part.inputs_g), noise="random"))
        losses, terms = {}, []
        if self.phase != "generator":
            condition = self._condition(part.inputs_g)
            seen, seen_condition = self._augmented(fake, condition, "g", part)
            with speed.autocast(self.device):
                logits = self._run_discriminator(speed.images(seen), seen_condition)
                real_logits = None
                if self.adversarial.needs_real:
                    real, real_condition = self._augmented(part.real, condition, "g_real", part)
                    with torch.no_grad():
                        real_logits = self._run_discriminator(speed.images(real), real_condition)
            terms.append(self.balance.total(self.adversarial.generator, logits, real_logits))
            losses["g_loss"] = terms[0].detach()
        with speed.autocast(self.device):
            for name, weight, term in self.picture_losses(fake, part):
                losses[name] = term.detach()
                terms.append(weight * term)
        return torch.stack(terms).sum(), losses

    def _update(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: list[tuple[str, nn.Parameter]],
        batch: Batch,
        of: Callable[[Batch], Iterator[tuple[Tensor, Losses]]],
    ) -> Losses:
        """One step of ``optimizer`` on the mean over the batch's parts of the sum of their losses; returns the parts' means."""
        count = self.config.speed.micro_batches
        optimizer.zero_grad(set_to_none=True)
        totals: Losses = {}
        for part in batch.parts(count):
            for loss, losses in of(part):
                if loss.requires_grad:  # what looks at frozen layers alone does not
                    (loss / count).backward()
                totals |= {name: totals.get(name, 0) + value / count for name, value in losses.items()}
        self.collective.average_gradients(parameter for _, parameter in parameters)
        optimizer.step()
        return totals

    def _augmented(self, images: Tensor, condition: Tensor | None, purpose: str, part: Batch) -> tuple[Tensor, Tensor | None]:
        if not self.config.augment:
            return images, condition
        p = self.config.augment_p if self.adaptive is None else self.adaptive.p.clone()
        return augmented_alike(images, condition, self.config.augment, part.augmentation[purpose], p)

    def _condition(self, inputs: Tensor) -> Tensor | None:
        return inputs if self.config.discriminator.conditional else None

    def _warn_of_partial_start(self, source: str, report: LoadReport) -> None:
        def build(options: Any) -> nn.Module:
            return build_generator(options, self.task, self.config.backbone)

        told = partial_start(source, report, self.config.generator, build)
        if told and self.collective.rank == 0:
            warnings.warn(told, stacklevel=3)

    def _train_generator(self) -> None:
        """MineGAN's miner is trained alone at first; Adam passes over what has no gradient."""
        alone = self.kimg < getattr(self.generator, "miner_alone_kimg", 0.0)
        for name, parameter in self._generator_parameters:
            parameter.requires_grad_(not alone or name.startswith("miner."))

    def _train_discriminator(self, train: bool) -> None:
        for _, parameter in self._discriminator_parameters:
            parameter.requires_grad_(train)

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes in training. The parts of D's trunk that are frozen are left out; they never change."""
        return {
            "step": self.step_index,
            "backbone": self.config.backbone,
            "generator": self.generator.state_dict(),
            "ema": self.ema.state_dict(),
            "discriminator": self._changing_part_of_discriminator(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "regularisers": self.penalties.state_dict(),
            "generator_regularisers": self.generator_penalties.state_dict(),
            "adaptive": self.adaptive.state_dict() if self.adaptive else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on exactly where `state_dict` was taken.

        Raises:
            ValueError: the state is of other networks.
        """
        expected = self._changing_part_of_discriminator().keys()
        if state["discriminator"].keys() != expected:
            wrong = sorted(expected ^ state["discriminator"].keys())
            raise ValueError(f"the checkpoint is of another discriminator: {len(wrong)} tensors differ, e.g. {wrong[0]}")
        self.step_index = state["step"]
        self.generator.load_state_dict(state["generator"])
        self.ema.load_state_dict(state["ema"])
        self.discriminator.load_state_dict(state["discriminator"], strict=False)
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        self.penalties.load_state_dict(state["regularisers"])
        self.generator_penalties.load_state_dict(state.get("generator_regularisers", {}))  # earlier checkpoints had none
        if self.adaptive:
            self.adaptive.load_state_dict(state["adaptive"])

    def _changing_part_of_discriminator(self) -> dict[str, Tensor]:
        trained = {name for name, _ in self._discriminator_parameters}
        return {k: v for k, v in self.discriminator.state_dict().items() if k in trained or not in_trunk(k)}


def _augment_p(source: str | None) -> float | None:
    """ADA's p when the source's training ended, where it tells one."""
    p = None if source is None else architecture_of(source).metadata.get("augment_p")
    return None if p is None else float(p)
