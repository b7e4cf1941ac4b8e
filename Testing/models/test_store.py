"""The user's models: import, verification, removal, and the command line's view of them."""

import collections
import dataclasses
import errno
import hashlib
import json
import os

import pytest
import torch

from MedPerSAMLib.core.progress import CallbackProgress
from MedPerSAMLib.errors import Cancelled, ModelError, OutputError
from MedPerSAMLib.services import cli
from MedPerSAMLib.services.embedding_store import DiskEmbeddingStore
from MedPerSAMLib.services.models import files, registry
from MedPerSAMLib.services.models.load import load_predictor
from MedPerSAMLib.services.models.registry import REGISTRY
from MedPerSAMLib.services.models.store import ModelStore

RELEASED = ("vit_b", "vit_l", "vit_h", "mobile_sam")


def test_folder_is_the_users_and_can_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDPERSAM_HOME", str(tmp_path))
    assert ModelStore().folder == tmp_path / "models"
    monkeypatch.delenv("MEDPERSAM_HOME")
    package = os.path.dirname(os.path.abspath(registry.__file__))
    assert not str(ModelStore().folder).startswith(package)  # it must survive an upgrade
    assert not ModelStore(tmp_path / "none").folder.exists()


def test_states_before_anything_is_there(store):
    states = {state.entry.name: state.state for state in store.states()}
    assert all(states[name] == "needs download" for name in RELEASED)
    assert states["medsam"] == "needs import"
    assert not store.folder.exists()


@pytest.mark.parametrize("name", ["vit_b", "medsam"])
def test_absent_models_say_how_to_get_them(store, name, sentence):
    with pytest.raises(ModelError) as error:
        load_predictor(name, store=store)
    assert f"medpersam models import {REGISTRY[name].file} --name {name}" in sentence(error)


def test_import_load_verify_remove(small_entry, store, checkpoint):
    state = store.import_model(checkpoint, "my-sam")
    assert state.ready and state.path == store.folder / "my-sam.pth"
    assert state.path.read_bytes() == checkpoint.read_bytes()
    checkpoint.unlink()
    model = load_predictor("my-sam", store=store)
    assert (model.name, model.entry.format) == ("my-sam", "small")
    assert store.verify("my-sam") == model.checksum
    assert store.remove("my-sam") == state.path
    assert list(store.folder.iterdir()) == []
    with pytest.raises(ModelError):
        load_predictor("my-sam", store=store)


def test_import_takes_the_files_name_or_the_registrys(small_entry, store, checkpoint, tmp_path):
    assert store.import_model(checkpoint).entry.name == "mine"
    os.replace(checkpoint, tmp_path / "small.pth")
    assert store.import_model(tmp_path / "small.pth").entry.name == "small"
    assert load_predictor("small", store=store).checksum == store.checksum(store.state("small"))


def test_imports_of_released_names_must_be_the_released_files(small_entry, store, checkpoint, monkeypatch, sentence):
    monkeypatch.setitem(REGISTRY, "small", dataclasses.replace(small_entry, sha256="0" * 64))
    with pytest.raises(ModelError) as error:
        store.import_model(checkpoint, "small")
    assert "SHA-256" in sentence(error)
    with pytest.raises(ModelError) as error:
        store.import_model(checkpoint, "vit_b")
    assert "small" in sentence(error) and "vit_b" in sentence(error)
    assert not store.folder.exists()


@pytest.mark.parametrize("name", ["tiny", "../outside", "a b", "", ".hidden"])
def test_names_that_are_not_allowed(small_entry, store, checkpoint, name, sentence):
    with pytest.raises(ModelError) as error:
        store.import_model(checkpoint, name)
    assert "name" in sentence(error)
    assert not store.folder.exists()


def test_bad_files_are_not_imported(store, tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"bad")
    with pytest.raises(ModelError):
        store.import_model(tmp_path / "bad.pth", "bad")
    assert not store.folder.exists()


def test_changes_on_disk_are_noticed(small_entry, store, checkpoint, sentence):
    state = store.import_model(checkpoint, "my-sam")
    content = bytearray(state.path.read_bytes())
    content[-3000] ^= 1
    state.path.write_bytes(content)
    os.utime(state.path, ns=(1, 1))
    for look in (lambda: store.verify("my-sam"), lambda: load_predictor("my-sam", store=store)):
        with pytest.raises(ModelError) as error:
            look()
        assert "SHA-256" in sentence(error) and "delete that file and get the model again" in sentence(error)
    state.path.write_bytes(content[:-1])
    assert store.state("my-sam").state == "damaged"
    with pytest.raises(ModelError) as error:
        load_predictor("my-sam", store=store)
    assert "bytes instead of" in sentence(error)


def test_damaged_records_do_not_hide_the_other_models(small_entry, store, checkpoint):
    store.import_model(checkpoint, "one")
    for number, text in enumerate(["", "{", "[]", '{"name": 3}', json.dumps({"name": "x"})]):
        (store.folder / f"bad{number}.pth.json").write_text(text)
    assert "one" in store.entries() and store.state("one").ready


def test_what_cannot_be_removed(store, sentence):
    for name, word in (("tiny", "cannot be removed"), ("vit_b", "not on this computer"), ("vit_x", "no model")):
        with pytest.raises(ModelError) as error:
            store.remove(name)
        assert word in sentence(error)


def test_no_space_and_no_permission_leave_nothing(small_entry, store, checkpoint, monkeypatch, sentence):
    for code, word in ((errno.ENOSPC, "No space"), (errno.EACCES, "cannot be written")):

        def refuse(*arguments, code=code):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(files.os, "replace", refuse)
        with pytest.raises(OutputError) as error:
            store.import_model(checkpoint, "my-sam")
        assert word in sentence(error) and "MEDPERSAM_HOME" in sentence(error)
        assert list(store.folder.iterdir()) == []


def test_a_full_disk_is_seen_before_copying(small_entry, store, checkpoint, monkeypatch, sentence):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: collections.namedtuple("Usage", "free")(10))
    with pytest.raises(OutputError) as error:
        store.import_model(checkpoint, "my-sam")
    assert "No space" in sentence(error)


def test_importing_can_be_cancelled(small_entry, store, checkpoint):
    seen = []

    def stop():
        return seen.count("copying (MB)") > 0

    progress = CallbackProgress(on_step=lambda phase, done, total: seen.append(phase), is_cancelled=stop)
    store.import_model(checkpoint, "whole", progress)
    seen.append("copying (MB)")
    with pytest.raises(Cancelled):
        store.import_model(checkpoint, "part", progress)
    assert not list(store.folder.glob("part*"))


def run(*arguments):
    return cli.main(["models", *map(str, arguments)])


def test_list(store, capsys):
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("tiny *") and any("vit_h" in line and "2565 MB" in line for line in lines)
    assert all("Apache-2.0" in line for line in lines[1:7])
    assert sum("needs download" in line for line in lines) == 4 and str(store.folder) in lines[-1]


def test_import_verify_list_remove(small_entry, store, checkpoint, capsys):
    assert run("import", checkpoint, "--name", "my-sam") == 0
    assert run("verify", "my-sam") == 0
    assert run("list") == 0
    assert run("remove", "my-sam") == 0
    out = capsys.readouterr().out
    assert "my-sam is ready" in out and hashlib.sha256(checkpoint.read_bytes()).hexdigest() in out
    assert any(line.startswith("my-sam") and "imported" in line for line in out.splitlines())
    assert run("remove", "my-sam") == 2


def test_kept_embeddings_are_listed_and_removed(store, capsys):
    embeddings = DiskEmbeddingStore()
    embeddings.put(("volume", 0, None), torch.zeros(64, 64, 64))
    size = f"{embeddings.used_bytes() / 1e6:.1f} MB"
    assert run("list") == 0
    assert f"Kept embeddings take {size} in {embeddings.folder}" in capsys.readouterr().out
    assert run("remove", "--embeddings") == 0
    assert capsys.readouterr().out == f"Removed the kept embeddings in {embeddings.folder}: {size} freed\n"
    assert embeddings.used_bytes() == 0
    assert run("list") == 0
    assert "Kept embeddings" not in capsys.readouterr().out


def test_removing_needs_something_to_remove(store, capsys):
    assert run("remove") == 2
    assert "give a NAME" in capsys.readouterr().err


def test_a_model_and_the_embeddings_go_in_one_command(small_entry, store, checkpoint, capsys):
    store.import_model(checkpoint, "my-sam")
    assert run("remove", "my-sam", "--embeddings") == 0
    assert capsys.readouterr().out.count("Removed") == 2
    assert list(store.folder.iterdir()) == []


@pytest.mark.parametrize("command", [("download", "vitb"), ("verify", "vit_b"), ("remove", "vit_l")])
def test_errors_are_one_sentence_and_code_2(store, command, capsys):
    assert run(*command) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and "vit_" in printed.err


def test_a_full_vit_b_goes_in_and_comes_out(store, tmp_path):
    """The one test with a released architecture, 0.4 GB: a file with vit_b's keys becomes medsam."""
    with torch.device("meta"):
        keys = REGISTRY["medsam"].builder({}).state_dict()
    path = tmp_path / "medsam_vit_b.pth"
    torch.save({key: torch.full(value.shape, 0.5) for key, value in keys.items()}, path)
    state = store.import_model(path)
    assert (state.entry.name, state.state) == ("medsam", "imported")
    path.unlink()
    model = load_predictor("medsam", store=store)
    assert model.predictor.frame_size == 1024 and model.predictor.batch == 1
    assert all((value == 0.5).all() for value in model.predictor.sam.state_dict().values())
    assert model.predictor.sam.pixel_mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
