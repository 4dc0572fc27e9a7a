"""Pretrained weights: accepted files, required matches, and no unpickling of any file."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from trainserve.models import pretrained, zoo
from trainserve.models.config.sections import Pretrained
from trainserve.models.data.dataset import Normalisation
from trainserve.models.data.watch import Watch
from trainserve.models.errors import DataError, UserError
from trainserve.models.network import Network
from trainserve.models.torchvision import declare_operators

from .weights import SHAPE, contiguous, convnet, lightning, load, same


@pytest.mark.parametrize(
    ("form", "prefix"),
    [
        ("safetensors", ""),
        ("torch", ""),
        ("legacy", ""),
        ("wrapped", "state_dict.module."),
        ("compiled", "module._orig_mod."),
        ("checkpoint", "network.body."),
        ("net", "net."),
        ("nested", "model.state_dict."),
        ("lightning", "state_dict.model."),
        ("lightning with more", "state_dict.net."),
        ("in parts", ""),
        ("wrapped within", ""),
    ],
)
def test_the_weights_of_a_file_are_taken_bit_for_bit(form: str, prefix: str, tmp_path: Path) -> None:
    theirs, ours, path = convnet(seed=1), convnet(seed=2), tmp_path / "weights"
    state = theirs.state_dict()
    match form:
        case "net":
            torch.save({"net": state, "acc": 93.1, "epoch": 3}, path)
        case "nested":
            torch.save({"model": {"state_dict": state}, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}}, path)
        case "lightning":
            torch.save(lightning({f"model.{name}": value for name, value in state.items()}), path)
        case "lightning with more":
            more = {"criterion.weight": torch.ones(10), "accuracy.tp": torch.zeros(10)}
            torch.save(lightning({f"net.{name}": value for name, value in state.items()} | more), path)
        case "in parts":
            kinds = {name.partition(".")[0] for name in state}
            part = {kind: {n.partition(".")[2]: v for n, v in state.items() if n.startswith(kind)} for kind in kinds}
            torch.save(part, path)
        case "wrapped within":
            torch.save({name.replace(".", ".module._orig_mod."): value for name, value in state.items()}, path)
        case "safetensors":
            save_file(contiguous(theirs), path)
        case "torch":
            torch.save(state, path)
        case "legacy":
            torch.save(state, path, _use_new_zipfile_serialization=False)
        case "wrapped":
            torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
        case "compiled":
            torch.save({f"module._orig_mod.{name}": value for name, value in state.items()}, path)
        case "checkpoint":
            network = Network(Normalisation(1.0, [0.0], [1.0]), theirs)
            torch.save({"step": 3, "run": "{}", "network": network.state_dict(), "average": None}, path)
    assert not same(theirs, ours)
    assert load(ours, path) == f"6 tensors from {path}" + (f" (prefix '{prefix}')" if prefix else "")
    assert same(theirs, ours)


def test_what_the_average_of_the_weights_is_called_goes_first(tmp_path: Path) -> None:
    network, average, ours = convnet(seed=1), convnet(seed=2), convnet(seed=3)
    torch.save({"state_dict": network.state_dict(), "state_dict_ema": average.state_dict()}, tmp_path / "weights")
    load(ours, tmp_path / "weights")
    assert same(average, ours)


def test_two_networks_in_one_file_are_both_named_and_neither_is_chosen(tmp_path: Path) -> None:
    states = {
        f"{part}.{name}": value
        for seed, part in enumerate(("student", "teacher"))
        for name, value in convnet(seed=seed).state_dict().items()
    }
    torch.save({"state_dict": states}, tmp_path / "weights")
    with pytest.raises(UserError) as error:
        load(convnet(), tmp_path / "weights")
    assert str(error.value) == (
        f"model.pretrained: {tmp_path / 'weights'}: has the model's tensors twice, with prefix 'state_dict.student.' "
        "and 'state_dict.teacher.'; must have them once"
    )


class Tied(nn.Module):
    """An embedding whose weights are shared with the head, or only appear to be."""

    def __init__(self, seed: int, tied: bool = True) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding, self.between, self.head = nn.Embedding(7, 3), nn.Linear(3, 3), nn.Linear(3, 7, bias=False)
        if tied:
            self.head.weight = self.embedding.weight


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_that_safetensors_keeps_once_are_given_to_both(tied: bool, tmp_path: Path) -> None:
    theirs, ours = Tied(seed=1), Tied(seed=2, tied=tied)
    save_model(theirs, str(tmp_path / "weights"))
    assert load(ours, tmp_path / "weights")
    assert same(theirs, ours)


def test_tied_weights_are_not_missing_where_one_of_them_is_there(tmp_path: Path) -> None:
    theirs, ours = Tied(seed=1), Tied(seed=2)
    save_file({name: value for name, value in theirs.state_dict().items() if "head" not in name}, tmp_path / "weights")
    load(ours, tmp_path / "weights")
    assert same(theirs, ours)


def test_of_a_checkpoint_with_averaged_weights_these_are_taken(tmp_path: Path) -> None:
    network, average, ours = convnet(seed=1), convnet(seed=2), convnet(seed=3)
    torch.save({"network": network.state_dict(), "average": average.state_dict()}, tmp_path / "step-1.pt")
    load(ours, tmp_path / "step-1.pt")
    assert same(average, ours)


class Wrapped(nn.Module):
    """A network with attributes `mean` and `body`, like the wrapper that we put around networks."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.register_buffer("mean", torch.rand(1))
        self.body = nn.Linear(3, 2)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_names_that_look_like_a_wrappers_are_the_networks_own_where_it_has_them(
    checkpoint: bool, tmp_path: Path
) -> None:
    theirs, ours = Wrapped(seed=1), Wrapped(seed=2)
    network = Network(Normalisation(1.0, [0.0], [1.0]), theirs)
    torch.save(network.state_dict() if checkpoint else theirs.state_dict(), tmp_path / "weights")
    load(ours, tmp_path / "weights")
    assert same(theirs, ours)


def test_a_head_of_another_size_is_new(tmp_path: Path) -> None:
    theirs, ours, path = convnet(outputs=10, seed=1), convnet(outputs=4, seed=2), tmp_path / "weights"
    torch.save(theirs.state_dict(), path)
    before = convnet(outputs=4, seed=2)
    assert load(ours, path) == f"4 tensors from {path}; the head head has another size there and is newly initialised"
    assert same(ours, theirs, "head.weight", "head.bias")
    assert same(ours, before, *[name for name in ours.state_dict() if not name.startswith("head.")])


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_our_resnets_are_torchvisions_weight_by_weight_and_function_by_function(name: str, tmp_path: Path) -> None:
    declare_operators()
    import torchvision

    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.mul_(torch.rand_like(parameter) + 0.5)
    save_file(theirs.state_dict(), tmp_path / "weights")
    ours = zoo.build(name, {"stem": "imagenet"}, (64, 64, 3), 1000)
    load(ours, tmp_path / "weights")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-3, atol=1e-4)


def test_timms_resnet_fits_ours_of_that_name(tmp_path: Path) -> None:
    torch.save(zoo.build("timm/resnet18", {}, (64, 64, 3), 1000).state_dict(), tmp_path / "weights")
    ours = zoo.build("resnet18", {"stem": "imagenet"}, (224, 224, 3), 5)
    assert load(ours, tmp_path / "weights").endswith("the head fc has another size there and is newly initialised")


def test_files_that_do_not_count_batches_fit(tmp_path: Path) -> None:
    theirs = zoo.build("resnet9", {"width": 2}, SHAPE, 10).state_dict()
    torch.save({name: value for name, value in theirs.items() if "num_batches" not in name}, tmp_path / "weights")
    assert load(zoo.build("resnet9", {"width": 2}, SHAPE, 10), tmp_path / "weights")


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path / "cache"))
    return []


def located(said: list[str], folder: Path, **config: str) -> tuple[Path, str]:
    return pretrained.located(Pretrained.model_validate(config), folder, Watch(said.append))


def test_weights_at_a_uri_are_fetched_into_the_cache_and_called_by_it(tmp_path: Path, said: list[str]) -> None:
    content = b"weights"
    (tmp_path / "weights").write_bytes(content)
    uri, digest = f"file://{tmp_path}/weights", f"sha256:{hashlib.sha256(content).hexdigest()}"
    path, name = located(said, Path("/"), uri=uri, digest=digest)
    assert (path.read_bytes(), name) == (content, uri)
    assert path.is_relative_to(tmp_path / "cache")


def test_weights_at_a_path_are_found_in_the_configs_folder_whatever_uri_they_came_from(
    tmp_path: Path, said: list[str]
) -> None:
    assert located(said, tmp_path, path="w.pt", uri="pvc://claim/w.pt") == (tmp_path / "w.pt", f"{tmp_path}/w.pt")


@pytest.mark.parametrize("by", ["path", "uri"])
def test_a_wrong_digest_names_both(by: str, tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "weights").write_bytes(b"weights")
    expected, found = f"sha256:{'0' * 64}", f"sha256:{hashlib.sha256(b'weights').hexdigest()}"
    place = str(tmp_path / "weights") if by == "path" else f"file://{tmp_path}/weights"
    with pytest.raises(DataError) as error:
        located(said, tmp_path, digest=expected, **{by: place})
    assert str(error.value) == f"model.pretrained: {place}: expected {expected}, found {found}"


def test_a_folder_of_weights_is_refused_before_it_is_fetched(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/weights").write_bytes(b"weights")
    with pytest.raises(DataError, match=r"^model\.pretrained: file://.*/folder is a folder; must be one file$"):
        located(said, tmp_path, uri=f"file://{tmp_path}/folder")


def test_weights_that_are_not_there_are_named(tmp_path: Path, said: list[str]) -> None:
    with pytest.raises(DataError, match=r"^model\.pretrained: file://.*/weights: cannot be read: no such file"):
        located(said, tmp_path, uri=f"file://{tmp_path}/weights")
    with pytest.raises(DataError, match=rf"^model\.pretrained: {tmp_path}/weights: No such file or directory$"):
        located(said, tmp_path, path="weights", digest=f"sha256:{'0' * 64}")
