"""Checkpoint files: what is loaded, and what is refused in one sentence before it can do harm."""

import dataclasses
import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from MedPerSAMLib.errors import ModelError
from MedPerSAMLib.services.models.checkpoint import load_weights, read_checkpoint
from MedPerSAMLib.services.models.load import load_predictor, load_sam


def test_loads_what_was_saved(small_entry, checkpoint, state_dict):
    sam, entry = load_sam(checkpoint)
    assert entry.name == "small" and not sam.training
    for key, value in sam.state_dict().items():
        torch.testing.assert_close(value, state_dict[key])
    assert not any(tensor.is_meta for tensor in [*sam.parameters(), *sam.buffers()])


def test_the_file_may_go_while_the_model_is_used(small_entry, checkpoint):
    sam, _ = load_sam(checkpoint)
    checkpoint.write_bytes(b"")
    assert all(parameter.isfinite().all() for parameter in sam.parameters())


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_training_wrappers_and_prefixes(small_entry, tmp_path, state_dict, wrapper):
    path = tmp_path / "trained.pth"
    content = {wrapper: {f"module.{key}": value for key, value in state_dict.items()}, "epoch": 3}
    torch.save(content, path)
    assert load_sam(path)[1].name == "small"


def test_half_precision_and_safetensors(small_entry, tmp_path, state_dict):
    path = tmp_path / "half.safetensors"
    save_file({key: value.half() for key, value in state_dict.items()}, path)
    sam, _ = load_sam(path)
    assert {parameter.dtype for parameter in sam.parameters()} == {torch.float32}


def test_the_format_before_torch_1_6(small_entry, tmp_path, state_dict):
    path = tmp_path / "old.pth"
    torch.save(state_dict, path, _use_new_zipfile_serialization=False)
    assert load_sam(path)[1].name == "small"


def test_missing_extra_and_misshapen_keys_are_named(small_entry, tmp_path, state_dict, sentence):
    gone = [f"image_encoder.neck.{number}.weight" for number in (0, 1, 2, 3)]
    changed = {key: value for key, value in state_dict.items() if key not in gone}
    changed["extra.key"] = torch.zeros(1)
    changed["mask_decoder.iou_token.weight"] = torch.zeros(2, 16)
    path = tmp_path / "wrong.pth"
    torch.save(changed, path)
    with pytest.raises(ModelError) as error:
        load_sam(path)
    text = sentence(error)
    assert ", ".join(gone[:3]) + " and 1 more are missing" in text and gone[3] not in text
    assert "extra.key is not expected" in text
    assert "mask_decoder.iou_token.weight is (2, 16) instead of (1, 16)" in text


def test_another_architecture_is_not_known(tmp_path, sentence):
    path = tmp_path / "net.pth"
    torch.save({"fc.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(ModelError) as error:
        load_sam(path)
    assert "fc.weight" in sentence(error)


def test_values_that_are_not_finite(small_entry, tmp_path, state_dict, sentence):
    state_dict["mask_decoder.iou_token.weight"][0, 3] = float("nan")
    path = tmp_path / "nan.pth"
    torch.save(state_dict, path)
    with pytest.raises(ModelError) as error:
        load_sam(path)
    assert "mask_decoder.iou_token.weight is not finite" in sentence(error)


def test_code_is_not_run(tmp_path, sentence):
    marker = tmp_path / "ran"

    class Code:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    bare, wrapped = tmp_path / "bare.pth", tmp_path / "wrapped.pth"
    bare.write_bytes(pickle.dumps({"weight": Code()}))
    torch.save({"weight": torch.zeros(2), "run": Code()}, wrapped)
    for path in (bare, wrapped):
        with pytest.raises(ModelError) as error:
            read_checkpoint(path)
        assert str(path) in sentence(error)
    assert "could run code" in sentence(error) and "system" in sentence(error)
    assert not marker.exists()


def test_zip_bomb_is_refused_before_it_is_read(tmp_path, monkeypatch, sentence):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\0" * 50_000_000)
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("it was read"))
    with pytest.raises(ModelError) as error:
        read_checkpoint(path)
    assert "50.0 MB" in sentence(error)


def test_overlapping_entries_are_refused(tmp_path, checkpoint, sentence):
    """A bomb whose entries all point at the same bytes, none of them compressed."""
    path = tmp_path / "overlap.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\0" * 10_000)
        archive.filelist *= 5
    with pytest.raises(ModelError) as error:
        read_checkpoint(path)
    assert "unpack" in sentence(error)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98, 0.999])
def test_truncated(tmp_path, state_dict, suffix, share, sentence):
    path = tmp_path / f"cut{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state_dict, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError) as error:
        load_sam(path)
    assert str(path) in sentence(error)


@pytest.mark.parametrize("seed", range(20))
def test_damage_anywhere_is_an_error_or_harmless(small_entry, tmp_path, checkpoint, seed):
    content = bytearray(checkpoint.read_bytes())
    random = torch.Generator().manual_seed(seed)
    for position in torch.randint(len(content), (200,), generator=random).tolist():
        content[position] ^= 255
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    try:
        load_sam(path)
    except ModelError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello world", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, b"\x80\x02}q\x00.", b"\x80\x04K\x05."],
    ids=["empty", "text", "picture", "empty pickle", "pickled number"],
)
def test_not_a_checkpoint(tmp_path, content, sentence):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError) as error:
        load_sam(path)
    assert str(path) in sentence(error)


def test_lists_and_numbers_are_no_weights(tmp_path, sentence):
    for number, content in enumerate(([torch.zeros(2)], {"lr": 0.1}, {1: torch.zeros(2)}, {})):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        with pytest.raises(ModelError) as error:
            read_checkpoint(path)
        assert "state dict" in sentence(error)


def test_files_larger_than_any_model_are_not_opened(tmp_path, monkeypatch, sentence):
    monkeypatch.setattr("MedPerSAMLib.services.models.checkpoint.LARGEST_BYTES", 10)
    path = tmp_path / "large.pth"
    path.write_bytes(b"\0" * 11)
    with pytest.raises(ModelError) as error:
        read_checkpoint(path)
    assert "GB" in sentence(error)


def test_missing_file_and_folder(tmp_path, store, sentence):
    for path in (tmp_path / "none.pth", tmp_path / "folder" / "none"):
        with pytest.raises(ModelError) as error:
            load_predictor(path, store=store)
        assert str(path) in sentence(error)
    with pytest.raises(ModelError) as error:
        read_checkpoint(tmp_path)
    assert str(tmp_path) in sentence(error)


def test_weights_are_not_half_loaded(small_entry, checkpoint):
    sam = small_entry.builder({})
    before = {key: value.clone() for key, value in sam.state_dict().items()}
    found = read_checkpoint(checkpoint)
    lacking = dataclasses.replace(found, tensors=dict(list(found.tensors.items())[1:]))
    with pytest.raises(ModelError):
        load_weights(sam, lacking, "small")
    assert all(torch.equal(value, before[key]) for key, value in sam.state_dict().items())
