"""Week 05's reference solutions against captum and shap, on tiny networks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shap
import torch
from captum import attr

from practical_dl.weeks import week05

FILE = Path(__file__).parents[2] / "weeks" / "week05_interpretability" / "practice.py"


@pytest.fixture(scope="module")
def notebook() -> dict[str, Any]:
    """The solutions of the notebook, and the worked functions that they use."""
    names: dict[str, Any] = {}
    cells = re.split(r"(?m)^# %% ?(.*)$", FILE.read_text("utf-8"))
    code = list(zip(cells[1::2], cells[2::2], strict=True))
    needed = [text for mark, text in code if "import copy" in text]
    needed += [text for mark, text in code if not mark and "def coalitions" in text]
    needed += [text for mark, text in code if mark.startswith("solution")]
    exec("profile = 'small'\n" + "\n".join(needed), names)
    return names


@pytest.fixture(params=[False, True])
def case(request: pytest.FixtureRequest) -> tuple[Any, Any, Any]:
    """A tiny network, pictures and their targets."""
    rng = np.random.default_rng(1)
    model = week05.tiny_network(rng, 3, 4, request.param)
    x = torch.from_numpy(rng.uniform(-1, 3, (3, 3, 8, 10)))
    return model, x, torch.tensor([2, 0, 3])


def agree(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-8)


def test_saliency(notebook: dict[str, Any], case: tuple[Any, Any, Any]) -> None:
    model, x, target = case
    theirs = attr.Saliency(model).attribute(x.clone(), target=target).amax(1)
    agree(notebook["saliency"](model, x, target), theirs)


def test_integrated_gradients(notebook: dict[str, Any], case: tuple[Any, Any, Any]) -> None:
    model, x, target = case
    theirs = attr.IntegratedGradients(model).attribute(
        x, 0.5 * x + 0.2, target=target, n_steps=40, method="riemann_middle"
    )
    agree(notebook["integrated_gradients"](model, x, target, 0.5 * x + 0.2, 40), theirs)


@pytest.mark.parametrize("case", [False], indirect=True)  # captum guides at nn.ReLU alone
def test_guided_backprop(notebook: dict[str, Any], case: tuple[Any, Any, Any]) -> None:
    model, x, target = case
    theirs = attr.GuidedBackprop(model).attribute(x.clone(), target=target)
    agree(notebook["guided_backprop"](model, x, target), theirs)


def test_grad_cam(notebook: dict[str, Any], case: tuple[Any, Any, Any]) -> None:
    model, x, target = case
    found = attr.LayerGradCam(model, model.features).attribute(
        x, target=target, relu_attributions=True
    )
    theirs = attr.LayerAttribution.interpolate(found, (8, 10), "bilinear")[:, 0]
    agree(notebook["grad_cam"](model, model.features, x, target), theirs)


def test_shapley_and_kernel_shap(notebook: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    worth = rng.normal(size=2**5)

    def value(z: np.ndarray) -> np.ndarray:
        return worth[np.asarray(z).astype(int) @ 2 ** np.arange(5)]

    def forward(z: Any) -> Any:
        return torch.from_numpy(value(z.numpy()))

    exact = attr.ShapleyValues(forward).attribute(torch.ones(1, 5), perturbations_per_eval=1)
    np.testing.assert_allclose(notebook["shapley"](value, 5), exact[0], rtol=1e-5, atol=1e-6)
    ours = notebook["kernel_shap"](value, 5)
    np.testing.assert_allclose(ours, exact[0], rtol=1e-5, atol=1e-6)
    torch.manual_seed(0)
    sampled = attr.KernelShap(forward).attribute(torch.ones(1, 5), n_samples=2000)
    np.testing.assert_allclose(ours, sampled[0], atol=0.15)


def test_smooth_grad(notebook: dict[str, Any], case: tuple[Any, Any, Any]) -> None:
    model, x, target = case
    wide = x.amax((1, 2, 3)) - x.amin((1, 2, 3))
    ours = notebook["smooth_grad"](
        model, x, target, 2000, generator=torch.Generator().manual_seed(0)
    )
    for one, t, spread, mine in zip(x, target, wide, ours, strict=True):
        noisy = one + 0.15 * spread * torch.randn(2000, *one.shape, dtype=one.dtype)
        theirs = attr.Saliency(model).attribute(noisy, target=int(t)).amax(1).mean(0)
        torch.testing.assert_close(mine, theirs.detach(), rtol=0.1, atol=0.02)


def test_kernel_shap_is_that_of_its_inventors(notebook: dict[str, Any]) -> None:
    """With all coalitions, as `shap` finds them for so few players."""
    rng = np.random.default_rng(3)
    worth = rng.normal(size=2**6)

    def value(z: np.ndarray) -> np.ndarray:
        return worth[np.round(np.asarray(z)).astype(int) @ 2 ** np.arange(6)]

    explainer = shap.KernelExplainer(value, np.zeros((1, 6)))
    theirs = explainer.shap_values(np.ones((1, 6)), nsamples=10_000, l1_reg=False, silent=True)
    np.testing.assert_allclose(notebook["kernel_shap"](value, 6), theirs[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(notebook["shapley"](value, 6), theirs[0], rtol=1e-6, atol=1e-8)
