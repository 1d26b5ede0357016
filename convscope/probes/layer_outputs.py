"""The outputs of a network's layers as it runs, and their middle positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from convscope.errors import UserError, did_you_mean, one_line
from convscope.models import RAISED, fault, leaves
from convscope.probes.trials import name_of, show_shape


def layers_of(network: Callable[..., Any]) -> dict[nn.Module, str]:
    """The layers of a network with their paths, as in the table of sizes; none of a function.

    The network goes into evaluation mode.
    """
    if not isinstance(network, nn.Module):
        return {}
    network.eval()
    return leaves(network)


def first_tensor(out: Any) -> Any:
    """Of several outputs the first tensor (or None); of one output, this one."""
    if isinstance(out, tuple | list):
        return next((o for o in out if isinstance(o, Tensor)), None)
    return out


def middle(out: Tensor, spatial: int, where: tuple[int, ...] = ()) -> Tensor:
    """samples × channels of the middle output; of an output without the input's axes, all of it.

    spatial: the number of the input's axes.
    where: the dimensions that they are of the output; without them, the last ones.
    """
    if not where and out.ndim != spatial + 2:
        return out.reshape(len(out), -1)
    index: list[slice | int] = [slice(None)] * out.ndim
    for d in where or range(2, out.ndim):
        index[d] = out.shape[d] // 2
    return out[tuple(index)].reshape(len(out), -1)


def called(network: Callable[..., Any], x: Tensor, name: str) -> Any:
    """What a network returns; raises UserError, with its `name`, where it does not take x."""
    try:
        return network(x)
    except RAISED as error:
        raise UserError(
            f"{name} does not take {show_shape(x.shape)} batches: {fault(error)}"
        ) from None


class LayerOutput:
    """A network as a function that gives a layer's output (of its first call).

    layer: its path; None: the network's output. Raises UserError for a path that is not there.
    """

    def __init__(self, network: nn.Module, layer: str | None) -> None:
        self.network, self.name = network, name_of(network)
        modules = dict(network.named_modules())
        if layer is not None and layer not in modules:
            known = did_you_mean(layer, [name for name in modules if name])
            raise UserError(f"layer {one_line(layer)!r} of {self.name}{known}")
        self.layer = None if layer is None else modules[layer]

    def __call__(self, x: Tensor) -> Tensor:
        outs: list[Any] = []
        if self.layer is None:
            outs.append(called(self.network, x, self.name))
        else:
            hook = self.layer.register_forward_hook(lambda _m, _i, out: outs.append(out))
            try:
                called(self.network, x, self.name)
            finally:
                hook.remove()
        if not outs or not isinstance(outs[0], Tensor):
            raise UserError(f"{self.name}: the layer gives no tensor")
        return outs[0]
