"""The packages that Slicer does not have: what is missing, and how it is installed with the user's consent.

torch comes through the PyTorch extension alone, which picks the build that fits the GPU driver; everything else through
``slicer.packaging.pip_ensure``, which asks first. Slicer's own numpy, scipy, SimpleITK and VTK are never replaced.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator

from MedPerSAMLib.errors import DependencyError

PACKAGES = {"segment_anything": "segment-anything>=1.0", "safetensors": "safetensors>=0.4"}
"""Import name -> requirement, besides torch."""

KEPT = ("torch", "torchvision", "numpy", "scipy", "SimpleITK", "vtk")
"""Packages that pip must not touch."""

MINIMUM_TORCH = (2, 2)
"""Major and minor version."""

_TORCH = f"torch>={'.'.join(map(str, MINIMUM_TORCH))}"
_NO_EXTENSION = (
    "PyTorch is needed: install the extension 'PyTorch' from the Extensions Manager, restart Slicer and try again."
)


class Dependencies:
    """Tells and installs what is missing; main thread only, because installers open dialogs.

    Args:
        is_there: whether a package can be imported, without importing it.
        pytorch: gives the PyTorch extension's logic; raises ImportError where the extension is not installed.
        pip_ensure: ``slicer.packaging.pip_ensure``, looked up when needed.
        torch_version: gives the installed torch's version, or None if it has none; torch is not imported.
    """

    def __init__(
        self,
        is_there: Callable[[str], bool] | None = None,
        pytorch: Callable[[], object] | None = None,
        pip_ensure: Callable | None = None,
        torch_version: Callable[[], str | None] | None = None,
    ) -> None:
        self._is_there = _can_be_imported if is_there is None else is_there
        self._pytorch = _pytorch_extension if pytorch is None else pytorch
        self._pip_ensure = pip_ensure
        self._torch_version = _version_of_torch if torch_version is None else torch_version

    def missing(self) -> list[str]:
        """Import names of what is not there or too old; imports nothing."""
        too_old = ["torch"] if self._old_torch() else []
        return too_old + [name for name in ("torch", *PACKAGES) if not self._is_there(name)]

    def status(self) -> str:
        """One sentence for the panel."""
        missing, old = self.missing(), self._old_torch()
        if not missing:
            return "All packages are installed."
        if "torch" in missing and not self._is_there("PyTorchUtils"):
            return f"torch {old} is too old. {_NO_EXTENSION}" if old else _NO_EXTENSION
        names = [f"a newer torch than {old}" if name == "torch" and old else name for name in missing]
        return f"{' and '.join(names)} will be installed at the first run, after you have agreed."

    def install(self) -> None:
        """Ask and install what is missing.

        Raises:
            DependencyError: the user refused, or it failed; with the remedy.
        """
        missing = self.missing()
        if "torch" in missing:
            self._install_torch()
        wanted = [requirement for name, requirement in PACKAGES.items() if name in missing]
        if wanted:
            self._install(wanted)
        importlib.invalidate_caches()
        still = self.missing()
        if still:
            raise DependencyError(
                f"{' and '.join(still)} could not be installed; restart Slicer and press Propagate again."
            )

    def _old_torch(self) -> str | None:
        """The version of a torch that is there and too old, else None."""
        version = self._torch_version() if self._is_there("torch") else None
        numbers = None if version is None else re.match(r"(\d+)\.(\d+)", version)
        return version if numbers and tuple(map(int, numbers.groups())) < MINIMUM_TORCH else None

    def _install_torch(self) -> None:
        try:
            logic = self._pytorch()
        except ImportError as error:
            raise DependencyError(_NO_EXTENSION) from error
        try:
            torch = logic.installTorch(askConfirmation=True, torchVersionRequirement=_TORCH.removeprefix("torch"))
        except Exception as error:  # the extension raises whatever pip or the network raised
            raise DependencyError(
                f"PyTorch could not be installed ({error}); open the PyTorch Utils module, install it "
                "there and try again."
            ) from error
        if torch is None:
            raise DependencyError("PyTorch was not installed; press Propagate again and agree, or use PyTorch Utils.")

    def _install(self, requirements: list[str]) -> None:
        ensure = self._pip_ensure
        if ensure is None:
            try:
                from slicer.packaging import pip_ensure as ensure
            except ImportError as error:
                raise DependencyError("This Slicer cannot install packages; use Slicer 5.12 or later.") from error
        try:
            ensure(requirements, requester="MedPerSAM", skip_packages=list(KEPT))
        except Exception as error:  # pip_ensure raises RuntimeError for a refusal and for a failure alike
            raise DependencyError(
                f"{', '.join(requirements)} could not be installed ({error}); press Propagate again "
                "and agree, or check the "
                "network and the proxy settings."
            ) from error


@contextlib.contextmanager
def missing_packages_named() -> Iterator[None]:
    """Raise DependencyError with the remedy where the block imports one of our packages and it is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        requirements = {"torch": _TORCH, **PACKAGES}
        package = (error.name or "").partition(".")[0]
        if package not in requirements:
            raise
        raise DependencyError(
            f"{package} is not installed; press Propagate in the MedPerSAM module, which asks and installs it, or "
            f"outside a Slicer desktop run: pip install '{requirements[package]}'."
        ) from error


def _can_be_imported(name: str) -> bool:
    return sys.modules.get(name) is not None or importlib.util.find_spec(name) is not None


def _version_of_torch() -> str | None:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None  # a build without a wheel's metadata: whoever made it knows its version


def _pytorch_extension():
    import PyTorchUtils

    return PyTorchUtils.PyTorchUtilsLogic()
