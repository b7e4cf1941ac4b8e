"""Which models there are: one line each, the embedded one first.

Importing this loads no torch, so that models can be listed before anything is installed.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import MedPerSAMLib
from MedPerSAMLib.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

EMBEDDED_FOLDER = Path(MedPerSAMLib.__file__).parent / "weights"
"""Where the weights lie that come with the package."""

SUFFIXES = (".pth", ".pt", ".safetensors")
"""Endings of checkpoint files."""

_SAM_FILES = "https://dl.fbaipublicfiles.com/segment_anything/"
_MOBILE_SAM_FILES = "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/"


@dataclass(frozen=True)
class ModelEntry:
    """One model that MedPerSAM can run.

    Attributes:
        name: what ``--model`` takes.
        title: for people.
        licence: of the weights.
        format: architecture that the checkpoint's keys belong to; entries of one format share a builder.
        file: name of the checkpoint file.
        builder: makes the untrained ``segment_anything.modeling.Sam``; ``tiny`` reads its sizes from the metadata of
            the safetensors file, the others need none.
        url: where the file is downloaded from; None if it comes with the package or must be imported.
        sha256: of the file; None where it is recorded at import.
        bytes: size of the file; None where it is not known beforehand.
        page: where a person finds the file, for entries without url.
        embedded: whether the file comes with the package.
    """

    name: str
    title: str
    licence: str
    format: str
    file: str
    builder: Callable[[Mapping[str, str]], nn.Module]
    url: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    page: str | None = None
    embedded: bool = False


def _build_tiny(metadata: Mapping[str, str]) -> nn.Module:
    from MedPerSAMLib.core.sam.tiny import build_tiny, tiny_config

    return build_tiny(tiny_config(metadata))


def _build_released(function: str) -> Callable[[Mapping[str, str]], nn.Module]:
    def build(metadata: Mapping[str, str]) -> nn.Module:
        from MedPerSAMLib.core.sam.modeling import sam_builders

        return getattr(sam_builders(), function)()

    return build


def _build_mobile_sam(metadata: Mapping[str, str]) -> nn.Module:
    from MedPerSAMLib.core.sam.tiny_vit import build_mobile_sam

    return build_mobile_sam()


REGISTRY: dict[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ModelEntry(
            name="tiny",
            title="MedPerSAM's own small SAM",
            licence="Apache-2.0",
            format="tiny",
            file="tiny.safetensors",
            builder=_build_tiny,
            embedded=True,
        ),
        ModelEntry(
            name="vit_b",
            title="SAM ViT-B (Meta AI)",
            licence="Apache-2.0",
            format="vit_b",
            file="sam_vit_b_01ec64.pth",
            builder=_build_released("build_sam_vit_b"),
            url=_SAM_FILES + "sam_vit_b_01ec64.pth",
            sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            bytes=375_042_383,
        ),
        ModelEntry(
            name="vit_l",
            title="SAM ViT-L (Meta AI)",
            licence="Apache-2.0",
            format="vit_l",
            file="sam_vit_l_0b3195.pth",
            builder=_build_released("build_sam_vit_l"),
            url=_SAM_FILES + "sam_vit_l_0b3195.pth",
            sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            bytes=1_249_524_607,
        ),
        ModelEntry(
            name="vit_h",
            title="SAM ViT-H (Meta AI)",
            licence="Apache-2.0",
            format="vit_h",
            file="sam_vit_h_4b8939.pth",
            builder=_build_released("build_sam_vit_h"),
            url=_SAM_FILES + "sam_vit_h_4b8939.pth",
            sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            bytes=2_564_550_879,
        ),
        ModelEntry(
            name="mobile_sam",
            title="MobileSAM (TinyViT encoder)",
            licence="Apache-2.0",
            format="mobile_sam",
            file="mobile_sam.pt",
            builder=_build_mobile_sam,
            url=_MOBILE_SAM_FILES + "mobile_sam.pt",
            sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            bytes=40_728_226,
        ),
        ModelEntry(
            name="medsam",
            title="MedSAM (ViT-B, medical images)",
            licence="Apache-2.0",
            format="vit_b",
            file="medsam_vit_b.pth",
            builder=_build_released("build_sam_vit_b"),
            page="https://github.com/bowang-lab/MedSAM",
        ),
    )
}

DEFAULT = next(iter(REGISTRY))
"""Name of the model that is used unless another is asked for."""

# Width of the position embedding, the one key whose shape tells the released encoders apart.
_FORMAT_OF_WIDTH = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}


def recognise(shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]) -> ModelEntry | None:
    """The first entry of the format that a checkpoint's keys and shapes belong to, or None.

    Args:
        shapes: shape of every tensor by key.
        metadata: of a safetensors file; ``config`` marks the embedded model's format.
    """
    if "config" in metadata and any(key.startswith("image_encoder.") for key in shapes):
        kind = "tiny"
    elif "image_encoder.patch_embed.seq.0.c.weight" in shapes:
        kind = "mobile_sam"
    else:
        kind = _FORMAT_OF_WIDTH.get((shapes.get("image_encoder.pos_embed") or (0,))[-1])
    return of_format(kind)


def of_format(kind: str | None) -> ModelEntry | None:
    """The first entry of a format, or None."""
    return next((entry for entry in REGISTRY.values() if entry.format == kind), None)


def unknown_model(name: str, known: Iterable[str]) -> ModelError:
    """The error for a name that no model has, with the nearest names."""
    known = list(known)
    # On lower case, because 'ViT-B' for 'vit_b' is the likeliest slip of all.
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(known)}."
    return ModelError(f"There is no model '{name}'; {hint}")
