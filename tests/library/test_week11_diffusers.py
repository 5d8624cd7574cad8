"""Week 11: what `full` does to a model of diffusers' runs here on its classes, untrained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from autograder.authoring.text import parse
from practical_dl.models import ModelError
from practical_dl.weeks import week11

WEEK = Path(__file__).parents[2] / "weeks" / "week11_diffusion"


def reference(notebook: str, *tasks: str) -> dict[str, Callable]:
    """The references of a notebook's tasks, by name."""
    text, _ = parse((WEEK / f"{notebook}.py").read_text("utf-8"), WEEK.name, notebook)
    names = {"torch": torch, "F": F, "np": np, "Callable": Callable, "Half": tuple}
    names["Sequence"] = Sequence
    for task in tasks:
        exec(text.solutions[task].source, names)
    return names


@pytest.fixture(scope="module")
def model() -> week11.Latent:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
    )
    letters = [chr(i) for i in range(ord("a"), ord("z") + 1)]
    signs = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocab = {sign: i for i, sign in enumerate([*signs, "<|startoftext|>", "<|endoftext|>"])}
    config = CLIPTextConfig(
        vocab_size=len(vocab),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=len(signs),
        eos_token_id=len(signs) + 1,
    )
    tokenizer = CLIPTokenizer(vocab, [], model_max_length=12)
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    return week11.Latent(unet, vae, CLIPTextModel(config), tokenizer, scheduler)


def test_only_lora_is_taught_by_the_notebooks_loss(model: week11.Latent) -> None:
    loss = reference("dreambooth_lora", "dreambooth_loss")["dreambooth_loss"]
    before = {name: value.clone() for name, value in model.unet.state_dict().items()}
    subject, prior = torch.rand(6, 3, 16, 16) * 2 - 1, torch.rand(3, 3, 16, 16) * 2 - 1
    text = "a drawing of a sks heart", "a drawing of a heart"
    told = week11.dreambooth(
        model, loss, (subject, text[0]), (prior, text[1]), 3, rate=0.01, batch=2
    )
    assert len(told) == 3 and np.isfinite(told).all() and all(0.1 < value < 10 for value in told)
    after = model.unet.state_dict()
    for name, value in before.items():  # LoRA wraps a layer: its own numbers get a longer name
        new = after.get(name, after.get(name.replace(".weight", ".base_layer.weight")))
        if new is None:
            new = after[name.replace(".bias", ".base_layer.bias")]
        assert torch.equal(new, value), name
    changed = [name for name in after if "lora_B" in name and bool(after[name].any())]
    assert len(changed) == sum("lora_B" in name for name in after) > 0


def test_a_text_is_drawn(model: week11.Latent) -> None:
    first, again = (model.draw("a heart", 2, side=8, calls=3) for _ in range(2))
    assert first.shape == (2, 3, 16, 16) and float(first.min()) >= 0 and float(first.max()) <= 1
    assert torch.equal(first, again)
    assert not torch.equal(model.words(["a heart"]), model.words(["a digit"]))


def test_photographs_are_squares(tmp_path: Path) -> None:
    assert week11.photographs(str(tmp_path), 16) is None
    Image.new("RGB", (60, 20), (255, 0, 0)).save(tmp_path / "a.png")
    Image.new("L", (20, 40), 0).save(tmp_path / "b.JPG")
    made = week11.photographs(str(tmp_path), 16)
    assert made is not None and made.shape == (2, 3, 16, 16)
    assert made[0, :, 8, 8].tolist() == [1.0, -1.0, -1.0] and float(made[1].max()) < -0.9


def test_a_model_that_cannot_be_had_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="neither in the cache nor to be had"):
        week11.Latent.load(str(tmp_path / "nobody"), "cpu")


def test_schedules_and_steps_are_diffusers() -> None:
    names = reference("seminar", "q_sample", "ddim_sample", "posterior")
    scheduler = DDPMScheduler(
        num_train_timesteps=50, beta_schedule="linear", beta_start=0.1 / 50, beta_end=20 / 50
    )
    betas = names["schedule"](50, "linear")
    torch.testing.assert_close(scheduler.betas.double(), betas, rtol=1e-5, atol=1e-7)
    squared = DDPMScheduler(num_train_timesteps=50, beta_schedule="squaredcos_cap_v2")
    torch.testing.assert_close(squared.betas.double(), names["schedule"](50), rtol=1e-4, atol=1e-6)
    x0, noise, t = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 7, 31, 49])
    ours = names["q_sample"](x0, t, noise, betas)
    torch.testing.assert_close(scheduler.add_noise(x0, noise, t), ours, rtol=1e-4, atol=1e-5)
    steps = DDIMScheduler(
        num_train_timesteps=50,
        trained_betas=betas.numpy(),
        timestep_spacing="trailing",
        clip_sample=False,
    )
    steps.set_timesteps(10)
    theirs = x0
    for time in steps.timesteps:
        theirs = steps.step(torch.sin(theirs), time, theirs).prev_sample
    ours = names["ddim_sample"](lambda x, t: torch.sin(x), x0, steps.timesteps.tolist(), betas)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
    mean, variance = names["posterior"](x0[:1], noise[:1], torch.tensor([31]), betas)
    chain = DDPMScheduler(
        num_train_timesteps=50,
        trained_betas=betas.numpy(),
        variance_type="fixed_small",
        clip_sample=False,
        prediction_type="sample",
    )
    found = chain.step(x0[:1], 31, noise[:1], generator=torch.Generator().manual_seed(1))
    drawn = torch.randn(1, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        found.prev_sample, mean + variance.sqrt().float() * drawn, rtol=1e-4, atol=1e-4
    )
