"""Which models there are, and how a file is recognised as one of them."""

import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from MedPerSAMLib.core.sam.tiny import TinyConfig, build_tiny, tiny_metadata
from MedPerSAMLib.errors import ModelError
from MedPerSAMLib.services.models import registry
from MedPerSAMLib.services.models.checkpoint import check_keys
from MedPerSAMLib.services.models.load import load_predictor, load_sam
from MedPerSAMLib.services.models.registry import REGISTRY, recognise

RELEASED = ("vit_b", "vit_l", "vit_h", "mobile_sam")


def test_importing_it_loads_no_torch():
    modules = ("registry", "state", "store", "download", "files")
    code = "import sys\n" + "".join(f"import MedPerSAMLib.services.models.{name}\n" for name in modules)
    code += "import MedPerSAMLib.services.cli_models, MedPerSAMLib.services.embedding_store\n"
    code += "assert 'torch' not in sys.modules and 'safetensors' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


def test_loading_a_model_imports_no_compiler():
    code = "import sys\nfrom MedPerSAMLib.services.models.load import load_predictor\nload_predictor()\n"
    code += "assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


def test_the_embedded_model_is_first_and_default():
    assert registry.DEFAULT == next(iter(REGISTRY)) == "tiny"
    assert REGISTRY["tiny"].embedded


@pytest.mark.parametrize("name", RELEASED)
def test_released_models_are_pinned(name):
    entry = REGISTRY[name]
    assert entry.url.startswith("https://") and entry.url.endswith(entry.file)
    assert len(entry.sha256) == 64 and entry.bytes > 10**7 and entry.licence == "Apache-2.0"


@functools.cache
def released_shapes(name):
    """Shape of every tensor by key, from the meta device, so that no model of gigabytes is built."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in REGISTRY[name].builder({}).state_dict().items()}


@pytest.mark.parametrize("name", RELEASED)
def test_recognised_by_its_keys_and_loadable_as_nothing_else(name, tmp_path):
    assert recognise(released_shapes(name), {}).name == name
    check_keys(released_shapes(name), released_shapes(name), tmp_path, name)
    for other in set(RELEASED) - {name}:
        with pytest.raises(ModelError):
            check_keys(released_shapes(other), released_shapes(name), tmp_path, other)


def test_medsam_has_the_format_of_vit_b():
    assert REGISTRY["medsam"].format == "vit_b" and REGISTRY["medsam"].sha256 is None


@pytest.mark.parametrize(
    ("wrong", "meant"), [("vitb", "vit_b"), ("ViT-H", "vit_h"), ("mobilesam", "mobile_sam"), ("med_sam", "medsam")]
)
def test_unknown_names_get_the_nearest(store, wrong, meant, sentence):
    with pytest.raises(ModelError) as error:
        store.find(wrong)
    assert wrong in sentence(error) and meant in sentence(error)


def test_a_name_like_no_other_gets_the_list(store, sentence):
    with pytest.raises(ModelError) as error:
        store.find("xxxxxxxx")
    assert all(name in sentence(error) for name in REGISTRY)


@pytest.fixture
def tiny_file(tmp_path):
    config = TinyConfig(frame_size=64, widths=(8, 8, 16, 24), width=32, mlp=32, heads=2)
    torch.manual_seed(0)
    path = tmp_path / "some.safetensors"
    save_file(build_tiny(config).state_dict(), path, tiny_metadata(config))
    return path


def test_is_built_from_its_own_configuration(tiny_file, store):
    model = load_predictor(tiny_file, store=store)
    assert model.entry.name == "tiny" and model.predictor.frame_size == 64
    assert model.checksum == hashlib.sha256(tiny_file.read_bytes()).hexdigest()
    assert model.checksum in model.key


@pytest.mark.parametrize(
    "config", ["{", "[]", '{"unknown": 1}', '{"width": "wide"}', '{"frame_size": -8}', '{"heads": 0}', "3"]
)
def test_damaged_configuration(tiny_file, tmp_path, config, sentence):
    path = tmp_path / "bad.safetensors"
    save_file(load_file(tiny_file), path, {"config": config})
    with pytest.raises(ModelError) as error:
        load_sam(path)
    assert str(path) in sentence(error)


def test_the_embedded_file_is_found_and_missing_says_so(tiny_file, store, tmp_path, monkeypatch, sentence):
    monkeypatch.setattr("MedPerSAMLib.services.models.store.EMBEDDED_FOLDER", tmp_path / "weights")
    with pytest.raises(ModelError) as error:
        load_predictor(store=store)
    assert "install MedPerSAM again" in sentence(error)
    (tmp_path / "weights").mkdir()
    os.replace(tiny_file, tmp_path / "weights" / "tiny.safetensors")
    assert load_predictor(store=store).name == "tiny"
