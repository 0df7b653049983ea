"""`package.module:name` -> the network it builds."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from audit.errors import ModelError, nearest
from audit.loading.pickles import first_line


def build(factory: str | Callable[[], nn.Module], root: Path | None = None) -> nn.Module:
    """Return the network a factory builds, leaving the global random state as it was.

    Args:
        factory: `package.module:name` of a function or class, or the function itself; called without arguments.
        root: folder where the module is looked for first.

    Raises:
        ModelError: the module does not import, has no such name, or what it names needs arguments, fails, or returns no
            module.
    """
    if isinstance(factory, str):
        shown = factory
        function = _resolve(factory, root)
    else:
        shown = getattr(factory, "__qualname__", repr(factory))
        function = factory
    try:
        inspect.signature(function).bind()
    except TypeError:
        raise ModelError(
            f"Expected a factory that needs no arguments, found {shown}{inspect.signature(function)}; try a function "
            "that fills them in."
        ) from None
    except ValueError:  # a built-in without a signature: calling it will tell
        pass
    try:
        with torch.random.fork_rng(devices=[]):
            network = function()
    except Exception as error:
        raise ModelError(
            f"Expected the factory {shown} to build the network, found {type(error).__name__}: {first_line(error)}; "
            "try calling it in Python."
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"Expected the factory {shown} to return a torch.nn.Module, found {type(network).__name__}; try returning "
            "the network."
        )
    return network


def local_files(factory: str, root: Path) -> list[Path]:
    """The Python files below `root` that building the network imports, so that it can be built elsewhere.

    Raises:
        ModelError: the factory cannot be used.
    """
    with importable(root):
        build(factory)
        own = _top_level(root)
        modules = [m for n, m in sys.modules.items() if _top(n) in own and _came_from(m, root)]
        return sorted({Path(str(module.__file__)).resolve() for module in modules})


@contextmanager
def importable(root: Path | None) -> Iterator[None]:
    """Put `root` first on the import path; afterwards forget the modules that came from it.

    Two checkpoints may each bring a module called `model`: neither may see the other's.
    """
    if root is None:
        yield
        return
    folder, own = str(root.resolve()), _top_level(root)
    hidden = {n: m for n, m in sys.modules.items() if _top(n) in own and not _came_from(m, root)}
    for name in hidden:
        del sys.modules[name]
    before = set(sys.modules)
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if _top(name) in own:
                del sys.modules[name]
        sys.modules.update(hidden)


def _top_level(root: Path) -> set[str]:
    """Names of the modules and packages that would come from `root`, were they imported now."""
    files = {path.stem for path in root.glob("*.py") if path.is_file()} - sys.stdlib_module_names
    return files | {path.parent.name for path in root.glob("*/__init__.py") if path.is_file()}


def _top(name: str) -> str:
    return name.partition(".")[0]


def _came_from(module: ModuleType, root: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(root.resolve())


def _resolve(factory: str, root: Path | None) -> Callable[[], object]:
    module_name, _, name = factory.partition(":")
    if not module_name or not name:
        raise ModelError(f"Expected a factory like 'package.module:name', found {factory!r}; try 'model:build'.")
    with importable(root):
        module = _import(module_name, factory, root)
    target: object = module
    for part in name.split("."):
        known = [n for n, v in vars(target).items() if callable(v) and not n.startswith("_")]
        if part not in vars(target):
            raise ModelError(f"Expected {name!r} in module {module_name}, found none{nearest(part, known)}")
        target = vars(target)[part]
    if not callable(target):
        raise ModelError(
            f"Expected {factory} to be a function or a class, found {type(target).__name__}; try the name of what "
            "builds the network."
        )
    return target


def _import(module_name: str, factory: str, root: Path | None) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module_name.partition(".")[0]:
            beside = sorted(p.stem for p in root.glob("*.py")) if root is not None else []
            where = f" from {root}" if root is not None else ""
            raise ModelError(
                f"Expected to import the factory {factory!r}{where}, found no module named {error.name!r}"
                f"{nearest(error.name, beside) if beside else '; try installing it.'}"
            ) from None
        raise ModelError(
            f"Expected to import the factory {factory!r}, found {type(error).__name__}: {first_line(error)}; try "
            f"importing {module_name} in Python."
        ) from error
