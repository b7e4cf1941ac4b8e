"""segment-anything's own model classes, without the parts of that package that need torchvision.

``import segment_anything`` pulls in its image transforms, and with them torchvision. The model classes themselves need
torch only, so they are imported under a private package whose path is the installed package's folder.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import types

from MedPerSAMLib.errors import DependencyError

_ALIAS = "_medpersam_segment_anything"


@functools.cache
def _alias_package() -> types.ModuleType:
    specification = importlib.util.find_spec("segment_anything")
    if specification is None:
        raise DependencyError(
            "The package segment-anything is not installed; install it with 'pip install segment-anything' "
            "(in Slicer: the Install button of MedPerSAM)."
        )
    package = types.ModuleType(_ALIAS)
    package.__path__ = list(specification.submodule_search_locations)
    sys.modules[_ALIAS] = package
    return package


def sam_modeling() -> types.ModuleType:
    """``segment_anything.modeling``: Sam, ImageEncoderViT, PromptEncoder, MaskDecoder, TwoWayTransformer.

    Raises:
        DependencyError: segment-anything is not installed.
    """
    _alias_package()
    return importlib.import_module(f"{_ALIAS}.modeling")


def sam_builders() -> types.ModuleType:
    """``segment_anything.build_sam``: build_sam_vit_b, build_sam_vit_l, build_sam_vit_h.

    Raises:
        DependencyError: segment-anything is not installed.
    """
    _alias_package()
    return importlib.import_module(f"{_ALIAS}.build_sam")
