"""Formats are told by content; what is missing, cut short or strange is refused with a way out."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from audit.errors import ModelError
from audit.loading import Format, sniff
from audit.loading.sniffing import PROCESSOR_KEY


@pytest.fixture
def checkpoint(tmp_path, net, exported):
    """Write the same network in a format, under a name that says nothing."""

    def write(kind):
        path = tmp_path / "checkpoint"
        if kind is Format.SAFETENSORS:
            save_file(net.state_dict(), path)
        elif kind is Format.POST_PROCESSOR:
            save_file({"shift": torch.zeros(2)}, path, metadata={PROCESSOR_KEY: "{}"})
        elif kind is Format.TORCH:
            torch.save(net.state_dict(), path)
        elif kind is Format.PICKLE:
            torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)
        elif kind is Format.TORCHSCRIPT:
            torch.jit.script(net).save(str(path))
        elif kind is Format.TORCH_EXPORT:
            exported(net, torch.zeros(2, 4)).rename(path)
        else:
            path.mkdir()
            (path / "config.json").write_text("{}")
        return path

    return write


@pytest.mark.parametrize("kind", list(Format))
def test_the_content_decides(checkpoint, kind):
    assert sniff(checkpoint(kind)) is kind


@pytest.mark.parametrize("protocol", range(6))
def test_every_pickle_protocol_is_a_pickle(tmp_path, payload, protocol):
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(payload, protocol))
    assert sniff(path) is Format.PICKLE


@pytest.mark.parametrize("kind", [Format.SAFETENSORS, Format.TORCH, Format.TORCHSCRIPT, Format.TORCH_EXPORT])
@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_cut_short(checkpoint, kind, kept):
    path = checkpoint(kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(
        ModelError, match=r"^Expected a whole checkpoint, found .* cut short .*; try copying it again\.$"
    ):
        sniff(path)


def test_a_damaged_safetensors_header(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((20).to_bytes(8, "little") + b"{" + b"?" * 30)
    with pytest.raises(ModelError, match="damaged header"):
        sniff(path)


def test_nothing_there(tmp_path):
    with pytest.raises(ModelError, match="found nothing there"):
        sniff(tmp_path / "no.pt")


def test_an_empty_file(tmp_path):
    (tmp_path / "m.pt").touch()
    with pytest.raises(ModelError, match="found an empty file"):
        sniff(tmp_path / "m.pt")


def test_an_empty_folder(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json, found nothing in"):
        sniff(tmp_path)


def test_a_folder_of_something_else_says_what_is_in_it(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match=r"found model\.safetensors in"):
        sniff(tmp_path)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "HDF5"),
        (b"GGUF" + b"\0" * 99, "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"<!doctype html><html>", "web page"),
        (b"\0" * 257 + b"ustar" + b"\0" * 99, "tar archive"),
        (b"hello, this is a note", "no format known here"),
    ],
)
def test_strangers_are_named(tmp_path, content, word):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=word):
        sniff(path)


def test_an_npz_is_named(tmp_path):
    np.savez(tmp_path / "model.npz", a=np.zeros(3))
    with pytest.raises(ModelError, match="NumPy archive"):
        sniff(tmp_path / "model.npz")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(ModelError, match="unpacking to 50000000"):
        sniff(path)


def test_looking_needs_no_torch(tmp_path, net):
    save_file(net.state_dict(), tmp_path / "m")
    code = f"import sys; from audit.loading import look; look({str(tmp_path / 'm')!r}); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_stream_is_not_a_path_but_a_string_is(tmp_path, net):
    save_file(net.state_dict(), tmp_path / "m")
    assert sniff(str(tmp_path / "m")) is Format.SAFETENSORS
    with pytest.raises(TypeError):
        sniff(io.BytesIO())
