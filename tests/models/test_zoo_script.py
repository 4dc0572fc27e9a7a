"""`model.script: path.py:function`: a user's own network, and every way in which it can fail."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainserve.models import zoo
from trainserve.models.errors import UserError
from trainserve.models.zoo import script

Write = Callable[..., Path]

LINEAR = """
import torch
from torch import nn

def network(shape, outputs, hidden=4):
    height, width, channels = shape
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(hidden), nn.ReLU(), nn.Linear(hidden, outputs))
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "net.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def build(path: Path, function: str = "network", **options: object) -> torch.nn.Module:
    return zoo.build(f"{path}:{function}", options, (6, 5, 2), 3)


def test_the_users_function_is_called_with_the_shape_the_outputs_and_the_options(write: Write) -> None:
    network = build(write(LINEAR), hidden=9)
    assert [tuple(weights.shape) for weights in network.parameters()] == [(9, 60), (9,), (3, 9), (3,)]
    assert network.training


def test_a_script_finds_the_files_beside_it(write: Write) -> None:
    write("WIDTH = 11", "widths_of_the_net.py")
    path = write(LINEAR.replace("hidden=4):", "hidden=4):\n    from widths_of_the_net import WIDTH as hidden"))
    assert next(build(path).parameters()).shape == (11, 60)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("def network(shape, outputs):\n    return 3", "net.py:network returns int; must be a torch.nn.Module"),
        (
            "import torch\ndef network(shape, outputs):\n    return torch.nn.Flatten()",
            "net.py:network returns Flatten: two images give a tensor of shape (2, 60); must be (2, 3)",
        ),
        (
            "import torch\nclass Two(torch.nn.Module):\n    def forward(self, x):\n        return x, x\n"
            "def network(shape, outputs):\n    return Two()",
            "net.py:network returns Two: two images give a tuple of 2; must be a tensor of shape (2, 3)",
        ),
        (
            "import torch\nclass Ints(torch.nn.Module):\n    def forward(self, x):\n"
            "        return torch.zeros(len(x), 3, dtype=torch.int64)\ndef network(shape, outputs):\n    return Ints()",
            "net.py:network returns Ints: two images give torch.int64; must be floating point",
        ),
        ("def network(shape, outputs):\n    return 1 / 0", "net.py, line 2: ZeroDivisionError: division by zero"),
        ("def network(shape, outputs:\n    pass", "net.py, line 1: SyntaxError: '(' was never closed"),
        ("import nothing_of_that_name", "net.py, line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("import sys\nsys.exit(3)", "net.py, line 2: SystemExit: 3"),
        (
            "import torch\nclass Wrong(torch.nn.Module):\n    def forward(self, x):\n        return x @ x[:, :, :4]\n"
            "def network(shape, outputs):\n    return Wrong()",
            "net.py, line 4: RuntimeError: ",
        ),
    ],
)
def test_what_goes_wrong_in_the_users_code_is_one_line_with_its_place(write: Write, text: str, line: str) -> None:
    with pytest.raises(UserError) as error:
        build(write(text))
    assert str(error.value).startswith(f"model.script: {line}")
    assert "\n" not in str(error.value)


def test_an_error_in_a_file_beside_the_script_names_that_file(write: Write) -> None:
    write("def fail():\n    raise ValueError('too deep')", "depth_of_the_net.py")
    path = write("from depth_of_the_net import fail\n\ndef network(shape, outputs):\n    fail()")
    with pytest.raises(UserError, match=r"^model\.script: depth_of_the_net\.py, line 2: ValueError: too deep$"):
        build(path)


def test_a_file_that_is_not_python_is_named(write: Write) -> None:
    path = write("\0")
    with pytest.raises(UserError, match=rf"^model\.script: {path}: not Python: source code string cannot contain null"):
        build(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^model\.script: {tmp_path}/net\.py: no such file$"):
        build(tmp_path / "net.py")


def test_a_function_that_is_not_there_answers_with_what_is_close(write: Write) -> None:
    path = write("def network(shape, outputs): ...\ndef other(): ...\nnumber = 3")
    with pytest.raises(UserError) as error:
        build(path, "netwrok")
    assert str(error.value) == (
        f"model.script: {path} has no function 'netwrok'; did you mean 'network'? it has: network, other"
    )
    with pytest.raises(UserError, match=r"'number' in .* is int; must be a function$"):
        build(path, "number")


def test_an_option_that_the_function_does_not_take_is_told_with_what_it_takes(write: Write) -> None:
    with pytest.raises(UserError) as error:
        build(write(LINEAR), depth=3)
    assert str(error.value) == (
        "model.options: net.py:network is called with shape, outputs, depth by name and takes "
        "(shape, outputs, hidden=4): got an unexpected keyword argument 'depth'"
    )
    with pytest.raises(UserError, match=r"^model\.options\.outputs: not allowed; the data set sets it$"):
        build(write(LINEAR), outputs=3)


def test_an_error_while_it_trains_is_blamed_on_the_script_and_one_of_ours_is_not(write: Write) -> None:
    path = write(
        "import torch\nclass Picky(torch.nn.Linear):\n    def forward(self, x):\n"
        "        assert len(x) == 2, 'only two'\n        return super().forward(x.flatten(1))\n"
        "def network(shape, outputs):\n    return Picky(60, 3)"
    )
    network = build(path)
    theirs = r"^model\.script: net\.py, line 4: AssertionError: only two$"
    with pytest.raises(UserError, match=theirs), script.blaming(path):
        network(torch.zeros(7, 2, 6, 5))
    with pytest.raises(ZeroDivisionError), script.blaming(path):
        1 / 0  # noqa: B018
