"""Checkpoints made here: random weights in SAM's format, for keys and shapes only."""

import pytest
import torch

from MedPerSAMLib.core.sam.modeling import sam_modeling
from MedPerSAMLib.services.models import registry
from MedPerSAMLib.services.models.store import ModelStore


def small_sam(metadata=None):
    """A SAM of the released classes with a few thousand weights."""
    modeling = sam_modeling()
    transformer = modeling.TwoWayTransformer(depth=1, embedding_dim=16, mlp_dim=16, num_heads=2)
    return modeling.Sam(
        modeling.ImageEncoderViT(img_size=32, patch_size=8, embed_dim=24, depth=1, num_heads=2, out_chans=16),
        modeling.PromptEncoder(embed_dim=16, image_embedding_size=(4, 4), input_image_size=(32, 32), mask_in_chans=4),
        modeling.MaskDecoder(transformer_dim=16, transformer=transformer, iou_head_hidden_dim=16),
    )


@pytest.fixture
def small_entry(monkeypatch):
    """A registry whose 'small' has the format of ``small_sam``; its width tells it apart as the released ones' do."""
    entry = registry.ModelEntry("small", "for tests", "none", "small", "small.pth", small_sam, page="https://nowhere")
    monkeypatch.setitem(registry.REGISTRY, "small", entry)
    monkeypatch.setitem(registry._FORMAT_OF_WIDTH, 24, "small")
    return entry


@pytest.fixture
def state_dict():
    torch.manual_seed(0)
    return small_sam().state_dict()


@pytest.fixture
def checkpoint(tmp_path, state_dict):
    path = tmp_path / "mine.pth"
    torch.save(state_dict, path)
    return path


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDPERSAM_HOME", str(tmp_path / "home"))
    return ModelStore()


@pytest.fixture
def sentence():
    """The text of an error after a check that it is one sentence for people."""

    def check(error):
        text = str(error.value)
        assert "\n" not in text and text.endswith((".", "?")), text
        return text

    return check
