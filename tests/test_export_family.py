"""Every network of the family leaves as a graph, a Python file and ONNX; words on scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save

from convscope.deployment.exporting import loaded_alone
from convscope.deployment.graph import graph_of, weights_of
from convscope.deployment.image_network import ImageNetwork
from convscope.deployment.onnx_files import onnx_of, without_batch_norm
from convscope.deployment.onnx_running import OnnxNetwork
from convscope.deployment.scoring import scored
from convscope.deployment.standalone import source_of
from convscope.errors import UserError
from convscope.models.building import build
from convscope.recipe.networks import ConvNet, Model, SoftmaxRegression
from convscope.training import ImageFormat

SHAPE = (2, 12, 10)
FORMAT = ImageFormat(("a", "b", "c"), SHAPE, (120.0, 90.0), (60.0, 50.0))
FAMILY: dict[str, Model] = {
    "softmax": SoftmaxRegression(),
    "whitened, early pooling": ConvNet(
        4, 2, block_depth=2, norm="batch", skip=True, stem="whiten", pool_at="first", head="gap"
    ),
    "group, silu, mean": ConvNet(4, 2, norm="group", activation="silu", pool="avg", hidden=(8,)),
    "affine, gelu, stride": ConvNet(4, 2, norm="affine", activation="gelu", pool="stride"),
    "pixels, dilated": ConvNet(3, 2, pixels="random", dilations=(2, 1), activation="leaky_relu"),
    "random order, tanh": ConvNet(3, 1, order="random", activation="tanh", kernel=5),
}


def made(model: Model) -> ImageNetwork:
    """A network with statistics as after training, negative scales among them."""
    torch.manual_seed(0)
    net = ImageNetwork(build(model, SHAPE, 3, seed=1), FORMAT).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.normal_()
    return net


def images(count: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)


SAMPLE = ("softmax", "whitened, early pooling")  # in `make test`


@pytest.mark.parametrize(
    "name",
    [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.slow) for name in FAMILY],
)
def test_a_network_of_the_family_leaves_unchanged(name: str) -> None:
    net = made(FAMILY[name])
    program = graph_of(net, name)
    text = source_of(program, FORMAT, 'A "net"\\', "0", "id")
    assert max(map(len, text.splitlines())) <= 100
    weights = weights_of(net, program)
    assert set(net.network.state_dict()) <= set(weights)
    alone = loaded_alone({"model.safetensors": save(weights), "network.py": text.encode()})
    with torch.no_grad():
        expected = net(images())
        assert torch.equal(alone(images()), expected)
        assert torch.allclose(alone(images().float() / 255), expected, atol=1e-5)
    with pytest.raises(ValueError, match="must be"):
        alone(images()[0])
    whole = onnx_of(program, SHAPE, name, {})
    for model in (whole, without_batch_norm(whole)):
        run = OnnxNetwork(model.SerializeToString())
        assert torch.allclose(run.over(images()), expected, atol=1e-4)
        assert torch.allclose(run(images(1)), expected[:1], atol=1e-4)
    assert "BatchNormalization" not in {n.op_type for n in without_batch_norm(whole).graph.node}
    assert b"/" not in b"".join(
        p.value.encode() for n in whole.graph.node for p in n.metadata_props
    )


def test_an_order_drawn_for_each_image_has_no_graph() -> None:
    with pytest.raises(UserError, match="torch's exporter does not take it") as error:
        graph_of(made(ConvNet(2, 1, order="per-sample")), "per sample")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("lost", "gained", "differs"), [(0, 0, False), (5, 0, False), (40, 2, True), (30, 28, False)]
)
def test_a_difference_is_called_one_where_chance_does_not_make_it(
    lost: int, gained: int, differs: bool
) -> None:
    labels = torch.zeros(1000, dtype=torch.int64)
    truth, ours = torch.zeros(1000, 2), torch.zeros(1000, 2)
    truth[:, 0] = ours[:, 0] = 1
    ours[:lost] = torch.tensor([0.0, 1.0])
    truth[-gained or 1000 :] = torch.tensor([0.0, 1.0])
    places = torch.arange(1000, dtype=torch.float32)[:, None, None, None]
    found = scored("x", lambda x: ours[x[:, 0, 0, 0].long()], places, labels, truth)
    assert (
        found.differs is differs and found.batches and found.agreement == 1 - (lost + gained) / 1000
    )
    assert found.difference.mean == pytest.approx((gained - lost) / 1000)
    assert np.isclose(found.largest, 1.0 if lost + gained else 0.0)
