"""Week 05: a photograph of the reader's own, what its tests share, its drawings."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from kit.pictures import is_drawn
from PIL import Image

from practical_dl import check
from practical_dl.weeks import week05

matplotlib.use("agg")

# -- A photograph ------------------------------------------------------------------------------


def kept(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.png", "A.PNG"])
@pytest.mark.parametrize("size", [(640, 427), (31, 200), (1, 1), (2000, 3)])
def test_any_size(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    found = week05.photo(kept(Image.new("RGB", size, (200, 100, 50)), tmp_path / name), 32)
    assert found.shape == (32, 32, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - (200, 100, 50)).max() < 8


def test_the_middle_square(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    path = kept(Image.fromarray(wide), tmp_path / "a.png")
    assert (week05.photo(path, 20) == 255).all()
    assert (week05.photo(str(path), 20) == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGB"])
def test_grey_and_other_colours(tmp_path: Path, mode: str) -> None:
    name = "a.jpg" if mode == "CMYK" else "a.png"
    picture = Image.new("L", (8, 9), 255).convert(mode)
    assert week05.photo(kept(picture, tmp_path / name), 8).min() > 250


def test_sixteen_bits(tmp_path: Path) -> None:
    grey = np.full((9, 8), 257 * 100, np.uint16)
    found = week05.photo(kept(Image.fromarray(grey), tmp_path / "a.png"), 4)
    assert found.shape == (4, 4, 3) and (found == 100).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    clear = Image.new("RGBA", (10, 10), (0, 0, 0, 0)).convert(mode)
    assert (week05.photo(kept(clear, tmp_path / "a.png"), 5) == 255).all()
    palette = Image.new("RGB", (10, 10), (9, 8, 7)).quantize(4)
    path = kept(palette, tmp_path / "b.png", transparency=palette.getpixel((0, 0)))
    assert (week05.photo(path, 5) == 255).all()


def test_as_the_camera_was_held(tmp_path: Path) -> None:
    lying = np.zeros((16, 16, 3), np.uint8)
    lying[:, :8] = 255  # the left half; turned by a quarter it is the upper one
    exif = Image.Exif()
    exif[0x0112] = 6
    path = kept(Image.fromarray(lying), tmp_path / "a.jpg", exif=exif, quality=95)
    found = week05.photo(path, 16)
    assert found[:6].mean() > 240 and found[10:].mean() < 15


def test_anything_else_gets_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(week05.PhotoError, match="there is no file"):
        week05.photo(tmp_path / "none.jpg", 8)
    with pytest.raises(week05.PhotoError, match="there is no file"):
        week05.photo(tmp_path, 8)
    gif = kept(Image.new("RGB", (5, 5)), tmp_path / "a.gif")
    text = tmp_path / "a.jpg"
    text.write_text("no picture")
    for path in (gif, text):
        with pytest.raises(week05.PhotoError, match="neither a JPEG nor a PNG"):
            week05.photo(path, 8)
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    for kind in ("JPEG", "PNG"):
        out = io.BytesIO()
        Image.fromarray(noise).save(out, kind)
        cut = tmp_path / f"cut.{kind}"
        cut.write_bytes(out.getvalue()[: len(out.getvalue()) // 2])
        with pytest.raises(week05.PhotoError, match="cut short or damaged"):
            week05.photo(cut, 8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    large = kept(Image.fromarray(noise), tmp_path / "large.png")
    with pytest.raises(week05.PhotoError, match="too many pixels") as caught:
        week05.photo(large, 8)
    assert caught.value._render_traceback_()[0].startswith("No photograph: ")


# -- What tests share --------------------------------------------------------------------------


def test_tiny_networks() -> None:
    import torch

    for six in (False, True):
        network = week05.tiny_network(np.random.default_rng(0), 3, 4, six)
        x = torch.rand(2, 3, 7, 9, dtype=torch.float64)
        assert network.features(x).shape == (2, 5, 4, 7) and network(x).shape == (2, 4)
        assert not network.training and network(x).std() > 0.01
        again = week05.tiny_network(np.random.default_rng(0), 3, 4, six)
        assert torch.equal(network(x), again(x))


def test_asked_notices_what_is_left_behind() -> None:
    import torch

    model = week05.tiny_network(np.random.default_rng(0), 3, 4)
    x = torch.rand(1, 3, 7, 9, dtype=torch.float64)
    assert week05.asked(lambda m, x: m(x), model, x, call="f(m, x)").shape == (1, 4)
    assert week05.asked(lambda f, x: f(x), torch.exp, x, call="f(exp, x)").shape == x.shape
    for change in (
        lambda m, x: m.train()(x),
        lambda m, x: m(x).sum().backward(),
        lambda m, x: m.features[0].register_forward_hook(print) and m(x) * 0,
        lambda m, x: m.requires_grad_(False)(x),
        lambda m, x: m(x.requires_grad_()),
    ):
        model = week05.tiny_network(np.random.default_rng(0), 3, 4)
        with pytest.raises(check.CheckFailed, match=r"as it was|as they were"):
            week05.asked(lambda m, x, c=change: (c(m, x), 0)[1], model, x, call="f(m, x)")
        x = x.detach()


def test_watched() -> None:
    import torch

    model = week05.tiny_network(np.random.default_rng(0), 3, 4)
    seen = week05.watch(model)
    x = torch.rand(1, 3, 7, 9, dtype=torch.float64)
    model(x), model(2 * x)
    assert len(seen) == 2 and np.allclose(seen[1], 2 * x)


# -- Drawings ----------------------------------------------------------------------------------


def test_drawings_draw_something(published: list) -> None:
    rng = np.random.default_rng(0)
    pictures, maps = rng.uniform(size=(3, 8, 8, 3)), rng.normal(size=(3, 8, 8))
    assert week05.scaled(maps).min() >= 0 and week05.scaled(maps).max() <= 1
    assert (week05.scaled(0 * maps) == 0).all()
    week05.rows(pictures, {"a": maps, "b": maps}, "title")
    assert is_drawn(published)
    _, ax = matplotlib.pyplot.subplots()
    week05.overlaid(ax, pictures[0], maps[0])
    assert is_drawn(published)
    cells = [["1", "2"], ["3", "4"], ["random", "5", "6"]]
    named = {"a": maps[0], "b": maps[1]}
    week05.league(named, named, ["x", "y"], cells, [0, None], "title")
    assert is_drawn(published)
    week05.strip([pictures[0]] * 8, list("abcdefgh"), pictures[1], "title")
    assert is_drawn(published)
