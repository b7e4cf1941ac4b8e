"""The packages that Slicer does not have: what is missing, and how it is installed with the user's consent.

torch comes through the PyTorch extension alone, which picks the build that fits the GPU driver; everything else through
``slicer.packaging.pip_ensure``, which asks first. Slicer's own numpy, scipy, SimpleITK and VTK are never replaced.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable

from MedPerSAMLib.errors import DependencyError

PACKAGES = {"segment_anything": "segment-anything>=1.0", "safetensors": "safetensors>=0.4"}
"""Import name -> requirement, besides torch."""

KEPT = ("torch", "torchvision", "numpy", "scipy", "SimpleITK", "vtk")
"""Packages that pip must not touch."""

MINIMUM_TORCH = ">=2.2"


class Dependencies:
    """Tells and installs what is missing; main thread only, because installers open dialogs.

    Args:
        is_there: whether a package can be imported, without importing it.
        pytorch: gives the PyTorch extension's logic; raises ImportError where the extension is not installed.
        pip_ensure: ``slicer.packaging.pip_ensure``, looked up when needed.
    """

    def __init__(
        self,
        is_there: Callable[[str], bool] | None = None,
        pytorch: Callable[[], object] | None = None,
        pip_ensure: Callable | None = None,
    ) -> None:
        self._is_there = _can_be_imported if is_there is None else is_there
        self._pytorch = _pytorch_extension if pytorch is None else pytorch
        self._pip_ensure = pip_ensure

    def missing(self) -> list[str]:
        """Import names of what is not there; imports nothing."""
        return [name for name in ("torch", *PACKAGES) if not self._is_there(name)]

    def status(self) -> str:
        """One sentence for the panel."""
        missing = self.missing()
        if not missing:
            return "All packages are installed."
        return f"{' and '.join(missing)} will be installed at the first run, after you have agreed."

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

    def _install_torch(self) -> None:
        try:
            logic = self._pytorch()
        except ImportError as error:
            raise DependencyError(
                "PyTorch is needed: install the extension 'PyTorch' from the Extensions Manager, "
                "restart Slicer and try again."
            ) from error
        try:
            torch = logic.installTorch(askConfirmation=True, torchVersionRequirement=MINIMUM_TORCH)
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


def _can_be_imported(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _pytorch_extension():
    import PyTorchUtils

    return PyTorchUtils.PyTorchUtilsLogic()
