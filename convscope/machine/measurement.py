"""What this machine can do, measured: precision, layout and kernels, in images per second.

Nothing is assumed from the name of a processor.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.machine.limits import cores
from convscope.models import build
from convscope.recipe import ConvNet, Kernels, Layout, Precision, Recipe
from convscope.training import (
    DTYPES,
    WARMUP,
    accelerate,
    autocast,
    kernels_have_one_thread,
    optimiser,
    own_settings,
    place,
    seconds_now,
    steps_of,
    why_no_kernels,
)

PROBE_MODEL = ConvNet(width=16, depth=3)

NARROW_MODEL = ConvNet(width=4, depth=3)

WIDE_MODEL = ConvNet(width=32, depth=2, block_depth=2)

PROBE_BATCH = 64

# bfloat16 is accurate where its logits differ from float32's by less, relative to their norm
TOLERANCE = 0.02

Way = tuple[Precision, Layout, Kernels]

ROUNDS, WINDOW = 5, 0.05  # seconds

GPU_BURST = 10  # steps between two readings of a clock that waits for the device

# one thread by mistake costs half the speed on two cores, all threads by mistake little
CLEARLY = 1.1


def windows(
    device: str, ways: Sequence[tuple[Way, int]], model: ConvNet = PROBE_MODEL
) -> list[list[float]]:
    """Images per second of whole training steps of a small network, in short windows.

    device: where it trains.
    ways: each with its number of threads; their windows are taken in turns.
    model: the network; batches are of PROBE_BATCH.
    """
    with own_settings(device):
        return rates_of(device, ways, model)


def rates_of(device: str, ways: Sequence[tuple[Way, int]], model: ConvNet) -> list[list[float]]:
    """`windows`, which leaves the number of threads at the last way's."""
    steps = [stepper(device, model, *way) for way, _ in ways]
    rates: list[list[float]] = [[] for _ in ways]
    burst = 1 if device == "cpu" else GPU_BURST
    for _ in range(ROUNDS):
        for one_step, (_, threads), seen in zip(steps, ways, rates, strict=True):
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
                one_step()  # its threads start
            count, started = 0, seconds_now(device)
            while (seconds := seconds_now(device) - started) < WINDOW or not count:
                for _ in range(burst):
                    one_step()
                count += burst
            seen.append(count * PROBE_BATCH / seconds)
    return rates


def fastest(
    device: str, ways: Sequence[Way], threads: int, model: ConvNet = PROBE_MODEL
) -> list[float]:
    """Each way's fastest window: what else the machine does slows windows, never speeds them."""
    return [max(rates) for rates in windows(device, [(way, threads) for way in ways], model)]


def throughput(device: str, way: Way, threads: int) -> float:
    """The median window: for processes side by side, which may slow each other."""
    return statistics.median(windows(device, [(way, threads)])[0])


def stepper(
    device: str, model: ConvNet, precision: Precision, layout: Layout, kind: Kernels
) -> Callable[[], None]:
    """A training step of a network on a batch of noise, warmed up."""
    recipe = Recipe(model=model, device=device, precision=precision, layout=layout, kernels=kind)
    net = accelerate(place(build(model, (3, 32, 32), 10), recipe), recipe)
    optimizer = optimiser(net, recipe)
    x = torch.randn(PROBE_BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(PROBE_BATCH, device=device) % 10

    take_step = steps_of(net, optimizer, recipe)

    def one_step() -> None:
        take_step(x, labels)

    for _ in range(WARMUP + 1):  # the last is recorded where steps are
        one_step()
    return one_step


def is_accurate(device: str, precision: Precision) -> bool:
    """Whether a network's logits in this precision agree with float32 within TOLERANCE."""
    net = build(PROBE_MODEL, (3, 32, 32), 10).to(device)
    x = torch.randn(PROBE_BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(1)).to(device)
    with torch.no_grad():
        exact = net(x)
        with autocast(device, precision):
            other = net(x).float()
    return bool((other - exact).norm() <= TOLERANCE * exact.norm())


@dataclass(frozen=True)
class Numerics:
    """How a device computes fastest.

    precision, layout, kernels: as in a recipe.
    measured: images per second of each way that was tried, with one thread.
    why_not: why there are no compiled kernels.
    """

    precision: Precision
    layout: Layout
    kernels: Kernels
    measured: dict[str, float]
    why_not: str = ""

    @property
    def way(self) -> Way:
        return self.precision, self.layout, self.kernels


def best_numerics(device: str, threads: int | None = None) -> Numerics:
    """Precision, layout and kernels with the highest throughput among those that are accurate.

    threads: of the runs to come; None: one a core. It is measured on that many where compiled
    kernels have one alone; elsewhere one thread stands for all.
    """
    threads = (threads or cores()) if kernels_have_one_thread() else 1
    options: list[tuple[Precision, Layout]] = [
        ("float32", "contiguous"),
        ("float32", "channels_last"),
    ]
    if is_accurate(device, "bfloat16"):
        options.append(("bfloat16", "channels_last"))
    ways: list[Way] = [(*option, "library") for option in options]
    found = fastest(device, ways, threads)
    measured: dict[str, float] = {
        f"{p} {form}": round(rate) for (p, form), rate in zip(options, found, strict=True)
    }
    if device != "cpu":  # a GPU has bfloat16's units for wide layers: small networks don't tell
        wide = fastest(device, ways, threads, WIDE_MODEL)
        of = f", blocks of two convolutions of {WIDE_MODEL.width} filters and more"
        measured |= {
            f"{p} {form}{of}": round(r) for (p, form), r in zip(options, wide, strict=True)
        }
        found = [a * b for a, b in zip(found, wide, strict=True)]
    precision, layout = options[found.index(max(found))]
    library = Numerics(precision, layout, "library", measured)
    if device != "cpu":
        return replace(library, why_not="for CPUs only")
    if reason := why_no_kernels(precision):
        return replace(library, why_not=reason)
    if not agrees(precision, "compiled"):
        return replace(library, why_not="they disagree with the library")
    return best_kernels(library, threads)


def best_kernels(library: Numerics, threads: int) -> Numerics:
    """The kernels that are faster than the library's, whose measurements are added to."""
    precision, layout, measured = library.precision, library.layout, dict(library.measured)
    ways: list[Way] = [library.way, (precision, "channels_last", "compiled")]
    gain = 1.0
    for model, of in ((PROBE_MODEL, ""), (NARROW_MODEL, f", {NARROW_MODEL.width} filters")):
        theirs, compiled = fastest("cpu", ways, threads, model)
        measured[f"{precision} {layout}{of}"] = round(theirs)
        measured[f"{precision} channels_last, compiled kernels{of}"] = round(compiled)
        gain *= compiled / theirs
    if gain <= 1:
        slower = "slower than the library on this machine"
        return replace(library, measured=measured, why_not=slower)
    best = Numerics(precision, "channels_last", "compiled", measured)
    if why_no_kernels(precision, "winograd") or not agrees(precision, "winograd"):
        return best
    of = f", blocks of two convolutions of {WIDE_MODEL.width} filters and more"
    ways = [(precision, "channels_last", "compiled"), (precision, "channels_last", "winograd")]
    compiled, winograd = fastest("cpu", ways, threads, WIDE_MODEL)
    measured[f"{precision} channels_last, compiled kernels{of}"] = round(compiled)
    measured[f"{precision} channels_last, Winograd's convolutions{of}"] = round(winograd)
    return replace(best, kernels="winograd") if winograd > compiled else best


# Gradients may be so many times as far from float32's as the library's in the same precision are:
# Winograd's sums round inputs of tiles once more.
AGREEMENT = {
    "compiled": (
        2,
        (
            PROBE_MODEL,
            ConvNet(8, 2, block_depth=2, norm="batch", skip=True, pool="avg", head="gap"),
        ),
    ),
    "winograd": (3, (WIDE_MODEL,)),
}


def agrees(precision: Precision, kind: Kernels) -> bool:
    """Whether gradients by these kernels are about as near to float32's as the library's are."""
    times, models = AGREEMENT[kind]
    for model in models:
        exact = gradient(model, "float32", "library")
        library, compiled = (
            float((gradient(model, precision, k) - exact).norm() / exact.norm())
            for k in ("library", kind)
        )
        if not compiled <= times * library + 1e-3:
            return False
    return True


def gradient(model: ConvNet, precision: Precision, kind: Kernels) -> Tensor:
    """All parameters' gradients of the mean loss of one batch, as a vector."""
    recipe = Recipe(precision=precision, layout="channels_last", kernels=kind)
    net = accelerate(place(build(model, (3, 32, 32), 10), recipe), recipe)
    x = torch.randn(PROBE_BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    x = x.to(DTYPES[precision]).contiguous(memory_format=torch.channels_last)
    with autocast("cpu", precision):
        out = net(x)
    F.cross_entropy(out.float(), torch.arange(PROBE_BATCH) % 10).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def best_threads(device: str, numerics: Numerics) -> int:
    """One thread for each core, or one where that trains a small network clearly faster now.

    It does so beside other work.
    """
    if device != "cpu" or cores() == 1:
        return 1
    one, all_cores = (
        statistics.median(rates)
        for rates in windows(device, [(numerics.way, 1), (numerics.way, cores())])
    )
    return 1 if one > CLEARLY * all_cores else cores()
