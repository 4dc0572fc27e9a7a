"""The API server that the tests of tests/api use, for the tests here that need one."""

from tests.api.conftest import kubeconfig

__all__ = ["kubeconfig"]
