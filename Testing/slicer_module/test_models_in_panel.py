"""The list of models in the panel: marks, licence, import, clear; and the methods' list against the registry."""

from __future__ import annotations

import pytest
from panel_case import Panel

from MedPerSAMLib.core.methods import METHODS, method_class
from MedPerSAMLib.mrml.method_list import METHOD_ROWS
from MedPerSAMLib.mrml.model_presenter import ModelPresenter
from MedPerSAMLib.services.jobs import STEP
from MedPerSAMLib.services.models.store import ModelStore


@pytest.fixture
def models(tmp_path):
    """A presenter on an empty folder, whose jobs the test runs by hand."""
    jobs = []
    presenter = ModelPresenter(lambda work, title, done: jobs.append((work, title, done)) or True, ModelStore(tmp_path))
    presenter.jobs = jobs
    return presenter


def test_rows_say_size_licence_and_need(models):
    row = models.row("vit_b")
    assert row.text == "vit_b, 375 MB - needs download" and "Apache-2.0" in row.details
    assert row.can_download and not row.ready
    assert not models.row("medsam").can_download, "it has no address, only a page"


def test_download_is_a_job_and_its_end_is_told(models):
    models.download("vit_b")
    assert models.status == "Downloading vit_b ..."
    models.jobs[0][2]("vit_b is ready.")
    assert models.status == "vit_b is ready."


def test_import_without_a_file_asks_for_one(models):
    models.import_file("  ")
    assert models.status == "Choose a checkpoint file first." and not models.jobs


def test_busy_is_told(tmp_path):
    presenter = ModelPresenter(lambda *_: False, ModelStore(tmp_path))
    presenter.download("vit_b")
    assert "Wait" in presenter.status


def test_clear_removes_what_was_got(models, tmp_path):
    models.clear()
    assert models.status == "There was nothing to remove."
    (tmp_path / "mobile_sam.pt").write_bytes(b"x")
    models.clear()
    assert models.status == "Removed mobile_sam." and not list(tmp_path.iterdir())


def test_clear_asks_with_names_and_size(models, tmp_path):
    assert models.clear_question() == ""
    (tmp_path / "mobile_sam.pt").write_bytes(b"x")
    assert models.clear_question().startswith(f"Remove mobile_sam (1 MB) from {tmp_path}?")


@pytest.mark.parametrize("name", ["medsam", "tiny"])
def test_what_cannot_be_downloaded_says_so(models, name):
    models.download(name)
    assert "download" in models.status and not models.jobs


def commands(texts) -> list[str]:
    """Texts that send the user to a command line."""
    return [text for text in texts if "medpersam " in text or "--" in text]


def test_rows_say_what_to_press_in_every_state(models, tmp_path):
    assert "Press Download, or Import a file under Model files." in models.row("vit_b").details
    assert "Get medsam_vit_b.pth from https://" in models.row("medsam").details
    (tmp_path / "mobile_sam.pt").write_bytes(b"damaged")
    models.refresh()
    assert "Damaged. Press Download" in models.row("mobile_sam").details
    assert commands(text for row in models.rows for text in (row.text, row.details)) == []


def test_errors_that_reach_the_panel_name_no_command(models, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from MedPerSAMLib.core.progress import Progress
    from MedPerSAMLib.errors import MedPerSAMError
    from MedPerSAMLib.services.learning.profile import Profile
    from MedPerSAMLib.services.models import load
    from MedPerSAMLib.services.models.download import fetch
    from MedPerSAMLib.services.models.registry import EMBEDDED_FOLDER, REGISTRY

    said = []

    def listen(work, *arguments) -> None:
        with pytest.raises(MedPerSAMError) as error:
            work(*arguments)
        said.append(str(error.value))

    def no_server(*_arguments):
        raise OSError("no network")

    monkeypatch.setattr(load, "_fault", lambda device: "PyTorch finds no CUDA GPU on this computer")
    listen(load.choose_device, "cuda")
    listen(fetch, "https://nowhere/x.pth", tmp_path / "x.pth", 9, "0" * 64, None, no_server)
    listen(Profile.load, tmp_path / "none.safetensors")
    save_file({"weights": torch.zeros(2)}, tmp_path / "other.safetensors")
    listen(Profile.load, tmp_path / "other.safetensors")
    store = models._store
    listen(store.remove, "tiny")
    listen(store.remove, "vit_b")
    embedded = EMBEDDED_FOLDER / REGISTRY["tiny"].file
    for name in ("tiny", "vit_b"):
        listen(store.import_model, embedded, name)
    state = store.import_model(embedded, "mine")
    state.path.write_bytes(state.path.read_bytes()[:-1] + b"\0")
    listen(store.checksum, store.state("mine"), Progress(), True)
    assert len(said) == 9 and commands(said) == []


@pytest.mark.parametrize(
    "kind, content, sentence",
    [
        ("finished", "vit_b", "vit_b is ready."),
        ("cancelled", None, "Cancelled."),
        ("failed", ("The disk is full; make room.", "Traceback"), "The disk is full; make room."),
    ],
)
def test_end_of_a_download_is_told_in_the_panel_and_its_log(scene, grey, ball, tmp_path, kind, content, sentence):
    panel = Panel(scene, grey, ball, tmp_path)
    panel.presenter.models.download("vit_b")
    panel.jobs.put(STEP, ("downloading", 374, 375))
    panel.tick()
    assert panel.state.status == "Downloading: 375 of 375"
    panel.jobs.put(kind, content)
    panel.tick()
    assert (panel.state.status, panel.presenter.models.status) == (sentence, sentence)
    assert [line.endswith(sentence) for line in panel.state.log].count(True) == 1


def test_methods_are_those_of_the_registry():
    pytest.importorskip("torch")
    listed = {row.name: row for row in METHOD_ROWS}
    volumes = {name for name in METHODS if hasattr(method_class(name), "propagate")}
    assert set(listed) == volumes
    for name, row in listed.items():
        assert row.needs_model == method_class(name).needs_model, name
