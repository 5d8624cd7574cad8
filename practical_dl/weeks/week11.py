"""Week 11: two heaps whose scores are known, a judge of digits, and drawings that teach nothing.

A drawing makes a new figure; `plots.show` ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageOps

from practical_dl import check
from practical_dl.plots import PALETTE

if TYPE_CHECKING:  # here, as in the functions: torch is slow to import
    import torch
    from torch import nn

# -- Two heaps on a line -----------------------------------------------------------------------

_HEAPS, _WEIGHTS, _DEVIATION = np.array([-1.5, 1.0]), np.array([0.4, 0.6]), 0.15
HEAPS_MEAN = float(_HEAPS @ _WEIGHTS)


def heaps_score(x: torch.Tensor, scale: float, sigma: float) -> torch.Tensor:
    """The score at x (n, 1) of scale · heaps + sigma · normal noise."""
    import torch

    variance = scale**2 * _DEVIATION**2 + sigma**2
    away = scale * torch.as_tensor(_HEAPS, dtype=x.dtype) - x
    shares = (torch.as_tensor(np.log(_WEIGHTS), dtype=x.dtype) - away**2 / (2 * variance)).softmax(
        1
    )
    return (shares * away).sum(1, keepdim=True) / variance


def heaps_log(x: np.ndarray) -> np.ndarray:
    """The logarithm of the heaps' density at x (n,)."""
    logs = np.log(_WEIGHTS) - (x[:, None] - _HEAPS) ** 2 / (2 * _DEVIATION**2)
    return np.logaddexp(*logs.T) - np.log(2 * np.pi * _DEVIATION**2) / 2


# -- A judge of digits -------------------------------------------------------------------------


def judge(pictures: torch.Tensor, labels: torch.Tensor, steps: int = 400) -> nn.Module:
    """A classifier of digits, trained here: (n, 1, 8, 8) -> logits (n, 10), in eval mode."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(32, 10)).to(pictures.device)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        some = torch.randint(len(pictures), (128,), device=pictures.device)
        loss = nn.functional.cross_entropy(net(pictures[some]), labels[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval().requires_grad_(False)


def features(judge: nn.Module, pictures: torch.Tensor) -> np.ndarray:
    """The judge's last features of pictures, (n, 32)."""
    return judge[:5](pictures).double().cpu().numpy()


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """The Fréchet distance of two sets of features (n, d), (m, d); week 10 builds it."""
    covariances = [np.cov(rows, rowvar=False) for rows in (first, second)]
    values, vectors = np.linalg.eigh(covariances[0])
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    inner = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariances[1] @ root), 0)).sum()
    means = ((first.mean(0) - second.mean(0)) ** 2).sum()
    return float(means + sum(np.trace(c) for c in covariances) - 2 * inner)


# -- Drawings ----------------------------------------------------------------------------------


def vanishing(
    ratios: Mapping[str, tuple[Sequence[float], Sequence[float]]], stages: Mapping[str, np.ndarray]
) -> None:
    """Named curves of a ratio on a log axis, and named rows of pictures (n, h, w)."""
    figure = plt.figure(figsize=(10.5, 3.4))
    grid = figure.add_gridspec(len(stages), 2, width_ratios=(1, 1.6))
    ax = figure.add_subplot(grid[:, 0])
    for name, (x, y) in ratios.items():
        ax.plot(x, y, label=name)
    ax.set(yscale="log", xlabel="step", ylabel="signal to noise")
    ax.legend(frameon=False)
    for i, (name, row) in enumerate(stages.items()):
        _row(figure.add_subplot(grid[i, 1]), row, -1, 1).set_title(name, fontsize=10)


def _row(ax: plt.Axes, pictures: np.ndarray, low: float, high: float) -> plt.Axes:
    apart = np.pad(pictures, ((0, 0), (0, 0), (0, 1)), constant_values=0.5)
    ax.imshow(np.concatenate(list(apart), axis=1), cmap="gray", vmin=low, vmax=high)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def rows(pictures: Mapping[str, np.ndarray]) -> None:
    """Named rows of pictures (n, h, w) with values from -1 to 1."""
    columns = max(len(row) for row in pictures.values())
    width = 0.72 * columns + 2.2
    figure, axes = plt.subplots(
        len(pictures), 1, figsize=(width, 0.75 * len(pictures)), squeeze=False, layout="none"
    )
    figure.subplots_adjust(left=2.2 / width, right=1, bottom=0, top=1, hspace=0.03)
    for ax, (name, row) in zip(axes[:, 0], pictures.items(), strict=True):
        _row(ax, row, -1, 1).set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)


def tracks(paths: Mapping[str, np.ndarray], shown: int = 40) -> None:
    """By road the places (times, particles) of some particles, coloured by where they end."""
    _, axes = plt.subplots(1, len(paths), figsize=(3.6 * len(paths), 3.3), sharey=True)
    for ax, (name, path) in zip(axes, paths.items(), strict=True):
        time = np.linspace(0, 1, len(path))
        for track in path.T[:shown]:
            color = PALETTE[0] if track[-1] < 0 else PALETTE[1]
            ax.plot(time, track, color=color, lw=0.7, alpha=0.7)
        ax.set(title=name, xlabel="share of the way")
    axes[0].set_ylabel("x")


def quality(found: Mapping[str, Mapping[int, tuple[float, float]]], real: float) -> None:
    """By road and number of calls (Fréchet distance, share as ordered), with real digits' level."""
    _, axes = plt.subplots(1, 2, figsize=(10, 3.8))
    for i, (name, values) in enumerate(found.items()):
        for ax, kind in zip(axes, (0, 1), strict=True):
            y = [value[kind] for value in values.values()]
            ax.plot(list(values), y, marker="o", ms=5, color=PALETTE[i], label=name)
    axes[0].axhline(real, ls=":", color="0.3", label="real digits")
    axes[0].set(
        xscale="log", yscale="log", xlabel="calls of the network", ylabel="Fréchet distance"
    )
    axes[1].set(xscale="log", xlabel="calls of the network", ylabel="share as ordered")
    axes[0].legend(frameon=False)


def sweep(found: Mapping[float, tuple[float, float, float]], within: float) -> None:
    """By guidance (share as ordered, spread within a class, Fréchet distance)."""
    _, axes = plt.subplots(1, 3, figsize=(11, 3.3))
    names = ("share as ordered", "spread within a class", "Fréchet distance")
    for i, (ax, name) in enumerate(zip(axes, names, strict=True)):
        ax.plot(list(found), [value[i] for value in found.values()], marker="o", color=PALETTE[i])
        ax.set(xlabel="guidance w", ylabel=name)
    axes[1].axhline(within, ls=":", color="0.3")


# -- Inpainting --------------------------------------------------------------------------------


def denoiser(pictures: torch.Tensor, betas: torch.Tensor, steps: int, width: int = 24) -> nn.Module:
    """A network that guesses the noise in digits, trained here: (n, 1, 8, 8), t (n,) -> noise.

    It is the seminar's U-Net without labels, and the mean of its weights over the last steps.
    """
    import copy

    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.first, self.second = (
                nn.Sequential(nn.Conv2d(i, outputs, 3, padding=1), nn.GroupNorm(8, outputs))
                for i in (inputs, outputs)
            )
            self.time = nn.Linear(64, outputs)
            self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

        def forward(self, x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
            h = F.silu(self.first(x)) + self.time(e)[:, :, None, None]
            return F.silu(self.second(h)) + self.skip(x)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time = nn.Sequential(nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 64))
            self.enter, self.leave = (
                nn.Conv2d(i, o, 3, padding=1) for i, o in ((1, width), (width, 1))
            )
            self.down, self.below = Block(width, width), Block(width, 2 * width)
            self.up = Block(3 * width, width)

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            waves = 10_000.0 ** (-torch.arange(32, device=x.device) / 32)
            angles = t[:, None].to(x) * waves * (1000 / len(betas))
            e = self.time(torch.cat([angles.sin(), angles.cos()], dim=1))
            fine = self.down(self.enter(x), e)
            coarse = self.below(F.avg_pool2d(fine, 2), e)
            both = [fine, F.interpolate(coarse, scale_factor=2)]
            return self.leave(self.up(torch.cat(both, dim=1), e))

    torch.manual_seed(0)
    net = UNet().to(pictures.device)
    steady = copy.deepcopy(net)
    kept = torch.cumprod(1 - betas, 0).to(pictures)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for step in range(steps):
        x = pictures[torch.randint(len(pictures), (96,), device=pictures.device)]
        t, noise = torch.randint(len(betas), (96,), device=x.device), torch.randn_like(x)
        level = kept[t][:, None, None, None]
        loss = F.mse_loss(net(level.sqrt() * x + (1 - level).sqrt() * noise, t), noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for mean, new in zip(steady.parameters(), net.parameters(), strict=True):
                mean.lerp_(new, 0.02 if step > 50 else 1.0)
    return steady.eval().requires_grad_(False)


def masks(n: int, rng: np.random.Generator) -> np.ndarray:
    """n masks (n, 8, 8), True where a pixel is known: a rectangle is missing, or half, or dots."""
    found = np.ones((n, 8, 8), dtype=bool)
    for i, mask in enumerate(found):
        if i % 4 == 0:
            mask[rng.random((8, 8)) < 0.6] = False
        elif i % 4 == 1:
            np.rot90(mask, int(rng.integers(4)))[:4] = False
        else:
            height, width = rng.integers(3, 6, size=2)
            top, left = rng.integers(0, 9 - height), rng.integers(0, 9 - width)
            mask[top : top + height, left : left + width] = False
    return found


def jumps(times: Sequence[int]) -> None:
    """The times of a sampler, step by step."""
    _, ax = plt.subplots(figsize=(8, 2.8))
    ax.plot(times, color=PALETTE[0], lw=1)
    ax.set(xlabel="call", ylabel="time")


def repaired(columns: Mapping[str, np.ndarray]) -> None:
    """Named rows of pictures (n, h, w); unknown pixels are NaN and drawn in blue."""
    wide = max(len(row) for row in columns.values())
    width = 0.72 * wide + 2.2
    figure, axes = plt.subplots(
        len(columns), 1, figsize=(width, 0.75 * len(columns)), squeeze=False, layout="none"
    )
    figure.subplots_adjust(left=2.2 / width, right=1, bottom=0, top=1, hspace=0.03)
    for ax, (name, row) in zip(axes[:, 0], columns.items(), strict=True):
        _row(ax, row, -1, 1).set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        ax.set_facecolor(PALETTE[5])


def errors(by_name: Mapping[str, np.ndarray]) -> None:
    """Errors (n,) of each way, a dot a picture, with their mean."""
    _, ax = plt.subplots(figsize=(7.5, 0.7 * len(by_name) + 1.2))
    rng = np.random.default_rng(0)
    for i, values in enumerate(by_name.values()):
        ax.scatter(
            values, i + rng.uniform(-0.2, 0.2, len(values)), s=8, alpha=0.4, color=PALETTE[i]
        )
        ax.plot([values.mean()] * 2, [i - 0.35, i + 0.35], color="k", lw=2)
        ax.text(
            values.mean(), i - 0.42, f"{values.mean():.3f}", ha="center", va="bottom", fontsize=9
        )
    ax.set_yticks(range(len(by_name)), list(by_name))
    ax.set(xlabel="squared error of a missing pixel", ylim=(len(by_name) - 0.5, -0.8))


# -- A personal subject ------------------------------------------------------------------------

_HEART = (
    "........",
    ".##.##..",
    "#######.",
    "#######.",
    ".#####..",
    "..###...",
    "...#....",
    "........",
)


def subject(n: int, rng: np.random.Generator) -> np.ndarray:
    """n drawings (n, 1, 8, 8), -1 to 1, of what no digit looks like: a heart, moved and shaded."""
    shape = np.array([[sign == "#" for sign in row] for row in _HEART], dtype=np.float32)
    found = np.empty((n, 1, 8, 8), dtype=np.float32)
    for picture in found:
        moved = np.roll(shape, tuple(rng.integers(-1, 2, size=2)), axis=(0, 1))
        shade = rng.uniform(0.7, 1, size=(8, 8))
        picture[0] = np.clip(2 * moved * shade - 1 + 0.05 * rng.normal(size=(8, 8)), -1, 1)
    return found


def conditional(
    pictures: torch.Tensor,
    labels: torch.Tensor,
    betas: torch.Tensor,
    steps: int,
    width: int = 24,
) -> nn.Module:
    """A network that guesses the noise in digits to order, trained here.

    net(x (n, 1, 8, 8), t (n,), labels (n,)) -> (n, 1, 8, 8). Its parts have names that say what
    they are: `net.words` is the table of labels (an Embedding of 10), `net.attention` attends over
    the sixteen places of the coarse picture by the linear layers query, key, value and out.
    """
    import copy

    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
            self.norm1, self.norm2 = nn.GroupNorm(8, outputs), nn.GroupNorm(8, outputs)
            self.time = nn.Linear(64, outputs)
            self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

        def forward(self, x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
            h = F.silu(self.norm1(self.conv1(x))) + self.time(e)[:, :, None, None]
            return F.silu(self.norm2(self.conv2(h))) + self.skip(x)

    class Attention(nn.Module):
        def __init__(self, d: int) -> None:
            super().__init__()
            self.query, self.key, self.value, self.out = (nn.Linear(d, d) for _ in range(4))
            self.norm = nn.GroupNorm(8, d)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            places = self.norm(x).flatten(2).transpose(1, 2)
            q, k, v = self.query(places), self.key(places), self.value(places)
            looked = F.scaled_dot_product_attention(q, k, v)
            return x + self.out(looked).transpose(1, 2).reshape(x.shape)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(10, 64)
            self.time = nn.Sequential(nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 64))
            self.enter = nn.Conv2d(1, width, 3, padding=1)
            self.leave = nn.Conv2d(width, 1, 3, padding=1)
            self.down, self.below = Block(width, width), Block(width, 2 * width)
            self.attention, self.up = Attention(2 * width), Block(3 * width, width)

        def forward(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            waves = 10_000.0 ** (-torch.arange(32, device=x.device) / 32)
            angles = t[:, None].to(x) * waves * (1000 / len(betas))
            e = self.time(torch.cat([angles.sin(), angles.cos()], dim=1)) + self.words(labels)
            fine = self.down(self.enter(x), e)
            coarse = self.attention(self.below(F.avg_pool2d(fine, 2), e))
            return self.leave(
                self.up(torch.cat([fine, F.interpolate(coarse, scale_factor=2)], 1), e)
            )

    torch.manual_seed(0)
    net = UNet().to(pictures.device)
    steady = copy.deepcopy(net)
    kept = torch.cumprod(1 - betas, 0).to(pictures)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for step in range(steps):
        some = torch.randint(len(pictures), (96,), device=pictures.device)
        x, t = pictures[some], torch.randint(len(betas), (96,), device=pictures.device)
        noise, level = torch.randn_like(x), kept[t][:, None, None, None]
        guess = net(level.sqrt() * x + (1 - level).sqrt() * noise, t, labels[some])
        loss = F.mse_loss(guess, noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for mean, new in zip(steady.parameters(), net.parameters(), strict=True):
                mean.lerp_(new, 0.02 if step > 50 else 1.0)
    return steady.eval()


def to_order(
    net: nn.Module, labels: torch.Tensor, betas: torch.Tensor, calls: int = 20, seed: int = 0
) -> torch.Tensor:
    """Pictures (n, 1, 8, 8) of labels (n,) by DDIM in some calls, from noise by this seed."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(labels), 1, 8, 8, generator=generator).to(labels.device)
    levels = torch.cumprod(1 - betas, 0).tolist()
    times = np.linspace(len(betas) - 1, 0, calls).round().astype(int).tolist()
    with torch.no_grad():
        for t, then in zip(times, [*times[1:], -1], strict=True):
            now, later = levels[t], levels[then] if then >= 0 else 1.0
            noise = net(x, torch.full((len(x),), t, device=x.device), labels)
            clean = ((x - (1 - now) ** 0.5 * noise) / now**0.5).clamp(-1, 1)
            noise = (x - now**0.5 * clean) / (1 - now) ** 0.5
            x = later**0.5 * clean + (1 - later) ** 0.5 * noise
    return x


def balance(points: Mapping[str, tuple[float, float]], xlabel: str, ylabel: str) -> None:
    """Named points (x, y)."""
    _, ax = plt.subplots(figsize=(7, 4.4))
    for i, (name, (x, y)) in enumerate(points.items()):
        ax.scatter(x, y, s=70, color=PALETTE[i % len(PALETTE)])
        ax.annotate(f"  {name}", (x, y), va="center", fontsize=9)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.margins(0.25)


# -- Tests of dreambooth_lora ------------------------------------------------------------------


def slopes(
    made: Callable[[], nn.Module], *inputs: torch.Tensor, call: str
) -> dict[str, np.ndarray]:
    """The gradients of the sum of a module's squared answers, by the name of the parameter.

    made: gives the module, which may be a student's. Of the parameters that are trained alone.
    Raises CheckFailed for what is no module, gives no tensor, or lets no gradient through.
    """
    import torch

    module = made()
    check.parameters_of(module, call)  # or it is no module
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        answer = module(*inputs)
        if not isinstance(answer, torch.Tensor) or not answer.requires_grad:
            raise check.CheckFailed(f"{call}: should: give a tensor that hangs on what is trained")
        found = torch.autograd.grad((answer**2).sum(), list(trained.values()), allow_unused=True)
    pairs = zip(trained, found, strict=True)
    return {name: np.zeros(0) if g is None else g.detach().numpy().copy() for name, g in pairs}


def after_step(
    made: Callable[[], nn.Module], x: torch.Tensor, rate: float, *, call: str
) -> np.ndarray:
    """A module's answer after a step of SGD on what is trained in it, of `slopes`' loss.

    The module is copied by its state dict first, so that what lies outside of it is seen.
    """
    import copy

    import torch

    module = made()
    check.parameters_of(module, call)
    moved = copy.deepcopy(module)
    moved.load_state_dict({name: value.clone() for name, value in module.state_dict().items()})
    trained = [p for p in moved.parameters() if p.requires_grad]
    with torch.enable_grad():
        answer = moved(x)
        if not trained or not answer.requires_grad:
            raise check.CheckFailed(f"{call}: should: have something that is trained")
        (answer**2).sum().backward()
    torch.optim.SGD(trained, lr=rate).step()
    return check.array(moved(x), call)


def fill(made: Callable[[], nn.Module], values: Mapping[str, np.ndarray], *, call: str) -> None:
    """Put numbers into parameters of a module, by name. Raises CheckFailed where they are not."""
    import torch

    module = made()
    check.parameters_of(module, call)
    found = dict(module.named_parameters())
    for name, value in values.items():
        if name not in found or tuple(found[name].shape) != np.shape(value):
            raise check.CheckFailed(f"{call}: should: have {name} of shape {np.shape(value)}")
        with torch.no_grad():
            found[name].copy_(torch.as_tensor(value))


# -- The same on a latent diffusion model of diffusers' ------------------------------------------


class Latent:
    """A latent diffusion model in the parts that diffusers and transformers make of it.

    unet: UNet2DConditionModel. vae: AutoencoderKL. encoder: CLIPTextModel, which turns the numbers
    of `tokenizer` into what the U-Net attends to. scheduler: DDIMScheduler.
    """

    def __init__(self, unet: Any, vae: Any, encoder: Any, tokenizer: Any, scheduler: Any) -> None:
        self.unet, self.vae, self.encoder = unet, vae, encoder
        self.tokenizer, self.scheduler = tokenizer, scheduler
        for part in (unet, vae, encoder):
            part.requires_grad_(False)

    @classmethod
    def load(cls, name: str, device: str) -> Latent:
        """A published model by its name on the Hugging Face hub, from its cache or from the net.

        Raises ModelError where it can't be had, or where diffusers is not installed.
        """
        from practical_dl.models import INSTALL, ModelError

        try:
            import diffusers
            import transformers
        except ImportError:
            raise ModelError(f"the package diffusers is missing: {INSTALL}") from None
        kinds = {
            "unet": diffusers.UNet2DConditionModel,
            "vae": diffusers.AutoencoderKL,
            "text_encoder": transformers.CLIPTextModel,
            "tokenizer": transformers.CLIPTokenizer,
            "scheduler": diffusers.DDIMScheduler,
        }
        try:
            parts = [kind.from_pretrained(name, subfolder=part) for part, kind in kinds.items()]
        except OSError as error:
            raise ModelError(
                f"{name} is neither in the cache nor to be had from the net: "
                f"{str(error).splitlines()[0]}"
            ) from None
        for part in parts[:3]:
            part.to(device)
        return cls(*parts)

    @property
    def betas(self) -> torch.Tensor:
        """Of the model's own noise (T,)."""
        return self.scheduler.betas

    def latents(self, pictures: torch.Tensor) -> torch.Tensor:
        """What the autoencoder makes of pictures (n, 3, h, w), -1 to 1."""
        import torch

        with torch.no_grad():
            means = self.vae.encode(pictures.to(self.vae.device)).latent_dist.mean
        return means * self.vae.config.scaling_factor

    def words(self, texts: Sequence[str]) -> torch.Tensor:
        """What the U-Net attends to for each text (n, length, d)."""
        import torch

        numbers = self.tokenizer(
            list(texts), padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        with torch.no_grad():
            return self.encoder(numbers.to(self.encoder.device))[0]

    def guess(self, x: torch.Tensor, t: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """The guess of the noise in latents (n, c, h, w) at the times t (n,)."""
        return self.unet(x, t, encoder_hidden_states=words).sample

    def adapt(self, r: int, seed: int = 0) -> list[nn.Parameter]:
        """Put peft's LoRA into the attention; its parameters, which alone can be trained."""
        import torch
        from peft import LoraConfig

        torch.manual_seed(seed)
        layers = ["to_q", "to_k", "to_v", "to_out.0"]
        self.unet.add_adapter(LoraConfig(r=r, lora_alpha=r, target_modules=layers))
        return [p for p in self.unet.parameters() if p.requires_grad]

    def draw(self, text: str, n: int, side: int, calls: int = 30, seed: int = 0) -> torch.Tensor:
        """n pictures (n, 3, h, w), 0 to 1, for a text, by DDIM in some calls. side: of latents."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        channels = self.unet.config.in_channels
        x = torch.randn(n, channels, side, side, generator=generator).to(self.unet.device)
        words = self.words([text] * n)
        self.scheduler.set_timesteps(calls)
        with torch.no_grad():
            for t in self.scheduler.timesteps:
                noise = self.guess(x, t.to(x.device).expand(n), words)
                x = self.scheduler.step(noise, t, x).prev_sample
            made = self.vae.decode(x / self.vae.config.scaling_factor).sample
        return (made / 2 + 0.5).clamp(0, 1)


def photographs(folder: str, side: int) -> torch.Tensor | None:
    """The pictures of a folder, their middle squares (n, 3, side, side), -1 to 1; None of none."""
    import torch

    paths = [p for p in sorted(Path(folder).glob("*")) if p.suffix.lower() in (".jpg", ".png")]
    if not paths:
        return None
    size = (side, side)
    squares = [ImageOps.fit(Image.open(path).convert("RGB"), size) for path in paths]
    array = np.stack([np.asarray(square, dtype=np.float32) for square in squares])
    return torch.from_numpy(array / 127.5 - 1).permute(0, 3, 1, 2)


def dreambooth(
    model: Latent,
    loss: Callable[..., torch.Tensor],
    subject: tuple[torch.Tensor, str],
    prior: tuple[torch.Tensor, str],
    steps: int,
    r: int = 4,
    rate: float = 1e-4,
    batch: int = 1,
) -> list[float]:
    """Teach a latent model a subject by LoRA, with rehearsal; the losses of all steps.

    loss: as `dreambooth_loss` of the notebook. subject, prior: pictures (n, 3, h, w), -1 to 1, and
    the text that belongs to them.
    """
    import torch

    parameters = model.adapt(r)
    optimizer = torch.optim.AdamW(parameters, rate)
    sides = [(model.latents(pictures), model.words([text])) for pictures, text in (subject, prior)]
    told = []
    for _ in range(steps):
        halves = []
        for latents, words in sides:
            chosen = latents[torch.randint(len(latents), (batch,), device=latents.device)]
            t = torch.randint(len(model.betas), (batch,), device=latents.device)
            halves.append((chosen, t, torch.randn_like(chosen), words.expand(batch, -1, -1)))
        value = loss(model.guess, *halves, model.betas.to(sides[0][0]))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        told.append(float(value.detach()))
    return told
