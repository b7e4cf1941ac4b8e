"""Downloads from a server on this computer: whole, broken, wrong, absent, cancelled, without space."""

import collections
import dataclasses
import errno
import functools
import hashlib
import http.server
import io
import os
import threading
import urllib.error
import urllib.request

import pytest
import torch

from MedPerSAMLib.core.progress import CallbackProgress
from MedPerSAMLib.errors import Cancelled, ModelError, OutputError
from MedPerSAMLib.services.models import files
from MedPerSAMLib.services.models.download import _HttpsOnly, download, fetch, open_https
from MedPerSAMLib.services.models.load import load_predictor
from MedPerSAMLib.services.models.registry import REGISTRY


def disk_usage(free):
    """What shutil.disk_usage says of a disk with ``free`` bytes left."""
    return collections.namedtuple("Usage", "total used free")(10**6, 10**6 - free, free)


def answer_with(data, first):
    """A server's answer that holds ``data`` from byte ``first`` on."""
    answer = io.BytesIO(data[first:])
    answer.status = 206 if first else 200
    return answer


class Server(http.server.BaseHTTPRequestHandler):
    """Answers from ``content``, whole or from a byte on, in the way that the path names; remembers the ranges."""

    def __init__(self, content, ranges, *arguments):
        self.content, self.ranges = content, ranges
        super().__init__(*arguments)

    def do_GET(self):
        self.ranges.append(self.headers.get("Range"))
        if self.path == "/absent":
            self.send_error(404)
            return
        content = self.content[::-1] if self.path == "/wrong" else self.content
        first = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        resumed = first > 0 and self.path != "/whole"
        content = content[first:] if resumed else content
        self.send_response(206 if resumed else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.path == "/longer":
            content += b"more"
        self.wfile.write(content[: len(content) // 2] if self.path == "/truncated" else content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def content():
    return bytes(torch.randint(256, (3_000_000,), generator=torch.Generator().manual_seed(0)).to(torch.uint8).tolist())


@pytest.fixture
def server(content):
    ranges = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, content, ranges)) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        running.ranges = ranges
        running.url = f"http://127.0.0.1:{running.server_port}"
        yield running
        running.shutdown()


def open_loopback(url, first):
    """What open_https does, for the server of these tests."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={first}-"} if first else {})
    return urllib.request.urlopen(request, timeout=5)


@pytest.fixture
def get(server, content, tmp_path):
    """Download from a path of the server to ``target``."""

    def run(path, target=tmp_path / "models" / "file.pth", progress=None):
        checksum = hashlib.sha256(content).hexdigest()
        fetch(server.url + path, target, len(content), checksum, progress, open_loopback)
        return target

    run.folder = tmp_path / "models"
    run.partial = run.folder / "file.pth.partial"
    return run


def test_good(get, content):
    steps = []
    target = get("/good", progress=CallbackProgress(on_step=lambda *step: steps.append(step)))
    assert target.read_bytes() == content and not get.partial.exists()
    assert steps[0] == ("downloading (MB)", 0, 3) and steps[-1] == ("checking (MB)", 3, 3)


def test_wrong_checksum_leaves_nothing(get, sentence):
    with pytest.raises(ModelError) as error:
        get("/wrong")
    assert "SHA-256" in sentence(error) and list(get.folder.iterdir()) == []


def test_truncated_goes_on_where_it_stopped(get, content, server, sentence):
    with pytest.raises(ModelError) as error:
        get("/truncated")
    assert "1500000 of 3000000 bytes" in sentence(error) and "again" in sentence(error)
    assert list(get.folder.iterdir()) == [get.partial]
    assert get("/good").read_bytes() == content
    assert server.ranges == [None, "bytes=1500000-"]


def test_servers_that_cannot_resume_send_all_again(get, content):
    get.folder.mkdir()
    get.partial.write_bytes(b"x" * 1000)
    assert get("/whole").read_bytes() == content


def test_a_partial_file_of_something_else_ends_as_wrong_checksum_then_works(get, content):
    get.folder.mkdir()
    get.partial.write_bytes(b"x" * 1000)
    with pytest.raises(ModelError):
        get("/good")
    assert not get.partial.exists()
    assert get("/good").read_bytes() == content


def test_a_finished_partial_file_is_not_asked_for_again(get, content, server):
    get.folder.mkdir()
    get.partial.write_bytes(content)
    assert get("/absent").read_bytes() == content and server.ranges == []


def test_more_than_expected(get, content, tmp_path, server, sentence):
    short = content[:1000]
    with pytest.raises(ModelError) as error:
        fetch(server.url + "/good", get.folder / "f", 1000, hashlib.sha256(short).hexdigest(), None, open_loopback)
    assert "more than the 1000 bytes" in sentence(error) and list(get.folder.iterdir()) == []


def test_absent(get, sentence):
    with pytest.raises(ModelError) as error:
        get("/absent")
    assert "404" in sentence(error) and "models import" in sentence(error)
    assert not get.folder.exists()


def test_offline(get, server, content, sentence):
    server.shutdown()
    server.server_close()
    with pytest.raises(ModelError) as error:
        get("/good")
    assert "refused" in sentence(error) and "connection" in sentence(error)
    assert not get.folder.exists()


def test_no_space_while_writing(get, monkeypatch, sentence):
    """A file that takes one chunk and then no more."""
    real = open

    def full(path, mode="r", *arguments, **named):
        file = real(path, mode, *arguments, **named)
        if mode != "wb":
            return file

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *exception):
                file.close()

            def __getattr__(self, name):
                return getattr(file, name)

            def write(self, chunk):
                if file.tell():
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return file.write(chunk)

        return Full()

    monkeypatch.setattr("pathlib.Path.open", full)
    with pytest.raises(OutputError) as error:
        get("/good")
    assert "No space" in sentence(error) and list(get.folder.iterdir()) == []


def test_no_space_beforehand(get, monkeypatch, server, sentence):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: disk_usage(1000))
    with pytest.raises(OutputError) as error:
        get("/good")
    assert "No space" in sentence(error) and server.ranges == []


def test_cancel_keeps_what_came(get, content):
    steps = []
    progress = CallbackProgress(on_step=lambda *step: steps.append(step), is_cancelled=lambda: len(steps) == 2)
    with pytest.raises(Cancelled):
        get("/good", progress=progress)
    assert get.partial.stat().st_size == files.CHUNK * 2
    assert get("/good").read_bytes() == content


def test_only_https(sentence):
    with pytest.raises(ModelError) as error:
        open_https("http://127.0.0.1:1/file", 0)
    assert "https" in sentence(error)


def test_redirections_stay_on_https():
    request = urllib.request.Request("https://example.org/file")
    with pytest.raises(urllib.error.URLError):
        _HttpsOnly().redirect_request(request, None, 302, "", {}, "http://example.org/file")
    assert _HttpsOnly().redirect_request(request, None, 302, "", {}, "https://example.org/other") is not None


def test_from_the_registry_into_the_store(small_entry, store, server, checkpoint, monkeypatch):
    data = checkpoint.read_bytes()
    checksum = hashlib.sha256(data).hexdigest()
    entry = dataclasses.replace(small_entry, url="https://x/small.pth", sha256=checksum, bytes=len(data))
    monkeypatch.setitem(REGISTRY, "small", entry)
    asked = []

    def opener(url, first):
        asked.append(url)
        return answer_with(data, first)

    assert store.state("small").state == "needs download"
    state = download("small", store, opener=opener)
    assert state.state == "downloaded" and store.verify("small") == checksum
    download("small", store, opener=opener)
    assert asked == ["https://x/small.pth"]
    assert load_predictor("small", store=store).checksum == checksum


@pytest.mark.parametrize(("name", "word"), [("medsam", "github.com/bowang-lab"), ("vit_x", "vit_b")])
def test_what_has_no_download(store, name, word, sentence):
    with pytest.raises(ModelError) as error:
        download(name, store)
    assert word in sentence(error)
