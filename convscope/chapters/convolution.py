"""Is this operator linear, translation-equivariant, a convolution; with which impulse response, or with which counterexample?

The theorem with its proof and a numerical check, the operators of the theory measured one by one, the layers of the best trained network,
and what is left of its predictions when images are shifted. Definitions and proofs: docs/theory.md.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy import stats as scipy_stats
from torch import Tensor, nn

from convscope import charts_operators, device
from convscope.charts_operators import MEASURES, Panel
from convscope.data import Dataset
from convscope.evaluate import autocast
from convscope.findings import Chart, Context, Finding, Table
from convscope.fit import Tensors, eval_batch, is_out_of_memory, place, stratified_subset
from convscope.labels import label_of
from convscope.probes import Counterexample, Probe, probe
from convscope.probes.linearity import LinearityTest, linearity
from convscope.probes.operators import OPERATORS, Known
from convscope.probes.trials import Operator, show_shape
from convscope.recipe import Recipe, UserError, one_line
from convscope.record import Run
from convscope.training import network, resident

NAME = "convolution"
TITLE = "Convolution"
QUESTION = (
    "Is this operator linear, translation-equivariant, a convolution; with which impulse response, or with which counterexample?"
)

ASKED = ("relu", "pick-one", "bias", "matrix")  # the operators that the assignment asks about
TRIALS, LAYER_TRIALS = 128, 32
EXACT = 1e-12  # relative, in float64: what a recovered response and a reconstruction must agree to
SIGNALS = 16
FILES = "counterexamples"

MOST_LAYERS = 24
LAYER_SIZE = 12  # layers are measured on maps of about so many pixels a side: what they are does not depend on it, and small ones are quick
MOST_WORK = 12_000_000  # in channels × out channels × positions, all layers together: about 10 s on one core
MOST_NUMBERS = 1 << 16  # in one input of a layer

SHIFTS = (0, 1, 2, 3, 4)
BORDERS = ("circular", "edge")
BORDER_WORDS = {"circular": "circular shift", "edge": "edge pixels repeated"}
DIRECTIONS = {"right": (-1, 1), "left": (-1, -1), "down": (-2, 1), "up": (-2, -1)}  # where the picture moves: axis, sign
FEWEST_IMAGES, MOST_IMAGES = 500, 5000
FLOPS = {"quick": 1.5e12, "standard": 2e13, "full": 1e14}  # to be spent on shifted images

PROOF = [
    "Terms. (S_k x)(i) = x(i+k) is x shifted by k. δ is the unit impulse: δ(0) = 1 and δ(i) = 0 elsewhere. L is linear: L[ax + by] = a L[x] + b L[y]. "
    "The condition: L[x(i+k)](j) = L[x(i)](j+k) for all k, in short L S_k = S_k L. The impulse response is h = L[δ], and (x ∗ h)(j) = Σᵢ x(i) h(j − i).",
    "Claim. A linear L fulfils the condition for all k if and only if L[x] = x ∗ h with h = L[δ].",
    "Condition ⇒ convolution. Every x is a sum of shifted impulses weighted by its values: x = Σᵢ x(i) δᵢ with δᵢ(n) = δ(n − i), that is δᵢ = S₋ᵢ δ.",
    "By linearity L[x](j) = Σᵢ x(i) L[δᵢ](j).",
    "By the condition with k = −i: L[δᵢ](j) = L[S₋ᵢ δ](j) = L[δ](j − i) = h(j − i). So L[x](j) = Σᵢ x(i) h(j − i) = (x ∗ h)(j).",
    "Convolution ⇒ condition. x ∗ h is linear in x, because each term x(i) h(j − i) is. And (S_k x ∗ h)(j) = Σᵢ x(i+k) h(j − i) = Σₙ x(n) h(j + k − n) "
    "= (x ∗ h)(j + k), with n = i + k, which runs through all positions when i does.",
    "For x = δ: (δ ∗ h)(j) = Σᵢ δ(i) h(j − i) = h(j). The input that outputs the filter is the unit impulse δ. ∎",
    "Where it holds. On N points with circular shifts (i + k modulo N) all sums are finite and the claim is exact: the matrices that commute with the circular shift "
    "are the circulant ones. On the integers ℤ it holds for x with finitely many values that are not 0; for infinite sums linearity alone is not enough, L must also be continuous. "
    "With zero padding the condition holds away from the border, where no window reaches over an end.",
    "torch.nn.Conv2d computes y(j) = Σₙ w(n) x(j + n), a cross-correlation. With n = i − j this is Σᵢ x(i) w(−(j − i)): a convolution with h(n) = w(−n), the kernel flipped.",
]


def forecast(context: Context) -> list[Recipe]:
    """Nothing is trained for this chapter: it looks at the network that the search found."""
    return []


def chapter(context: Context) -> Generator[list[Recipe], list[Run], Finding]:
    yield []
    winner, why = None, "the study has no search for the best network (the chapter best)"
    if "best" in context.chapters:
        while "best" not in context.findings:
            yield []
        winner, why = context.findings["best"].runs.get("winner"), "the search has no winner that was trained"
    if winner is not None:
        runs = yield [winner.recipe]  # finished: it is read, so that the report counts it as used here, too
        winner = next((run for run in runs if run.recipe == winner.recipe), winner)
    if winner is not None and winner.status != "finished":
        winner, why = None, f"the run of the best network {winner.status.replace('_', ' ')}"
    return finding_of(context, check_response(), measure_operators(), measure_network(context, winner, why))


# the theorem on a layer with a known kernel


@dataclass(frozen=True)
class Check:
    """A circular convolution layer with a random kernel: what its impulse response and its reconstruction differ by, relative; None: none found."""

    kernel: tuple[int, ...]  # out × in × height × width
    shape: tuple[int, ...]
    kernel_error: float | None
    reconstruction_error: float | None
    taps: list[dict[str, Any]]  # of the one-dimensional example, for the chart
    signal: list[dict[str, Any]]

    @property
    def holds(self) -> bool:
        return all(error is not None and error <= EXACT for error in (self.kernel_error, self.reconstruction_error))


def check_response() -> Check:
    """Impulses into a layer of known kernel: is the response the flipped kernel, and does it rebuild the layer's output on random signals?"""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(3, 4, (3, 5), padding=(1, 2), padding_mode="circular", bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64))
    shape = (3, 16, 16)
    found = probe(layer, shape).convolution
    kernel_error = response_error(layer, found.impulse_response, found.first)
    rebuilt_error = None
    if found.impulse_response is not None:
        x = torch.randn(SIGNALS, *shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            measured = layer(x)
        rebuilt_error = float((convolve(x, found.impulse_response, found.first) - measured).abs().max() / measured.abs().max())
    return Check(tuple(layer.weight.shape), shape, kernel_error, rebuilt_error, *line_example(generator))


def convolve(x: Tensor, h: Tensor, first: tuple[int, ...]) -> Tensor:
    """(x ∗ h)(j) = Σₙ h(n) x(j − n), circular, summed term by term; x N×C×H×W, h K×C×taps×taps with h(first) at its beginning."""
    total = torch.zeros(len(x), h.shape[0], *x.shape[2:], dtype=x.dtype)
    for a, b in itertools.product(range(h.shape[2]), range(h.shape[3])):
        total += torch.einsum("kc,nchw->nkhw", h[:, :, a, b], x.roll((first[0] + a, first[1] + b), (2, 3)))
    return total


def line_example(generator: torch.Generator) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One channel on a circle of 24 points: the kernel beside the response to δ, and a random signal's L[x] beside x ∗ h."""
    size, radius = 24, 2
    w = torch.randn(2 * radius + 1, generator=generator, dtype=torch.float64)

    def operator(x: Tensor) -> Tensor:
        around = nn.functional.pad(x[None, None], (radius, radius), mode="circular")
        return nn.functional.conv1d(around, w[None, None])[0, 0]

    impulse = torch.zeros(size, dtype=torch.float64)
    impulse[0] = 1.0
    h = operator(impulse)
    x = torch.randn(size, generator=generator, dtype=torch.float64)
    j = torch.arange(size)
    rebuilt = (x[None, :] * h[(j[:, None] - j[None, :]) % size]).sum(1)
    indices = range(-radius, radius + 1)
    taps = [{"n": n, "value": float(w[n + radius]), "series": "kernel w(n)"} for n in indices]
    taps += [{"n": n, "value": float(h[n]), "series": "response h(n)"} for n in indices]
    signal = [{"position": i, "value": v, "series": "L[x]"} for i, v in enumerate(operator(x).tolist())]
    return taps, signal + [{"position": i, "value": v, "series": "x ∗ h"} for i, v in enumerate(rebuilt.tolist())]


def flipped(layer: nn.Conv2d) -> tuple[Tensor, tuple[int, ...]]:
    """The impulse response that a layer's weights and padding say, out × in × taps in float64, and its first index on each axis."""
    weight = layer.weight.detach().to("cpu", torch.float64)
    (out, within), taps, groups = weight.shape[:2], weight.shape[2:], layer.groups
    reach = [d * (k - 1) for k, d in zip(taps, layer.dilation, strict=True)]
    wide = torch.zeros(out, within * groups, *(r + 1 for r in reach), dtype=torch.float64)
    for g in range(groups):
        rows, columns = slice(g * out // groups, (g + 1) * out // groups), slice(g * within, (g + 1) * within)
        wide[rows, columns, :: layer.dilation[0], :: layer.dilation[1]] = weight[rows]
    padding = layer.padding
    left = [r // 2 if padding == "same" else 0 for r in reach] if isinstance(padding, str) else padding
    return wide.flip(-2, -1), tuple(int(p) - r for p, r in zip(left, reach, strict=True))


def response_error(layer: nn.Conv2d, response: Tensor | None, first: tuple[int, ...]) -> float | None:
    """Largest difference of a recovered response and the flipped kernel, relative to the largest weight; None where none was recovered."""
    if response is None:
        return None
    expected, start = flipped(layer)
    low = [min(a, b) for a, b in zip(first, start, strict=True)]
    high = [max(a + n, b + m) for a, n, b, m in zip(first, response.shape[2:], start, expected.shape[2:], strict=True)]
    difference = torch.zeros(*expected.shape[:2], *(h - lo for lo, h in zip(low, high, strict=True)), dtype=torch.float64)
    for part, at, sign in ((response, first, 1.0), (expected, start, -1.0)):
        window = (..., *(slice(a - lo, a - lo + n) for a, lo, n in zip(at, low, part.shape[2:], strict=True)))
        difference[window] += sign * part
    return float(difference.abs().max()) / max(float(expected.abs().max()), 1e-300)


# the operators of the theory


@dataclass(frozen=True)
class Measured:
    """A known operator as measured; `differs` names what is not as the theory says ("linearity: linear, not nonlinear")."""

    name: str
    known: Known
    found: Probe | None
    differs: tuple[str, ...]

    @property
    def title(self) -> str:
        return self.known.title or self.name


def measure_operators() -> list[Measured]:
    """Every known operator, those that were asked about first."""
    order = [*ASKED, *(name for name in OPERATORS if name not in ASKED)]
    return [measure_operator(name, OPERATORS[name]) for name in order]


def measure_operator(name: str, known: Known) -> Measured:
    try:
        found = probe(known.make(), known.shape, trials=TRIALS)
    except UserError as error:
        return Measured(name, known, None, (f"it could not be measured: {one_line(error)}",))
    moves = found.translation
    facts = (
        ("linearity", found.linearity, known.linearity),
        ("translation-equivariant", moves.equivariant, known.equivariant),
        ("period", moves.period, known.period),
        ("border", moves.border, known.border),
        ("invariant", moves.invariant, known.invariant),
        ("impulse response", found.impulse_response is not None, known.convolution),
    )
    return Measured(name, known, found, tuple(f"{what}: {plain(a)}, not {plain(b)}" for what, a, b in facts if a != b))


def plain(value: object) -> str:
    return "yes" if value is True else "no" if value is False else "none" if value is None else str(value)


def operator_numbers(one: Measured, files: dict[tuple[str, str], str]) -> dict[str, Any]:
    if one.found is None:
        return {"measured": False, "as_theory": False, "differs": list(one.differs)}
    found, response = one.found, one.found.impulse_response
    return {
        "measured": True,
        "linearity": found.linearity,
        "equivariant": found.translation.equivariant,
        "period": found.translation.period,
        "border": found.translation.border,
        "invariant": found.translation.invariant,
        "impulse_response": None if response is None else list(response.shape),
        "reconstruction_error": found.convolution.error,
        "broken": {example.law: example.error for example in found.counterexamples},
        "files": [files[one.name, e.law] for e in found.counterexamples if (one.name, e.law) in files],
        "as_theory": not one.differs,
        "differs": list(one.differs),
    }


def operators_table(measured: Sequence[Measured]) -> Table:
    columns = (
        ("operator", "operator", "text"),
        ("linearity", "linear", "text"),
        ("equivariant", "translation-equivariant", "text"),
        ("period", "period", "text"),
        ("border", "border", "text"),
        ("invariant", "invariant", "text"),
        ("response", "impulse response", "text"),
        ("law", "laws that fail: largest error", "text"),
        ("theory", "as the theory says", "text"),
    )
    rows: list[dict[str, Any]] = []
    for one in measured:
        row: dict[str, Any] = {"operator": one.title, "theory": "; ".join(one.differs) or "yes"}
        if one.found is not None:
            moves, response = one.found.translation, one.found.impulse_response
            worst = max(one.found.counterexamples, key=lambda example: example.error, default=None)
            row |= {
                "linearity": one.found.linearity,
                "equivariant": plain(moves.equivariant),
                "period": plain(moves.period),
                "border": str(moves.border),
                "invariant": plain(moves.invariant),
                "response": "no" if response is None else show_shape(response.shape),
                "law": "" if worst is None else f"{laws_of(one.found)}: {worst.error:.2g}",
            }
        rows.append(row)
    caption = (
        f"The first {len(ASKED)} are those of the assignment. Linear is an operator that is additive and homogeneous with f(0) = 0; affine: f − f(0) is. Period s: a shift of the input "
        "by a multiple of s shifts the output along; none: no such s on some axis. Border: so many positions at each end are left out of the judgement, because padding breaks the condition there. "
        "Invariant: a circular shift of the input does not change the output. Impulse responses are out × in × taps. Errors are relative to the largest number in the equation."
    )
    return Table("operators", "Operators, measured", columns, rows, caption)


def laws_of(found: Probe) -> str:
    return ", ".join(law_word(example.law) for example in found.counterexamples)


def law_word(law: str) -> str:
    return "f(0) = 0" if law == "zero" else law


# counterexamples: files and small plots


def file_name(name: str, law: str) -> str:
    return f"{name}-{law.replace(' ', '-')}.safetensors"


def save_counterexamples(context: Context, measured: Sequence[Measured]) -> dict[tuple[str, str], str]:
    """(operator, law) -> file in the study's folder, for those that are there; they are written by the study itself, not by a later report."""
    if context.folder is None:
        return {}
    folder = context.folder / FILES
    there = {}
    for one in measured:
        for example in one.found.counterexamples if one.found is not None else ():
            path = folder / file_name(one.name, example.law)
            if context.live:
                write_counterexample(path, example)
            if path.exists():
                there[one.name, example.law] = f"{FILES}/{path.name}"
    return there


def write_counterexample(path: Path, example: Counterexample) -> None:
    """Beside its place, then renamed: the old file or the new one, never a torn one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    example.save(part)
    part.replace(path)


def panel_of(name: str, example: Counterexample) -> Panel:
    """Both sides of the law along one line through the place where they differ most, and the inputs along theirs."""
    axis = int(example.numbers.get("axis", len(example.shape) - 2)) - (len(example.shape) - 1)  # counted from the end
    same_rank = example.left.ndim == example.x.ndim
    rows = line_of("x", example.x, place_of(example.x), axis)
    rows += line_of("y", example.y, place_of(example.y), axis) if example.y is not None else []
    worst = place_of(example.left - example.right)
    rows += line_of("left side", example.left, worst, axis if same_rank else -1)
    rows += line_of("right side", example.right, worst, axis if same_rank else -1)
    if "factor" in example.numbers:
        law = f"{example.law.removesuffix(' homogeneity')} factor a = {example.numbers['factor']:.3g}".replace("-", "−")
    elif example.law == "equivariance":
        law = f"shift by {int(example.numbers['shift'])}"
    else:
        law = law_word(example.law)
    return Panel(name, law, rows)


def place_of(values: Tensor) -> tuple[int, ...]:
    """Where a tensor has its largest magnitude."""
    return tuple(int(i) for i in torch.unravel_index(values.abs().argmax(), values.shape))


def line_of(series: str, values: Tensor, place: tuple[int, ...], axis: int) -> list[dict[str, Any]]:
    index: list[int | slice] = list(place)
    index[axis] = slice(None)
    return [{"series": series, "position": i, "value": v} for i, v in enumerate(values[tuple(index)].tolist())]


def chosen_examples(measured: Sequence[Measured]) -> tuple[list[tuple[str, Counterexample]], list[tuple[str, Counterexample]]]:
    """All counterexamples of the operators asked about; of each further one the first against linearity and the one against equivariance."""
    asked, further = [], []
    for one in measured:
        examples = one.found.counterexamples if one.found is not None else ()
        if one.name in ASKED:
            asked += [(one.name, example) for example in examples]
        else:
            kinds = {example.law == "equivariance": example for example in reversed(examples)}
            further += [(one.name, kinds[kind]) for kind in sorted(kinds)]
    return asked, further


def counterexample_charts(measured: Sequence[Measured], files: dict[tuple[str, str], str]) -> list[Chart]:
    asked, further = chosen_examples(measured)
    caption = (
        "Above: the input x (and y); below: the two sides of the law, equal where it holds. Additivity: f(x + y) and f(x) + f(y) − f(0). Factor a: f(ax) and a f(x) + (1 − a) f(0). "
        "f(0) = 0: f(0) and 0. Shift: f of the shifted x, and f(x) shifted along (where sizes differ or no period is kept: by whatever shift fits best). Each is shown along one line of its tensor, through the largest value "
        "and through the largest difference. Where the condition is judged inside a border alone, the left side is set to the right one in the border."
    )
    if files:
        (name, _), file = next(iter(files.items()))
        caption += (
            f" Every one is a file in {FILES}/ of the study's folder; in Python, with Counterexample from convscope.probes and OPERATORS from convscope.probes.operators, "
            f'Counterexample.load("{file}").replay(OPERATORS["{name}"].make()) measures its error again.'
        )
    out = []
    for key, title, shown in (
        ("counterexamples", "Counterexamples: the operators of the assignment", asked),
        ("counterexamples_further", "Counterexamples: further operators", further),
    ):
        if shown:
            told = "; ".join(f"{name}: {law_word(example.law)}, error {example.error:.2g}" for name, example in shown)
            spec = charts_operators.counterexamples([panel_of(name, example) for name, example in shown])
            out.append(Chart(key, title, spec, f"Inputs on which a law fails, with the two sides of the law. {told}.", caption))
    return out


# the trained network


@dataclass(frozen=True)
class Network:
    """What was measured on the best trained network. `why` says why there is none, `shifts_why` why its predictions could not be taken."""

    run: Run | None
    label: str
    why: str = ""
    layers: tuple[dict[str, Any], ...] = ()
    left_out: tuple[str, ...] = ()
    images: int = 0
    shifts: tuple[dict[str, Any], ...] = ()
    shifts_why: str = ""


def measure_network(context: Context, run: Run | None, why: str) -> Network:
    if run is None:
        return Network(None, "", why)
    label, shape = one_line(label_of(run.recipe.model)), context.data.in_shape
    try:
        layers, left_out = kept(context, f"layers of {run.id}", lambda: measure_layers(rebuilt(run), shape))
    except UserError as error:
        return Network(None, label, f"the best network ({label}) can't be looked at: {error}")
    images, shifts, shifts_why = 0, [], ""
    try:
        flops = FLOPS[context.preset]
        images, shifts = kept(context, f"shifts of {run.id}", lambda: measure_shifts(rebuilt(run), run, context.data, flops))
    except (UserError, MemoryError, RuntimeError) as error:
        if not isinstance(error, UserError) and not is_out_of_memory(error):
            raise
        shifts_why = one_line(error)
    return Network(run, label, "", tuple(layers), tuple(left_out), images, tuple(shifts), shifts_why)


def kept(context: Context, key: str, what: Callable[[], list[Any]]) -> list[Any]:
    """What depends on the trained weights alone is kept with the study, so that its report is quickly written again."""
    found = context.measure(f"{NAME}: {key}", what)
    return what() if found is None else found


def rebuilt(run: Run) -> nn.Module:
    """The trained network; UserError where its weights are gone or its factory makes another network than it did."""
    try:
        return network(run)
    except (OSError, RuntimeError) as error:
        raise UserError(one_line(error)) from None


# its layers


@dataclass(frozen=True)
class Call:
    """A module without children as it was called in the network; in_shape is one sample's, None where it was not given one tensor alone."""

    name: str
    module: nn.Module
    in_shape: tuple[int, ...] | None
    out_shape: tuple[int, ...]

    @property
    def kind(self) -> str:
        """As Act(relu), MaxPool(2); of long descriptions the class alone."""
        text = str(self.module)
        return one_line(text if len(text) <= 16 else type(self.module).__name__, 40)


def calls_of(net: nn.Module, in_shape: tuple[int, ...]) -> list[Call]:
    """The distinct modules without children in order of execution, those left out that pass their input through (Identity)."""
    calls: dict[nn.Module, Call] = {}
    names = {
        module: name for name, module in net.named_modules() if not any(module.children()) and not isinstance(module, nn.Identity)
    }

    def seen(module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        single = len(inputs) == 1 and isinstance(inputs[0], Tensor) and isinstance(out, Tensor)
        shape = tuple(inputs[0].shape[1:]) if single else None
        calls.setdefault(module, Call(names[module], module, shape, tuple(out.shape[1:]) if single else ()))

    hooks = [module.register_forward_hook(seen) for module in names]
    try:
        with torch.no_grad():
            net(
                torch.randn(2, *in_shape, generator=torch.Generator().manual_seed(0)).to(
                    next((p.dtype for p in net.parameters()), torch.float32)
                )
            )
    finally:
        for hook in hooks:
            hook.remove()
    return list(calls.values())


def measure_layers(net: nn.Module, in_shape: tuple[int, ...]) -> list[Any]:
    """[rows, left out]: a row a layer and mode, and the layers left out, each with the reason. `net` is in evaluation mode and stays so."""
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    work = 0
    for call in calls_of(net, in_shape):
        name = one_line(call.name) or call.kind
        if call.in_shape is None:
            left_out.append(f"{name} (not a function of one tensor)")
            continue
        if len({row["layer"] for row in rows}) >= MOST_LAYERS:
            left_out.append(f"{name} (more than {MOST_LAYERS} layers)")
            continue
        modes = (False, True) if isinstance(call.module, nn.modules.batchnorm._BatchNorm) else (False,)
        more = sum(work_of(call) for _ in modes)
        if work + more > MOST_WORK or math.prod(call.in_shape) > MOST_NUMBERS:
            left_out.append(f"{name} (too large for a quick look)")
            continue
        work += more
        try:
            rows += [measure_layer(call, training) for training in modes]
        except UserError as error:
            left_out.append(f"{name} ({one_line(error)})")
    return [rows, left_out]


def work_of(call: Call) -> int:
    """in channels × out channels × positions of what is done to impulses, which is what a layer's measurement costs."""
    assert call.in_shape is not None
    if not is_map(call):
        return math.prod(call.in_shape) + math.prod(call.out_shape)
    height, width = map_size(call)
    return call.in_shape[0] * call.out_shape[0] * height * width


def is_map(call: Call) -> bool:
    """Whether it makes channels of two axes from channels of two axes."""
    return call.in_shape is not None and len(call.in_shape) == len(call.out_shape) == 3


def map_size(call: Call) -> tuple[int, int]:
    """Small maps on which a layer is measured: three windows wide and large enough to tell its border from its inside."""
    assert call.in_shape is not None
    sides = []
    for axis in (0, 1):
        inputs, outputs = call.in_shape[1 + axis], call.out_shape[1 + axis]
        ratio = max(1, round(inputs / outputs)) if outputs > 1 else 1
        least = LAYER_SIZE
        if isinstance(call.module, nn.Conv2d):
            border = -(-call.module.dilation[axis] * (call.module.kernel_size[axis] - 1) // 2)
            least = max(8, 4 * (border + 1))
        sides.append(ratio * max(3 if ratio > 1 else 1, -(-least // ratio)))
    return sides[0], sides[1]


def measure_layer(call: Call, training: bool) -> dict[str, Any]:
    """What one module is, on inputs of its channels; raises UserError where that can't be said."""
    assert call.in_shape is not None
    was = call.module.training
    call.module.train(training)
    try:
        mode = "training" if training else "evaluation"
        row = {"layer": one_line(call.name) or call.kind, "kind": call.kind, "mode": mode}
        row["sizes"] = f"{show_shape(call.in_shape)} → {show_shape(call.out_shape)}"
        if not is_map(call):
            return row | linear_row(linearity(Operator(call.module, call.in_shape), trials=LAYER_TRIALS))
        return row | map_row(call, probe_map(call))
    finally:
        call.module.train(was)


def probe_map(call: Call) -> Probe:
    """On a small map; a module that takes maps of one size only is measured on these."""
    assert call.in_shape is not None
    try:
        return probe(call.module, (call.in_shape[0], *map_size(call)), trials=LAYER_TRIALS)
    except UserError:
        if math.prod(call.in_shape) > MOST_NUMBERS // 8:
            raise
        return probe(call.module, call.in_shape, trials=LAYER_TRIALS)


def linear_row(test: LinearityTest) -> dict[str, Any]:
    worst = max((example.error for example in test.counterexamples), default=None)
    unknown = dict.fromkeys(("equivariant", "period", "border", "response", "kernel_error"))
    return {"linearity": test.verdict, "error": worst, **unknown, "trials": test.trials}


def map_row(call: Call, found: Probe) -> dict[str, Any]:
    part = found.convolution.linear_part
    error = None
    if isinstance(call.module, nn.Conv2d):
        error = response_error(call.module, part, found.convolution.first)
    return linear_row(found.linearity_test) | {
        "equivariant": found.translation.equivariant,
        "period": found.translation.period,
        "border": found.translation.border,
        "response": None if part is None else list(part.shape),
        "kernel_error": error,
    }


def layers_table(net: Network) -> Table:
    columns = (
        ("layer", "layer", "text"),
        ("kind", "kind", "text"),
        ("sizes", "in the network", "text"),
        ("mode", "mode", "text"),
        ("linearity", "linear", "text"),
        ("equivariant", "translation-equivariant", "text"),
        ("period", "period", "text"),
        ("border", "border", "text"),
        ("response", "impulse response of f − f(0)", "text"),
        ("kernel_error", "against the flipped kernel", "float"),
    )
    rows = []
    for layer in net.layers:
        judged = layer["equivariant"] is not None
        shown = {
            "equivariant": plain(layer["equivariant"]) if judged else "",
            "period": plain(layer["period"]) if judged else "",
            "border": str(layer["border"]) if judged else "",
            "response": show_shape(layer["response"]) if layer["response"] else "",
            "kernel_error": None if layer["kernel_error"] is None else float(f"{layer['kernel_error']:.2g}"),
        }
        rows.append({key: shown.get(key, layer[key]) for key, _, _ in columns})
    caption = (
        f"Each distinct module with its trained weights and the channels it has, measured on small maps in float64, {LAYER_TRIALS} trials each. Layers whose input or output has no two axes "
        "of positions are judged for linearity alone. The last column is the largest difference of a convolution's recovered response and its kernel flipped, relative to the largest weight."
    )
    if net.left_out:
        caption += f" Left out: {', '.join(net.left_out)}."
    return Table("layers", f"The layers of the best trained network: {net.label}", columns, rows, caption)


def kinds_of(layers: Sequence[dict[str, Any]]) -> str:
    """As "2 × Conv2d: affine, equivariant but for a border of 1; MaxPool(2): nonlinear, not equivariant, period 2"."""
    counted = Counter((layer["kind"], layer["mode"], layer_words(layer)) for layer in layers)
    both = {kind for kind, mode, _ in counted if mode == "training"}
    parts = []
    for (kind, mode, words), count in counted.items():
        when = f" in {mode} mode" if kind in both else ""
        parts.append(f"{f'{count} × ' if count > 1 else ''}{kind}{when}: {words}")
    return "; ".join(parts)


def layer_words(layer: dict[str, Any]) -> str:
    if layer["equivariant"] is None:
        return layer["linearity"]
    return f"{layer['linearity']}, {translation_words(layer['equivariant'], layer['period'], layer['border'])}"


def translation_words(equivariant: bool, period: int | None, border: int) -> str:
    inside = f" but for a border of {border}" if border else ""
    if equivariant:
        return f"translation-equivariant{inside}"
    return f"not translation-equivariant, {'no period' if period is None else f'period {period}'}{inside}"


# its predictions on shifted images


def measure_shifts(net: nn.Module, run: Run, data: Dataset, flops: float) -> list[Any]:
    """[number of test images, a row a border and shift]: shares of predictions unchanged and of right ones, means over four directions.

    Intervals of shares are Wilson's for so many images, which is careful for a mean over directions; that of the change of accuracy is of the
    images' own differences. The images are a subset, stratified by class, where all would take more than `flops`.
    """
    recipe = run.recipe
    tensors = resident(recipe, data)
    place(net, recipe)
    labels = tensors.labels["test"]
    moves = [(border, way, k) for border in BORDERS for way in DIRECTIONS for k in shifts_for(tensors.in_shape)]
    count = min(len(labels), images_for(flops, (1 + len(moves)) * run.size["flops"]))
    chosen = torch.arange(len(labels)) if count == len(labels) else stratified_subset(labels.cpu(), count, 0)
    before = torch.get_num_threads()
    try:
        if recipe.device == "cpu":
            torch.set_num_threads(device.cores())
        base, moved = predictions(net, tensors, chosen, recipe, moves)
    finally:
        torch.set_num_threads(before)
    return [count, shift_rows(base, moved, labels.cpu()[chosen])]


def shifts_for(in_shape: tuple[int, int, int]) -> list[int]:
    """Shifts by at least one pixel and less than the image's shorter side."""
    return [k for k in SHIFTS if 0 < k < min(in_shape[1:])]


def images_for(flops: float, each: float) -> int:
    return max(FEWEST_IMAGES, min(MOST_IMAGES, int(flops / max(1, each))))


Move = tuple[str, str, int]  # border, direction, pixels


def predictions(
    net: nn.Module, tensors: Tensors, chosen: Tensor, recipe: Recipe, moves: Sequence[Move]
) -> tuple[Tensor, dict[Move, Tensor]]:
    """Predicted classes of the chosen test images as they are, and after each move."""

    def classes(x: Tensor) -> Tensor:
        return net(x).argmax(1).cpu()

    base: list[Tensor] = []
    moved: dict[Move, list[Tensor]] = {move: [] for move in moves}
    net.eval()
    with torch.no_grad(), autocast(recipe.device, recipe.precision):
        for index in chosen.split(eval_batch(recipe)):
            x = tensors.inputs("test", index.to(recipe.device))
            base.append(classes(x))
            for move in moves:
                moved[move].append(classes(shifted(x, *move)))
    return torch.cat(base), {move: torch.cat(parts) for move, parts in moved.items()}


def shifted(x: Tensor, border: str, way: str, pixels: int) -> Tensor:
    """Images N×C×H×W moved by `pixels`: what leaves on one side comes in on the other ("circular"), or the edge is repeated ("edge")."""
    axis, sign = DIRECTIONS[way]
    size = x.shape[axis]
    source = torch.arange(size, device=x.device) - sign * pixels
    return x.index_select(axis % x.ndim, source % size if border == "circular" else source.clamp(0, size - 1))


def shift_rows(base: Tensor, moved: dict[Move, Tensor], labels: Tensor) -> list[dict[str, Any]]:
    count, right = len(base), (base == labels).double()
    rows = []
    for border in BORDERS:
        for k in SHIFTS:
            ways = {way: moved[border, way, k] for way in DIRECTIONS if (border, way, k) in moved}
            if k == 0:
                rows.append({"border": border, "pixels": 0, "unchanged": None, "unchanged_low": None, "unchanged_high": None, "ways": {},
                             **accuracy_of(right, torch.zeros_like(right))})  # fmt: skip
            elif ways:
                same = {way: float((found == base).double().mean()) for way, found in ways.items()}
                share = math.fsum(same.values()) / len(same)
                low, high = wilson(share, count)
                correct = torch.stack([(found == labels).double() for found in ways.values()]).mean(0)
                rows.append({"border": border, "pixels": k, "unchanged": share, "unchanged_low": low, "unchanged_high": high, "ways": same,
                             **accuracy_of(correct, correct - right)})  # fmt: skip
    return rows


def accuracy_of(correct: Tensor, change: Tensor) -> dict[str, Any]:
    """Accuracy with its interval, and by how much it changed, both from one number an image."""
    share = float(correct.mean())
    low, high = wilson(share, len(correct))
    mean = float(change.mean())
    wide = None
    if len(change) > 1:
        sd = float(change.std(correction=1))
        if sd > 0 or mean == 0:  # a handful of images that change alike leave no interval
            wide = float(scipy_stats.t.ppf(0.975, len(change) - 1)) * sd / math.sqrt(len(change))
    return {"accuracy": share, "accuracy_low": low, "accuracy_high": high, "change": mean,
            "change_low": None if wide is None else max(-1.0, mean - wide), "change_high": None if wide is None else min(1.0, mean + wide)}  # fmt: skip


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a binomial share (Wilson 1927): it does not collapse where the share is 0 or 1."""
    z = float(scipy_stats.norm.ppf(0.975))
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def shifts_table(net: Network) -> Table:
    columns = (
        ("border", "border", "text"),
        ("pixels", "shift (pixels)", "int"),
        ("unchanged", "predictions unchanged", "percent"),
        ("unchanged_low", "95 % from", "percent"),
        ("unchanged_high", "to", "percent"),
        *((way, way, "percent") for way in DIRECTIONS),
        ("accuracy", "accuracy", "percent"),
        ("accuracy_low", "95 % from", "percent"),
        ("accuracy_high", "to", "percent"),
    )
    rows = [
        {**{key: row.get(key, row["ways"].get(key)) for key, _, _ in columns}, "border": BORDER_WORDS[row["border"]]}
        for row in net.shifts
    ]
    caption = f"Of {net.images:,} test images, means over the four directions in which the picture is moved; the four columns are the shares of unchanged predictions for each. Intervals are Wilson's for {net.images:,} images."
    return Table("shifts", "Predictions on shifted images", columns, rows, caption)


def shifts_chart(net: Network) -> Chart:
    keys = {MEASURES[0]: "unchanged", MEASURES[1]: "accuracy"}
    rows = [
        {
            "border": BORDER_WORDS[row["border"]],
            "measure": measure,
            "pixels": row["pixels"],
            "share": row[key],
            "low": row[f"{key}_low"],
            "high": row[f"{key}_high"],
        }
        for row in net.shifts
        for measure, key in keys.items()
        if row[key] is not None
    ]
    return Chart(
        "shifts",
        "Predictions and accuracy against the shift",
        charts_operators.shifts(rows, [BORDER_WORDS[border] for border in BORDERS]),
        f"Shares of test images against the shift in pixels, left for circular shifts, right with edge pixels repeated. {shift_words(net)}",
        f"{net.images:,} test images, means over four directions, bars: 95 % intervals.",
    )


# words


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def span(row: dict[str, Any], key: str) -> str:
    return f"{percent(row[key])} (95 %: {100 * row[f'{key}_low']:.1f} to {percent(row[f'{key}_high'])})"


def shift_words(net: Network) -> str:
    """What shifts do to predictions, by the smallest and by the largest one, for both ways to fill the border."""
    return ". ".join(border_words(net, border) for border in BORDERS if rows_of(net, border)) + "."


def rows_of(net: Network, border: str) -> list[dict[str, Any]]:
    return [row for row in net.shifts if row["border"] == border and row["pixels"] > 0]


def border_words(net: Network, border: str) -> str:
    rows = rows_of(net, border)
    ends = rows[:1] if len(rows) == 1 else [rows[0], rows[-1]]
    kept = " and ".join(f"{span(row, 'unchanged')} for {pixels(row['pixels'])}" for row in ends)
    head = BORDER_WORDS[border]
    return f"{head[0].upper()}{head[1:]}: predictions unchanged {kept}; {change_words(rows[-1], net.images)}"


def change_words(row: dict[str, Any], images: int) -> str:
    change, low, high, by = row["change"], row["change_low"], row["change_high"], pixels(row["pixels"])
    if low is None:
        return f"what {by} do to accuracy can't be told from {images:,} image{'' if images == 1 else 's'}"
    if low == high == 0:
        return f"by {by}, every image is judged as rightly or wrongly as before"
    if low <= 0 <= high:
        told = f"{100 * change:+.1f} points (95 %: {100 * low:+.1f} to {100 * high:+.1f})".replace("-", "−")
        return f"by {by}, accuracy changes by {told}, no difference that {images:,} image{'s' if images > 1 else ''} can show"
    verb, sign = ("falls", -1) if change < 0 else ("rises", 1)
    ends = sorted((100 * sign * low, 100 * sign * high))
    return f"by {by}, accuracy {verb} by {100 * abs(change):.1f} points (95 %: {ends[0]:.1f} to {ends[1]:.1f})"


def pixels(count: int) -> str:
    return f"{count} pixel{'' if count == 1 else 's'}"


def operators_sentence(measured: Sequence[Measured]) -> str:
    differing = [one for one in measured if one.differs]
    agree = f"{len(measured) - len(differing)} of {len(measured)} operators are, measured, as the theory says"
    if differing:
        agree += f"; not as it says: {', '.join(f'{one.title} ({one.differs[0]})' for one in differing)}"
    asked = "; ".join(f"{one.title}: {operator_words(one)}" for one in measured if one.name in ASKED)
    return f"{agree}. {asked}."


def operator_words(one: Measured) -> str:
    if one.found is None:
        return "could not be measured"
    moves = one.found.translation
    return f"{one.found.linearity}, {translation_words(moves.equivariant, moves.period, moves.border)}"


def check_words(check: Check) -> str:
    if check.kernel_error is None or check.reconstruction_error is None:
        return "No impulse response was recovered from a circular convolution, against the theorem."
    verdict = "as the theorem says" if check.holds else f"NOT as the theorem says (more than {EXACT:g})"
    return (
        f"The impulse response of a circular convolution with a random {show_shape(check.kernel)} kernel {against_kernel(check.kernel_error)}, and x ∗ h differs from L[x] by "
        f"{check.reconstruction_error:.1g} of the largest output at most on {SIGNALS} random signals: {verdict}."
    )


def against_kernel(error: float) -> str:
    return (
        f"differs from the flipped kernel by {error:.1g} of the largest weight at most"
        if error
        else "equals the flipped kernel exactly"
    )


def network_sentence(net: Network) -> str:
    if net.run is None:
        return f"Of a trained network nothing can be said: {net.why}."
    if net.shifts_why:
        return f"Whether predictions of the best network ({net.label}) hold under shifts can't be told: {net.shifts_why}."
    if not rows_of(net, BORDERS[0]):
        return f"The images are too small to be shifted, so whether predictions of the best network ({net.label}) hold can't be told."
    return f"The best network ({net.label}) on {net.images:,} shifted test images, mean of four directions: {border_words(net, BORDERS[0])[0].lower()}{border_words(net, BORDERS[0])[1:]}."


def layers_words(net: Network) -> str:
    if not net.layers:
        return f"Layers. In a quick look, no layer of {net.label} could be measured." + (
            f" Left out: {', '.join(net.left_out)}." if net.left_out else ""
        )
    text = f"Layers. As measured with their trained weights: {kinds_of(net.layers)}."
    found = [layer["kernel_error"] for layer in net.layers if layer["kernel_error"] is not None]
    convolutions = sum(1 for layer in net.layers if layer["kind"] == "Conv2d")
    if convolutions:
        text += f" An impulse response (of f − f(0), a bias apart) was recovered from {len(found)} of {convolutions} convolutions"
        text += f"; it {against_kernel(max(found))}." if found else "."
    return text


def paragraphs_of(measured: Sequence[Measured], check: Check, net: Network) -> list[str]:
    test = next((one.found.linearity_test for one in measured if one.found is not None), None)
    out = [f"Check of the theorem. {check_words(check)} The chart shows the same on a line of 24 points."]
    if test is not None:
        low, high = test.scales
        out.append(
            f"Operators. Each is tried on {test.trials} pairs of inputs of {len(test.kinds)} kinds ({', '.join(test.kinds)}) and of magnitudes {low:g} to {high:g}, with positive and negative factors apart, and on "
            "circular shifts, in float64. Where a law fails, the input that shows it is made as small as it can be. A verdict “nonlinear” or “not equivariant” is a "
            f"proof up to the tolerance of {test.tolerance:g}; “linear”, “affine” and “equivariant” mean that no counterexample was found."
        )
    if net.run is None:
        return [*out, f"Trained network. {net.why[:1].upper()}{net.why[1:]}; the theorem and the operators don't need one."]
    out.append(layers_words(net))
    if net.shifts_why:
        out.append(f"Shifts. Predictions could not be taken: {net.shifts_why}.")
    elif rows_of(net, BORDERS[0]):
        out.append(
            f"Shifts. {net.images:,} test images are moved by up to {max(row['pixels'] for row in net.shifts)} pixels right, left, down and up, once circularly, once with the edge pixels repeated. {shift_words(net)} "
            "A network whose convolutions are equivariant need not be: padding and pooling break the condition, and so does a fully connected layer, which weighs each position by itself. "
            "The shares are of one trained network (one seed); the intervals are of the finite number of images."
        )
    return out


def network_numbers(net: Network) -> dict[str, Any]:
    if net.run is None:
        return {"verdict": "cannot tell", "why": net.why}
    errors = [layer["kernel_error"] for layer in net.layers if layer["kernel_error"] is not None]
    return {
        "run": net.run.id,
        "label": net.label,
        "layers": list(net.layers),
        "left_out": list(net.left_out),
        "kernel_error": max(errors, default=None),
        "images": net.images,
        "shifts_why": net.shifts_why,
    }


def finding_of(context: Context, check: Check, measured: Sequence[Measured], net: Network) -> Finding:
    files = save_counterexamples(context, measured)
    differing = [one for one in measured if one.differs]
    agree = len(measured) - len(differing)
    verdict = f"{agree} of {len(measured)} operators are as the theory says"
    if differing:
        verdict += f"; not {', '.join(one.title for one in differing)}"
    alt = f"A kernel of five taps beside the response to an impulse: the same values in reverse order. Right: L[x] of a random signal and x ∗ h. {check_words(check)}"
    response = Chart("impulse_response", "Impulse response", charts_operators.impulse_response(check.taps, check.signal), alt)
    tables = [operators_table(measured)]
    charts = [response, *counterexample_charts(measured, files)]
    if net.layers:
        tables.append(layers_table(net))
    if rows_of(net, BORDERS[0]):
        tables.append(shifts_table(net))
        charts.append(shifts_chart(net))
    return Finding(
        name=NAME,
        title=TITLE,
        question=QUESTION,
        verdict=verdict,
        sentence=f"{operators_sentence(measured)} {network_sentence(net)}",
        numbers={
            "agree": agree,
            "of": len(measured),
            "operators": {one.name: operator_numbers(one, files) for one in measured},
            "check": {
                "holds": check.holds,
                "kernel": list(check.kernel),
                "kernel_error": check.kernel_error,
                "reconstruction_error": check.reconstruction_error,
            },
            "network": network_numbers(net),
            "shifts": list(net.shifts),
        },
        tables=tables,
        charts=charts,
        paragraphs=paragraphs_of(measured, check, net),
        proof=list(PROOF),
    )
