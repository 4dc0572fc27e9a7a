"""Weight files that are refused: of another format, damaged, or of another network."""

import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trainserve.models import zoo
from trainserve.models.errors import DataError, UserError

from .weights import SHAPE, contiguous, convnet, lightning, load, same


def test_tensors_that_do_not_fit_are_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    path, ours, before = tmp_path / "weights", convnet(hidden=16, seed=2), convnet(hidden=16, seed=2)
    theirs = convnet(hidden=8, seed=1).state_dict()
    theirs["extra.weight"] = torch.zeros(1)
    theirs["convolution.weight"] = theirs["convolution.weight"].to(torch.int8)
    del theirs["convolution.bias"]
    torch.save(theirs, path)
    with pytest.raises(UserError) as error:
        load(ours, path)
    assert str(error.value) == (
        f"model.pretrained: {path}: convolution.weight is int8 (4, 1, 3, 3), must be float32 (4, 1, 3, 3); "
        "hidden.weight is float32 (8, 676), must be float32 (16, 676); hidden.bias is float32 (8,), must be float32 "
        "(16,); convolution.bias is missing; extra.weight is not in the model; the file has convolution.weight, "
        "hidden.weight, hidden.bias, head.weight, head.bias, and 1 more"
    )
    assert same(ours, before)


def test_of_many_that_do_not_fit_some_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    state = zoo.build("resnet18", {}, SHAPE, 10).state_dict()
    torch.save({"conv1.weight": state["conv1.weight"]}, tmp_path / "weights")
    with pytest.raises(UserError, match=r": bn1\.weight is missing; .*; and \d+ more; the file has conv1\.weight$"):
        load(zoo.build("resnet18", {}, SHAPE, 10), tmp_path / "weights")


def test_where_no_name_is_the_models_those_of_both_are_shown(tmp_path: Path) -> None:
    torch.save(lightning({f"model.{name}": value for name, value in convnet().state_dict().items()}), tmp_path / "w")
    with pytest.raises(UserError) as error:
        load(zoo.build("resnet18", {}, SHAPE, 10), tmp_path / "w")
    assert str(error.value) == (
        f"model.pretrained: {tmp_path / 'w'}: none of its tensors is one of the model's; it has "
        "state_dict.model.convolution.weight, state_dict.model.convolution.bias, state_dict.model.hidden.weight, "
        "state_dict.model.hidden.bias, state_dict.model.head.weight, and 2 more; the model has conv1.weight, "
        "bn1.weight, bn1.bias, bn1.running_mean, bn1.running_var, and 117 more"
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a git-lfs pointer, not the file it"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page; was it downloaded without logging in?"),
        (b'{"metadata": {}, "weight_map": {}}', "JSON, such as the index of a model in several files"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5, as Keras writes it; must be a safetensors file"),
    ],
)
def test_a_file_of_another_kind_is_told_by_what_it_is(content: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"model.pretrained: {tmp_path / 'weights'}: {text}")):
        load(convnet(), tmp_path / "weights")


def test_a_torchscript_program_is_told_apart_from_a_damaged_file(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"a TorchScript program; must be torch\.save"):
        load(convnet(), tmp_path / "weights.pt")


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("by_torch", [True, False])
def test_a_file_of_python_objects_is_refused_and_none_of_them_comes_to_life(by_torch: bool, tmp_path: Path) -> None:
    path, trap = tmp_path / "weights.pt", Trap(tmp_path / "sprung")
    if by_torch:
        torch.save({"state_dict": convnet().state_dict(), "trap": trap}, path)
    else:
        path.write_bytes(pickle.dumps(trap))
    with pytest.raises(
        UserError, match=r"holds Python objects( \(.*\))?, which are never unpickled, or is damaged; must be a "
    ):
        load(convnet(), path)
    assert not trap.path.exists()


@pytest.mark.parametrize("form", ["safetensors", "torch"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused_by_name(form: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    if form == "safetensors":
        save_file(contiguous(convnet()), path)
    else:
        torch.save(convnet().state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=rf"^model\.pretrained: {path}: (truncated|holds Python objects)"):
        load(convnet(), path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([1, 2], "holds a list; must be a state dict"),
        ({}, "not a state dict: it is empty"),
        ({"epoch": 3, "lr": 0.1}, "not a state dict: epoch, lr"),
    ],
)
def test_a_file_without_a_state_dict_is_told_by_what_it_holds(content: object, text: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights")
    with pytest.raises(UserError) as error:
        load(convnet(), tmp_path / "weights")
    assert str(error.value) == f"model.pretrained: {tmp_path / 'weights'}: {text}"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^model\.pretrained: .*/weights: No such file or directory$"):
        load(convnet(), tmp_path / "weights")
