"""Hooks that run when a module is imported, without importing it themselves.

Every process of a development environment loads this (dev/torchvision.pth), so it avoids importlib.abc, which takes
ten times as long as the rest.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def when_imported(name: str, act: Callable[[ModuleType], None]) -> None:
    """Call `act` with the module `name` after it is executed and before its importer gets it."""
    sys.meta_path.insert(0, _Finder(name, after=act))


def before_import(name: str, act: Callable[[], object]) -> None:
    """Call `act` when the module `name` is imported, before its code runs."""
    sys.meta_path.insert(0, _Finder(name, before=act))


class _Finder:
    def __init__(
        self,
        name: str,
        *,
        before: Callable[[], object] = lambda: None,
        after: Callable[[ModuleType], None] = lambda module: None,
    ) -> None:
        self._name, self.before, self.after = name, before, after
        self._looking = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name or self._looking:
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._looking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]  # a Loader by its methods
        return spec


class _Loader:
    def __init__(self, loader: Any, finder: _Finder) -> None:
        self._loader, self._finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        # Not in find_spec: looking for a module is not yet importing it.
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._loader
        self._finder.before()
        self._loader.exec_module(module)
        self._finder.after(module)
