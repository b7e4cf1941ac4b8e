"""Imports torch, scipy and SimpleITK from a background thread without stopping the main thread for longer than a blink.

``import torch`` maps a library of several hundred megabytes while it holds the interpreter lock: a third of a second in
which the main thread can run no Python and the panel stands still; SimpleITK's is nearly as large. Called as a foreign
function, the system's own loader does the same with the lock released, and the import afterwards finds the library in
place. The hundred thousands of objects that the imports make would also set off a full garbage collection, another
0.15 s, in the middle.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_MODULES = ("torch", "scipy.ndimage", "safetensors.torch", "MedPerSAMLib.core.session")
_TO_TRAIN = "torch._dynamo"
"""The first optimiser imports it (PyTorch guards its optimisers' methods against compilation), with sympy and hundreds of
other files: in the middle of a run the main thread stood still for up to 0.17 s meanwhile."""

_MAPPED = (
    ("torch", "lib", "*torch_cpu.*"),
    ("scipy", "../scipy.libs", "*openblas*"),
    ("SimpleITK", "", "_SimpleITK*"),
)
"""(package, folder beside its __init__.py, name) of what is mapped; a missing one is left to the import."""

_READ = (("torch", "lib", "*torch_cpu.*"), ("torch", "lib", "*torch_python.*"), ("SimpleITK", "", "_SimpleITK*"))
"""What is read into the system's file cache before: whatever an import touches first it waits for with the lock held."""


@contextlib.contextmanager
def quiet_imports(trains: bool = True) -> Iterator[None]:
    """Import torch, scipy and SimpleITK, mapped beforehand, and whatever the block imports on top; plain if all is
    there already. ``trains`` tells whether an optimiser will be needed."""
    modules = (*_MODULES, _TO_TRAIN) if trains else _MODULES
    if all(module in sys.modules for module in modules):
        yield
        return
    _preload()
    collecting = gc.isenabled()
    gc.disable()
    try:
        for module in modules:
            importlib.import_module(module)
        yield
    finally:
        # What was imported stays for good: the collector need not look at it again, now or in the middle of the work.
        gc.freeze()
        if collecting:
            gc.enable()


def prepare_all() -> None:
    """Import torch, scipy and SimpleITK before they are needed, and find out which device will be used."""
    with quiet_imports():
        from MedPerSAMLib.services.models.load import choose_device
    choose_device("auto")


def _preload() -> None:
    for do, libraries in ((_read, _READ), (_map, _MAPPED)):
        for library in libraries:
            for path in _files(*library):
                do(path)


def _files(package: str, folder: str, name: str) -> list[Path]:
    """The libraries of a package that is installed and not yet imported."""
    found = None if package in sys.modules else importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return []
    beside = (Path(found.origin).parent / folder).glob(name)
    return sorted(path for path in beside if path.suffix in (".dll", ".pyd", ".so", ".dylib"))


def _read(path: Path) -> None:
    buffer = bytearray(1 << 20)
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:  # the import will tell what is wrong
        while file.readinto(buffer):
            pass


def _map(path: Path) -> None:
    """Load one library with the interpreter lock released; what fails here fails again, with its reason, in the
    import."""
    if sys.platform == "win32":
        load = ctypes.WinDLL("kernel32").LoadLibraryExW
        load.restype, load.argtypes = ctypes.c_void_p, (ctypes.c_wchar_p, ctypes.c_void_p, ctypes.c_uint32)
        load(str(path), None, 0x00000008)  # LOAD_WITH_ALTERED_SEARCH_PATH: its own folder first, as torch does
        return
    load = ctypes.CDLL(None).dlopen
    load.restype, load.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    load(os.fsencode(path), os.RTLD_LAZY | os.RTLD_LOCAL)
