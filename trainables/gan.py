"""GanTrainer: one GAN fine-tuning run in plain torch. It knows no Ray and works in a notebook:

>>> trainer = GanTrainer(TrialConfig(resolution=32, kimg=1, evaluation={"metric": "..."}), dataset)  # doctest: +SKIP
>>> while not trainer.done:  # doctest: +SKIP
...     losses = trainer.step()

Under data parallelism every worker holds a trainer built from the same config; a step computes what one worker with the whole
batch would, up to the order of float32 summation.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainables.augment import augmentation_numbers, diff_augment
from trainables.backbones import BACKBONES, load_backbone
from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.discriminators import DISCRIMINATORS
from trainables.discriminators.trunk import resize
from trainables.generators import GENERATORS, Frame
from trainables.losses import ADVERSARIAL, feature_distance, moments
from trainables.optim import discriminator_optimizer, generator_optimizer, update_ema
from trainables.randomness import batch_indices, keyed_generator, noise
from trainables.source import LoadReport, load_source


class Images(Protocol):
    """What a trainer needs of a data set (`trainables.data.ImageDataset`)."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """float32 [len(indices), C, H, W] in [-1, 1]."""


class GanTrainer:
    """Builds G, D, their optimizers and the averaged G from ``config``, and trains them a step at a time.

    Args:
        config: the trial.
        dataset: real images at ``config.resolution``.
        collective: the workers that share each batch; alone when None.
        device: where the networks live.

    Raises:
        ValueError: the batch cannot be shared evenly by the workers.
        WeightsNotFoundError: the backbone's weights are not to be had.
    """

    def __init__(
        self, config: TrialConfig, dataset: Images, *, collective: Collective | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.collective = collective or Collective()
        self.device = torch.device(device)
        if config.batch_size % self.collective.world_size:
            raise ValueError(f"batch_size {config.batch_size} cannot be shared evenly by {self.collective.world_size} workers")
        self.step_index = 0
        self.first_step_at = 0.0  # time.time() at which this object's first step began; 0 before
        info = BACKBONES[config.backbone]
        # Initial weights are drawn from the global generator, on the CPU: the same on every worker and device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            backbone = load_backbone(info, config.weights)
            self.extractor: nn.Module | None = None
            if config.feature_loss.layers and config.feature_loss.weight > 0:
                self.extractor = copy.deepcopy(backbone).freeze(info.depth).to(self.device)
            self.generator: nn.Module = GENERATORS[config.generator.name](
                config.generator, Frame(config.resolution), lambda _: load_backbone(info, config.weights)
            )
            self.discriminator: nn.Module = DISCRIMINATORS[config.discriminator.name](
                config.discriminator, lambda _: copy.deepcopy(backbone)
            )
        self.source_report: LoadReport | None = None
        if config.source:
            self.source_report = load_source(Path(config.source), self.generator, self.discriminator, config.backbone)
        self.generator.to(self.device)
        self.discriminator.to(self.device)
        self.ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.adversarial = ADVERSARIAL[config.adversarial]
        self.generator_optimizer = generator_optimizer(self.generator, config.optimizer)
        self.discriminator_optimizer = discriminator_optimizer(self.discriminator, config.optimizer)
        self._trained_by_d = [p for p in self.discriminator.parameters() if p.requires_grad]
        self._trained_by_g = [p for p in self.generator.parameters() if p.requires_grad]

    @property
    def images_seen(self) -> int:
        """Real images shown to D so far, over all workers."""
        return self.step_index * self.config.batch_size

    @property
    def kimg(self) -> float:
        """Thousand real images shown to D so far."""
        return self.images_seen / 1000

    @property
    def done(self) -> bool:
        """Whether the run has had all its steps."""
        return self.step_index >= self.config.total_steps

    def step(self) -> dict[str, Tensor]:
        """One update of D, one of G, one of the averaged G. Returns this worker's losses as detached scalars."""
        self.first_step_at = self.first_step_at or time.time()
        real = self.real_batch(self.step_index)
        losses = self.d_step(real) | self.g_step(real)
        self.step_index += 1
        update_ema(self.ema, self.generator, self.config.batch_size, self.images_seen, self.config.ema)
        return losses

    def d_step(self, real: Tensor) -> dict[str, Tensor]:
        """Updates D on ``real`` [N, C, H, W] and as many generated images."""
        with torch.no_grad():
            fake = self.generator(self._noise("d"))
        self.discriminator.requires_grad_(False)
        for parameter in self._trained_by_d:
            parameter.requires_grad_(True)
        images = torch.cat([self._augment(real, "d_real"), self._augment(fake, "d_fake")])
        logits = [torch.tensor_split(x, 2) for x in self.discriminator(images)]
        real_logits, fake_logits = [x[0] for x in logits], [x[1] for x in logits]
        loss = self.adversarial.discriminator(real_logits, fake_logits)
        self._update(self.discriminator_optimizer, loss, self._trained_by_d)
        with torch.no_grad():
            accuracy = torch.stack([((r > 0).float().mean() + (f < 0).float().mean()) / 2 for r, f in logits]).mean()
        return {"d_loss": loss.detach(), "d_accuracy": accuracy}

    def g_step(self, real: Tensor) -> dict[str, Tensor]:
        """Updates G against D, and by the feature distance to ``real`` [N, C, H, W]."""
        self.discriminator.requires_grad_(False)
        fake = self.generator(self._noise("g"))
        loss_adv = self.adversarial.generator(self.discriminator(self._augment(fake, "g")))
        losses = {"g_loss": loss_adv.detach()}
        loss = loss_adv
        if self.extractor is not None:
            loss_fd = self._feature_distance(fake, real)
            losses["feature_distance"] = loss_fd.detach()
            loss = loss_adv + self.config.feature_loss.weight * loss_fd
        self._update(self.generator_optimizer, loss, self._trained_by_g)
        return losses

    def real_batch(self, step: int) -> Tensor:
        """This worker's share of global batch ``step``, float32 [B / workers, C, H, W] in [-1, 1], on the device."""
        indices = batch_indices(len(self.dataset), self.config.batch_size, self.config.seed, step)
        images = self.dataset.batch(indices[self._share])
        if images.shape[-2:] != (self.config.resolution,) * 2:
            raise ValueError(
                f"the data set's images must be {self.config.resolution} px a side, but are {tuple(images.shape[-2:])}"
            )
        return images.to(self.device)

    @torch.no_grad()
    def sample(self, z: Tensor) -> Tensor:
        """Images of the averaged generator for latents [N, z_dim]: float32 [N, C, H, W] in [-1, 1], on the device."""
        return self.ema(z.to(self.device))

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes in training. The parts of the trunk that are frozen are left out; they never change."""
        return {
            "step": self.step_index,
            "generator": self.generator.state_dict(),
            "ema": self.ema.state_dict(),
            "discriminator": self._changing_part_of_discriminator(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on exactly where `state_dict` was taken."""
        self.step_index = state["step"]
        self.generator.load_state_dict(state["generator"])
        self.ema.load_state_dict(state["ema"])
        expected = self._changing_part_of_discriminator().keys()
        if state["discriminator"].keys() != expected:
            wrong = sorted(expected ^ state["discriminator"].keys())
            raise ValueError(f"the checkpoint is of another discriminator: {len(wrong)} tensors differ, e.g. {wrong[0]}")
        self.discriminator.load_state_dict(state["discriminator"], strict=False)
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])

    def _changing_part_of_discriminator(self) -> dict[str, Tensor]:
        trained = {id(p) for p in self._trained_by_d}
        names = {name for name, p in self.discriminator.named_parameters() if id(p) in trained}
        state = self.discriminator.state_dict()
        return {k: v for k, v in state.items() if k in names or not k.startswith("backbone.")}

    @property
    def _share(self) -> slice:
        return self.collective.share(self.config.batch_size)

    def _noise(self, purpose: str) -> Tensor:
        z = noise(self.config.batch_size, self.generator.z_dim, self.config.seed, purpose, self.step_index)  # type: ignore[arg-type]
        return z[self._share].to(self.device)

    def _augment(self, images: Tensor, purpose: str) -> Tensor:
        generator = keyed_generator(self.config.seed, "augment", purpose, self.step_index)
        numbers = augmentation_numbers(self.config.batch_size, self.config.augment, generator)
        return diff_augment(images, self.config.augment, numbers[self._share])

    def _feature_distance(self, fake: Tensor, real: Tensor) -> Tensor:
        assert self.extractor is not None
        options = self.config.feature_loss
        of_fake = self.extractor(resize(fake, options.input_px), options.layers)
        with torch.no_grad():
            of_real = moments(self.extractor(resize(real, options.input_px), options.layers), self.collective)
        return feature_distance(moments(of_fake, self.collective), of_real)

    def _update(self, optimizer: torch.optim.Optimizer, loss: Tensor, parameters: list[nn.Parameter]) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.collective.average_gradients(parameters)
        optimizer.step()
