"""Requirements on a Triton image depend on the release in its tag."""

import pytest

from trainserve.api.triton_releases import has_histogram, release_of


@pytest.mark.parametrize(
    ("image", "release"),
    [
        ("nvcr.io/nvidia/tritonserver:26.08-py3", "26.08"),
        ("registry:5000/tritonserver:25.11-py3-sdk", "25.11"),
        ("nvcr.io/nvidia/tritonserver:26.01-py3@sha256:00", "26.01"),
        ("nvcr.io/nvidia/tritonserver:26.08@sha256:00", "26.08"),
        ("nvcr.io/nvidia/tritonserver:26.08", "26.08"),
        ("tritonserver:26.08.1-py3", "26.08"),
        ("mine/triton:26.08_patched", "26.08"),
        ("registry:5000/mine:26.08", "26.08"),
        ("26.07", "26.07"),
        ("mine/custom-26.01-x:v3", None),
        ("mine/26.01-py3:v3", None),
        ("mine/26.01", None),
        ("registry:26.01/mine", None),
        ("tritonserver@sha256:26.01", None),
        ("mine:v26.01", None),
        ("mine:26.011", None),
        ("mine:1-26.01", None),
        ("", None),
        ("mine:1.2.3", None),
        ("tritonserver", None),
        ("development", None),
        ("mine:26.13", None),
    ],
)
def test_a_tag_says_the_release_or_nothing(image: str, release: str | None) -> None:
    assert release_of(image) == release


@pytest.mark.parametrize(
    ("image", "has"),
    [
        ("nvcr.io/nvidia/tritonserver:24.10-py3", False),
        ("nvcr.io/nvidia/tritonserver:25.12-py3", False),
        ("nvcr.io/nvidia/tritonserver:26.01-py3", True),
        ("nvcr.io/nvidia/tritonserver:27.02-py3", True),
        ("mine:latest", False),
        ("development", False),
        (None, False),
    ],
)
def test_ordinary_models_have_a_latency_histogram_from_26_01_on(image: str | None, has: bool) -> None:
    assert has_histogram(image) is has
