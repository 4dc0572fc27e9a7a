"""Every model of the zoo: its output shape, its size, that it learns, and the properties that each documents."""

import re

import pytest
import torch
from torch import Tensor, nn

from trainserve.api.catalogue import MODELS
from trainserve.models import zoo
from trainserve.models.errors import DataError, UserError

CLASSES = 4


def textures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return noisy images (N, 1, 8, 8) of horizontal or vertical stripes, chequerboard or grey, and their classes."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    line = torch.arange(8) % 2
    lying, standing = line.view(8, 1).expand(8, 8), line.view(1, 8).expand(8, 8)
    patterns = torch.stack([lying, standing, (lying + standing) % 2, torch.full((8, 8), 0.5)])
    noise = torch.randn(count, 1, 8, 8, generator=random)
    return patterns[labels].unsqueeze(1) * 2 - 1 + 0.3 * noise, labels


def learn(network: nn.Module, steps: int, rate: float) -> tuple[float, float]:
    """Return the loss of the first and of the last step, each on unseen images."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
    losses = []
    for step in range(steps):
        images, labels = textures(16, seed=step)
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


@pytest.mark.parametrize(
    ("name", "options", "steps", "rate"),
    [
        ("convnet", {}, 10, 3e-3),
        ("gru", {}, 15, 5e-3),
        ("lstm", {"layers": 2, "bidirectional": True}, 15, 5e-3),
        ("resnet9", {"width": 16}, 10, 1e-2),
        ("resnet18", {}, 6, 1e-3),
        ("resnet34", {"stem": "cifar"}, 6, 1e-3),
        ("resnet50", {}, 4, 1e-3),
    ],
)
def test_a_model_of_the_zoo_learns_what_images_it_has_not_seen_show(
    name: str, options: dict[str, object], steps: int, rate: float
) -> None:
    torch.manual_seed(0)
    first, last = learn(zoo.build(name, options, (8, 8, 1), CLASSES), steps, rate)
    assert last < first / 4


def test_every_model_has_the_parameters_and_the_outputs_that_the_table_says() -> None:
    rows = re.findall(r"^\| (\w+) +\|.*?\| +([\d,]+) +\| +([\d,]+) +\|$", zoo.__doc__ or "", re.MULTILINE)
    assert sorted(name for name, *_ in rows) == sorted(MODELS)
    for name, *counts in rows:
        for shape, count in zip([(32, 32, 3), (28, 28, 1)], counts, strict=True):
            network = zoo.build(name, {}, shape, 10).eval()
            assert f"{sum(parameter.numel() for parameter in network.parameters()):,}" == count, name
        with torch.no_grad():
            assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 10), name


def test_the_convnet_computes_what_the_textbook_order_of_its_layers_does() -> None:
    torch.manual_seed(0)
    network = zoo.build("convnet", {}, (28, 28, 3), 10)
    images = torch.randn(5, 3, 28, 28)
    parameters = dict(network.named_parameters())
    convolved = torch.relu(
        nn.functional.conv2d(images, parameters["convolution.weight"], parameters["convolution.bias"])
    )
    pooled = nn.functional.max_pool2d(convolved, 2)
    # The textbook flattens channel by channel: its dense layer has the same weights in that order.
    dense = parameters["hidden.weight"].reshape(128, 13, 13, 32).permute(0, 3, 1, 2).flatten(1)
    hidden = torch.relu(nn.functional.linear(pooled.flatten(1), dense, parameters["hidden.bias"]))
    textbook = nn.functional.linear(hidden, parameters["head.weight"], parameters["head.bias"])
    torch.testing.assert_close(network(images), textbook)


def test_relu_and_max_pool_may_change_places_bit_for_bit() -> None:
    values = torch.randn(4, 8, 11, 9)
    before = nn.functional.max_pool2d(torch.relu(values), 2)
    assert torch.equal(torch.relu(nn.functional.max_pool2d(values, 2)), before)


@pytest.mark.parametrize(
    ("size", "options", "kernel"),
    [
        (64, {}, 3),
        (65, {}, 7),
        (32, {"stem": "imagenet"}, 7),
        (224, {"stem": "cifar"}, 3),
    ],
)
def test_the_stem_of_a_resnet_suits_the_images_or_is_as_asked(size: int, options: dict[str, str], kernel: int) -> None:
    network = zoo.build("resnet18", options, (size, 28, 3), 10)
    assert dict(network.named_parameters())["conv1.weight"].shape == (64, 3, kernel, kernel)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_blocks_of_a_resnet_begin_as_their_shortcuts(name: str) -> None:
    network = zoo.build(name, {}, (8, 8, 1), 10)
    last = {"resnet18": "bn2.weight", "resnet50": "bn3.weight"}[name]
    gammas = [weights for path, weights in network.named_parameters() if path.endswith(last)]
    assert len(gammas) == {"resnet18": 8, "resnet50": 16}[name]
    assert not any(gamma.any() for gamma in gammas)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("both_ways", [False, True])
def test_a_recurrent_model_reads_the_rows_and_answers_from_its_last_states(
    kind: type[nn.LSTM], both_ways: bool
) -> None:
    torch.manual_seed(0)
    options = {"hidden": 16, "layers": 2, "bidirectional": both_ways}
    network = zoo.build(kind.__name__.lower(), options, (6, 5, 3), 4)
    cells, head = list(network.children())
    images = torch.randn(7, 3, 6, 5)
    rows = torch.stack([images[:, :, row].transpose(1, 2).flatten(1) for row in range(6)], dim=1)
    _, state = cells(rows)
    final = state[0] if kind is nn.LSTM else state
    expected = head(torch.cat([*final[-2:]], dim=1) if both_ways else final[-1])
    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize(("name", "side"), [("convnet", 3), ("resnet9", 7)])
def test_images_too_small_for_a_model_are_refused_with_the_size_it_needs(name: str, side: int) -> None:
    with pytest.raises(DataError, match=rf"^images of {side}x28 are too small for {name}; at least {side + 1}x"):
        zoo.build(name, {}, (side, 28, 1), 10)


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("convnet", {"depth": 3}, "model.options.depth: unknown field; allowed: channels, hidden"),
        (
            "convnet",
            {"chanels": 3},
            "model.options.chanels: unknown field; did you mean 'channels'? allowed: channels, hidden",
        ),
        ("convnet", {"channels": 0}, "model.options.channels: 0 is not allowed; must be >= 1"),
        ("convnet", {"hidden": "wide"}, 'model.options.hidden: "wide" is not allowed; must be a valid integer'),
        ("lstm", {"layers": 33}, "model.options.layers: 33 is not allowed; must be <= 32"),
        ("gru", {"bidirectional": 1}, "model.options.bidirectional: 1 is not allowed; must be a valid boolean"),
        (
            "resnet18",
            {"stem": "imagnet"},
            "model.options.stem: \"imagnet\" is not allowed; must be 'auto', 'cifar' or 'imagenet'",
        ),
        ("resnet9", {"width": 0}, "model.options.width: 0 is not allowed; must be >= 1"),
        ("resnet", {}, "model.name: 'resnet' is unknown; did you mean 'resnet9' or 'resnet50' or 'resnet34'? known: "),
    ],
)
def test_what_a_model_does_not_take_is_refused_by_name(name: str, options: dict[str, object], text: str) -> None:
    with pytest.raises(UserError) as error:
        zoo.build(name, options, (28, 28, 1), 10)
    assert str(error.value).startswith(text)


def test_options_change_the_model() -> None:
    body = zoo.build("convnet", {"channels": 8, "hidden": 16}, (28, 28, 3), 4)
    assert [tuple(weights.shape) for weights in body.parameters() if weights.ndim > 1] == [
        (8, 3, 3, 3),
        (16, 13 * 13 * 8),
        (4, 16),
    ]
