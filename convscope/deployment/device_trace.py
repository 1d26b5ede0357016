"""Which operators a network calls: it runs once, on one image, and torch's calls are recorded.

So every module can be looked at, whatever Python stands in its `forward`. What is recorded is the
way that this image takes; what a network computes outside torch cannot be seen, and is noted.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from convscope.deployment.device_graph import Constant, Graph, Operator, pruned
from convscope.deployment.device_operators import (
    COPIES,
    MATRIX_PRODUCTS,
    NORMALISATIONS,
    POOLINGS,
    axis_folds,
    kind_of,
    macs_of,
    outputs_that_count,
)
from convscope.errors import UserError
from convscope.models import RAISED, copied, fault, modules_of
from convscope.words import count, listed

Place = tuple[int, tuple[int, ...], tuple[int, ...]]  # offset, shape and strides in a storage


def traced(net: nn.Module, in_shape: tuple[int, ...]) -> tuple[Graph, tuple[str, ...]]:
    """(operators of a network in evaluation mode for one image, what could not be seen).

    net: is left as it was; a copy of it runs.
    in_shape: of one image.
    Raises UserError where the network does not take such an image.
    """
    net = copied(net).cpu()
    net.eval()
    first = recorded(net, torch.zeros(1, *in_shape))
    notes = list(first.notes)
    if first.foreign:  # constants of the code, or what another library made of the image?
        random = torch.rand(1, *in_shape, generator=torch.Generator().manual_seed(0))
        second = recorded(net, random)
        differ = [
            tuple(a.shape)
            for a, b in zip(first.foreign, second.foreign, strict=False)
            if not torch.equal(a, b)
        ]
        if differ or len(first.foreign) != len(second.foreign):
            notes.append(
                "a part of the network computes outside torch: what it does there is not counted"
            )
    return first.graph(), tuple(notes)


def recorded(net: nn.Module, images: Tensor) -> Recorder:
    recorder = Recorder(net, images)
    try:
        with (
            torch.no_grad(),
            small_calls(),
            sdpa_kernel(SDPBackend.MATH),
            recorder.naming(),
            recorder,
        ):
            outputs = net(images)
    except RAISED as error:
        shape = "×".join(map(str, images.shape[1:]))
        raise UserError(f"the network does not take {shape} images: {fault(error)}") from error
    recorder.finish(tensors_in(outputs))
    return recorder


@contextlib.contextmanager
def small_calls() -> Iterator[None]:
    """Within it, torch computes attention and recurrent layers in parts, not as one call each."""
    fast, library = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(library)


class Recorder(TorchDispatchMode):
    """Within it, each call of torch is an operator, constants are folded, views are free.

    foreign: tensors that no recorded call has made, and that do not belong to the network.
    """

    def __init__(self, net: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.net, self.images = net, images
        self.paths: list[str] = []
        self.operators: list[Operator] = []
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.whole: dict[int, int] = {}  # storage -> its value
        self.parts: dict[int, dict[Place, int]] = {}  # storage -> values that are parts of it
        self.made = {storage(t) for t in tensors_of(net)}  # storages of constants that are known
        self.kept: list[Tensor] = [images]  # so that no storage is used again
        self.foreign: list[Tensor] = []
        self.outputs: tuple[int, ...] = ()
        self.uncounted: dict[str, None] = {}
        self.reads_values = False
        self.calls = 0
        self.made_by: dict[int, int] = {}  # value -> number of the call whose first output it is
        self.input = self.new(images)
        self.whole[storage(images)] = self.input

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Within it, `paths` ends with the path of the module that runs."""
        hooks = []
        for path, module in modules_of(self.net):
            hooks.append(module.register_forward_pre_hook(functools.partial(self.entered, path)))
            hooks.append(module.register_forward_hook(self.left))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def entered(self, path: str, _module: nn.Module, _inputs: object) -> None:
        self.paths.append(path)

    def left(self, _module: nn.Module, _inputs: object, _output: object) -> None:
        self.paths.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self.calls += 1
        out = func(*args, **kwargs)
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        results = outputs_that_count(func, [t for t in tree_leaves(out) if isinstance(t, Tensor)])
        self.kept += [*given, *results]
        values = [self.value(t) for t in given]
        for t, value in zip(given, values, strict=True):
            if value is None and storage(t) not in self.made:
                self.made.add(storage(t))
                self.foreign.append(t.detach().clone())
        if func is torch.ops.aten._local_scalar_dense.default:
            self.reads_values |= any(value is not None for value in values)
        if not results or all(value is None for value in values):
            self.made.update(storage(t) for t in results)
        elif func._schema.is_mutable:
            self.written(func, args, given, results)
        elif not self.is_view(given, results):
            self.call(func, args, given, results)
        return out

    def is_view(self, given: list[Tensor], results: list[Tensor]) -> bool:
        """Whether a call only shows a map in another shape, order or memory layout: free."""
        depends = [t for t in given if self.value(t) is not None]
        if len(depends) != 1 or len(results) != 1 or results[0].numel() < depends[0].numel():
            return False
        if storage(results[0]) != storage(depends[0]):
            return False
        value = self.value(depends[0])
        assert value is not None
        if self.whole.get(storage(results[0])) != value:
            self.parts.setdefault(storage(results[0]), {})[place(results[0])] = value
        return True

    def call(
        self, func: Any, args: tuple[Any, ...], given: list[Tensor], results: list[Tensor]
    ) -> Operator:
        """An operator with values of its own."""
        inputs = tuple(value for t in given if (value := self.value(t)) is not None)
        constants = tuple(one for t in given if (one := self.constant(t)) is not None)
        kind = kind_of(func, args, [t.numel() for t in results], given)
        macs = macs_of(func, args, results)
        if macs is None:
            macs = 0
            free = torch.Tag.pointwise in func.tags or kind in COPIES
            if not free and any(not one.wide for one in constants):
                self.uncounted[kind] = None
        if kind in NORMALISATIONS and constants:  # two vectors; statistics are folded into them
            key = tuple(one.key for one in constants)
            width = max(one.values for one in constants)
            constants = (Constant(key, 2 * width, True),)
        out = results[0]
        channels = 0
        if macs and kind not in MATRIX_PRODUCTS:
            channels = out.shape[1] if out.ndim == 4 else out.shape[-1]
        elif kind == "matmul" and constants:
            kind, channels = "linear", out.shape[-1]
        same = len(set(inputs)) == 1 and len(results) == 1 and self.over(func, kind, inputs, out)
        operator = Operator(
            name=self.paths[-1] if self.paths else "",
            kind=kind,
            inputs=inputs,
            outputs=tuple(self.new(t) for t in results),
            macs=macs,
            constants=constants,
            over=inputs[0] if same else None,
            channels=channels,
            folds=axis_folds(func, kind, given, out),
            pools=kind in POOLINGS,
        )
        self.operators.append(operator)
        self.made_by[operator.outputs[0]] = self.calls - 1
        for t, value in zip(results, operator.outputs, strict=True):
            self.register(t, value)
        return operator

    def over(self, func: Any, kind: str, inputs: tuple[int, ...], out: Tensor) -> bool:
        """Whether each place of the output depends on the same place of one input alone."""
        by_place = torch.Tag.pointwise in func.tags or kind in NORMALISATIONS
        return by_place and math.prod(self.shapes[inputs[0]]) == out.numel()

    def written(
        self, func: Any, args: tuple[Any, ...], given: list[Tensor], results: list[Tensor]
    ) -> None:
        """A call that changes a tensor: its storage has another value from now on."""
        target = args[0] if args and isinstance(args[0], Tensor) else given[0]
        where = storage(target)
        old = self.whole.get(where)
        operator = self.call(func, args, given, results[:1] or [target])
        (value,) = operator.outputs
        full = target.untyped_storage().nbytes() // target.element_size()
        if full != target.numel():  # a part of a larger buffer
            self.shapes[value] = (full,)
            inputs = operator.inputs if old is None else (old, *operator.inputs)
            self.operators[-1] = replace(
                operator, inputs=tuple(dict.fromkeys(inputs)), over=old, kind="copy"
            )
        elif old is not None and operator.over is None and old in operator.inputs:
            self.operators[-1] = replace(operator, over=old)
        self.parts.pop(where, None)
        self.whole[where] = value
        self.made.discard(where)

    def new(self, tensor: Tensor) -> int:
        self.shapes[len(self.shapes)] = tuple(tensor.shape[1:]) if tensor.ndim else ()
        return len(self.shapes) - 1

    def register(self, tensor: Tensor, value: int) -> None:
        """Where a new value lies: in a storage of its own, or in a part of another one's."""
        where = storage(tensor)
        if where in self.whole and self.whole[where] != value:
            self.parts.setdefault(where, {})[place(tensor)] = value
        else:
            self.whole[where] = value

    def value(self, tensor: Tensor) -> int | None:
        """The value of a tensor; None of a constant."""
        where = storage(tensor)
        known = self.parts.get(where, {}).get(place(tensor))
        return self.whole.get(where) if known is None else known

    def constant(self, tensor: Tensor) -> Constant | None:
        """A tensor that does not depend on the image; None where it does, or is a bare number."""
        if self.value(tensor) is not None:
            return None
        where = storage(tensor)
        if not tensor.ndim:
            return None
        sides = sum(side > 1 for side in tensor.shape)
        wide = sides < 2 or not tensor.is_floating_point()
        # a weight of one output, or of one input, has one long side and is a weight all the same
        wide = wide and not (tensor.is_floating_point() and tensor.ndim in (2, 4, 5))
        return Constant((where, tensor.storage_offset(), tensor.numel()), tensor.numel(), wide)

    def finish(self, outputs: Iterable[Tensor]) -> None:
        values = (self.value(t) for t in outputs)
        self.outputs = tuple(dict.fromkeys(value for value in values if value is not None))

    @property
    def notes(self) -> list[str]:
        """What could not be seen."""
        told = []
        if self.uncounted:
            kinds = listed(self.uncounted)
            told.append(
                f"multiplications are not counted of {count(len(self.uncounted), 'kind')} "
                f"of operator: {kinds}"
            )
        if self.reads_values:
            told.append(
                "the network looks at values of its maps: counted is the way that an empty image "
                "takes"
            )
        if not self.outputs:
            told.append("no output is seen to depend on the image")
        return told

    def graph(self) -> Graph:
        return pruned(Graph(tuple(self.operators), dict(self.shapes), (self.input,), self.outputs))


def tensors_in(outputs: Any) -> list[Tensor]:
    """The tensors of what a network returns, in whatever it puts them."""
    return [one for one in tree_leaves(outputs) if isinstance(one, Tensor)]


def storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def place(tensor: Tensor) -> Place:
    return int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride()


def tensors_of(net: nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers, and tensors that modules hold as attributes."""
    yield from net.parameters()
    yield from net.buffers()
    for module in net.modules():
        yield from (value for value in vars(module).values() if isinstance(value, Tensor))
