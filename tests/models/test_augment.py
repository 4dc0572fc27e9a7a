"""Augmentation: each image is shifted and flipped as a whole, as the generator decides, and otherwise unchanged."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from trainserve.models.augment import Augment
from trainserve.models.errors import UserError


@dataclass(frozen=True)
class Settings:
    crop: int = 0
    flip: bool = False


def images(count: int = 200, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Return images in which all pixels differ."""
    shape = (6, 7, 3)
    return torch.stack([torch.randperm(6 * 7 * 3).reshape(shape) for _ in range(count)]).to(dtype)


def applied(settings: Settings, batch: Tensor, seed: int = 0) -> Tensor:
    return Augment(settings, (6, 7, 3)).apply(batch, torch.Generator().manual_seed(seed))


def moved(image: Tensor, down: int, right: int, flip: bool, crop: int) -> Tensor:
    """Compute the same with numpy: flip, pad by reflection, crop."""
    array = image.flip(1).numpy() if flip else image.numpy()
    padded = np.pad(array, ((crop, crop), (crop, crop), (0, 0)), mode="reflect")
    return torch.from_numpy(padded[crop + down :, crop + right :][:6, :7].copy())


@pytest.mark.parametrize("settings", [Settings(2), Settings(0, True), Settings(5, True)], ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_every_image_is_one_of_its_own_crops_whole(settings: Settings, dtype: torch.dtype) -> None:
    batch = images(40, dtype)
    reach = range(-settings.crop, settings.crop + 1)
    for image, result in zip(batch, applied(settings, batch), strict=True):
        flips = [False, True] if settings.flip else [False]
        possible = [moved(image, y, x, flip, settings.crop) for y in reach for x in reach for flip in flips]
        assert any(torch.equal(result, one) for one in possible)
    assert applied(settings, batch).dtype == dtype


def test_all_moves_and_both_sides_occur_about_as_often() -> None:
    batch = images(1).expand(5000, -1, -1, -1)
    found = {result.numpy().tobytes() for result in applied(Settings(1, True), batch)}
    assert len(found) == 3 * 3 * 2
    flipped = (applied(Settings(0, True), batch) != batch).flatten(1).any(1).float().mean()
    assert 0.47 < flipped < 0.53


def test_it_depends_on_the_generator_alone_and_moves_it_on() -> None:
    batch, settings = images(), Settings(2, True)
    assert torch.equal(applied(settings, batch, 7), applied(settings, batch, 7))
    assert not torch.equal(applied(settings, batch, 7), applied(settings, batch, 8))
    generator, augment = torch.Generator().manual_seed(7), Augment(settings, (6, 7, 3))
    assert not torch.equal(augment.apply(batch, generator), augment.apply(batch, generator))


def test_what_it_is_given_stays_as_it_was() -> None:
    batch = images()
    before = batch.clone()
    applied(Settings(2, True), batch)
    assert torch.equal(batch, before)


@pytest.mark.parametrize("crop", [6, 100])
def test_a_crop_as_large_as_the_image_is_refused(crop: int) -> None:
    with pytest.raises(UserError) as error:
        Augment(Settings(crop), (6, 7, 3))
    assert str(error.value) == f"trainer.augment.crop: {crop} is not allowed; must be < 6 for images of 6x7"
