"""Networks as users write them, of every kind that has broken a tool: factories for Custom."""

from __future__ import annotations

import threading

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

Shape = tuple[int, int, int]


def conv(in_shape: Shape) -> nn.Conv2d:
    return nn.Conv2d(in_shape[0], 4, 3, padding=1)


def body(first: nn.Module, num_classes: int, act: nn.Module | None = None) -> nn.Sequential:
    last = nn.Linear(4, num_classes)
    return nn.Sequential(first, act or nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)


def weight_norm(in_shape: Shape, num_classes: int) -> nn.Module:
    return body(parametrizations.weight_norm(conv(in_shape)), num_classes)


def weight_norm_old(in_shape: Shape, num_classes: int) -> nn.Module:
    return body(nn.utils.weight_norm(conv(in_shape)), num_classes)


def spectral_norm(in_shape: Shape, num_classes: int) -> nn.Module:
    return body(parametrizations.spectral_norm(conv(in_shape)), num_classes)


def spectral_norm_old(in_shape: Shape, num_classes: int) -> nn.Module:
    return body(nn.utils.spectral_norm(conv(in_shape)), num_classes)


class LowRank(nn.Module):
    """LoRA: a fixed weight and a trained product of two thin matrices."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(len(weight), 2))
        self.b = nn.Parameter(torch.zeros(2, weight[0].numel()))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.a @ self.b).view_as(weight)


def lora(in_shape: Shape, num_classes: int) -> nn.Module:
    first = conv(in_shape)
    parametrize.register_parametrization(first, "weight", LowRank(first.weight))
    first.get_parameter("parametrizations.weight.original").requires_grad_(False)
    return body(first, num_classes)


def affine(in_shape: Shape, num_classes: int) -> nn.Module:
    return body(parametrizations.weight_norm(conv(in_shape)), num_classes, nn.Identity())


def lazy(in_shape: Shape, num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.LazyConv2d(4, 3),
        nn.LazyBatchNorm2d(),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(num_classes),
    )


class OwnLazy(nn.Module):
    """Makes its last layer when it is first called."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__()
        self.conv, self.num_classes = conv(in_shape), num_classes
        self.fc: nn.Linear | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x)).flatten(1)
        if self.fc is None:
            self.fc = nn.Linear(x.shape[1], self.num_classes)
        return self.fc(x)


class Fourier(nn.Module):
    """A complex weight for each frequency."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__()
        c, h, w = in_shape
        self.weight = nn.Parameter(torch.randn(c, h, w // 2 + 1, dtype=torch.cfloat))
        self.head = nn.Linear(c * h * w, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.fft.irfft2(torch.fft.rfft2(x) * self.weight, s=x.shape[-2:])
        return self.head(torch.relu(y).flatten(1))


class ComplexConv(nn.Module):
    """A complex convolution, whose weight is a 4-dimensional complex tensor."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_shape[0], 4, 3, padding=1, dtype=torch.cfloat)
        self.head = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x.to(self.conv.weight.dtype)).abs().mean((2, 3)))


class Counting(nn.Module):
    """State that is no tensor."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__()
        self.calls, self.loaded = 0, False
        self.net = body(conv(in_shape), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return self.net(x)

    def get_extra_state(self) -> dict[object, object]:
        return {"calls": self.calls, "shape": (1, None, "é"), "w": torch.ones(2), 3: b"ab"}

    def set_extra_state(self, state: dict[object, object]) -> None:
        assert state["shape"] == (1, None, "é") and state[3] == b"ab"
        assert isinstance(state["w"], Tensor) and isinstance(state["calls"], int)
        self.calls, self.loaded = state["calls"], True


class Unrecordable(Counting):
    def get_extra_state(self) -> dict[object, object]:
        return {"function": print}


class Shared(nn.Module):
    """A convolution under two names, and two layers with one weight."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__()
        c = in_shape[0]
        self.a = self.b = nn.Conv2d(c, c, 3, padding=1)
        self.one, self.two = nn.Linear(c, c), nn.Linear(c, c)
        self.two.weight = self.one.weight
        self.head = nn.Linear(c, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.b(self.a(x))).mean((2, 3))
        return self.head(self.two(self.one(x)))


class Functional(nn.Module):
    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(0.1 * torch.randn(4, in_shape[0], 3, 3))
        self.head = nn.Parameter(0.1 * torch.randn(num_classes, 4))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(F.conv2d(x, self.kernel)).mean((2, 3)), self.head)


class Uncopiable(nn.Module):
    """A lock, a generator and a hook that is a method of the network's own."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__()
        self.lock, self.draws, self.seen = threading.Lock(), torch.Generator(), 0
        self.convs = nn.ModuleList([conv(in_shape)])
        self.convs[0].register_forward_hook(self.count)
        self.head = nn.Linear(4, num_classes)

    def count(self, *_: object) -> None:
        self.seen += 1

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return self.head(torch.relu(self.convs[0](x)).mean((2, 3)))


def compiled(in_shape: Shape, num_classes: int) -> nn.Module:
    return torch.compile(body(conv(in_shape), num_classes))  # pyright: ignore[reportReturnType]


def compiled_inside(in_shape: Shape, num_classes: int) -> nn.Module:
    first = torch.compile(conv(in_shape))
    return body(first, num_classes)  # pyright: ignore[reportArgumentType]


def compiled_in_place(in_shape: Shape, num_classes: int) -> nn.Module:
    net = body(conv(in_shape), num_classes)
    net.compile()
    return net


def in_float64(in_shape: Shape, num_classes: int) -> nn.Module:
    return body(conv(in_shape), num_classes).double()


def upsampled(in_shape: Shape, num_classes: int) -> nn.Module:
    up = nn.Sequential(
        conv(in_shape),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(4, 4, 2, 2),
        nn.Upsample(scale_factor=2, mode="bilinear"),
    )
    return body(up, num_classes)


def normalised_vector(in_shape: Shape, num_classes: int) -> nn.Module:
    net = body(conv(in_shape), num_classes)
    return nn.Sequential(*list(net)[:4], nn.BatchNorm1d(4), net[4])


class Changing(nn.Module):
    """A body whose subclasses do something else in training."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__()
        self.net, self.steps = body(conv(in_shape), num_classes), [0]

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TwoAnswers(Changing):
    def forward(self, x: Tensor) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (self.net(x), self.net(x)) if self.training else self.net(x)


class FailsInTraining(Changing):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise KeyError("only in training")
        return self.net(x)


class FailsLater(Changing):
    def forward(self, x: Tensor) -> Tensor:
        self.steps[0] += self.training
        if self.steps[0] > 2:
            raise AttributeError("after two steps")
        return self.net(x)


class Wordless(Changing):
    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 99
        return self.net(x)


def leaves(in_shape: Shape, num_classes: int) -> nn.Module:
    raise SystemExit(f"no network for {num_classes} classes")


class Parameterless(nn.Module):
    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, : self.num_classes]
