"""Files that were made to harm: none runs anything, each gets one line, none takes all memory or time."""

import json
import os
import pickle
import random
import subprocess
import sys

import pytest
import torch
from convert import hostile_files
from convert.hostile_files import calls, legacy, torch_bytes, weights, zipped
from running import REPOSITORY

from cifar_lit import checkpoint, convert
from cifar_lit.checkpoint import CheckpointError
from cifar_lit.convert.__main__ import main

pytestmark = pytest.mark.slow

WRAPPED = {
    "plain": lambda data: data + b".",
    "zip": lambda data: zipped(data + b"."),
    "legacy": lambda data: legacy(data + b"."),
}
MEGABYTES, SECONDS = 800, 30  # beside what torch and the package take


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


def refused_by_both(path, capsys, sealed=True):
    """The line that the converter gives; checkpoint.load gives one as well, of the file with and without its seal."""
    assert main([str(path), "-o", str(path.with_name("bundle"))]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("error: ") and len(err) < 800
    assert not path.with_name("bundle").exists()
    refused_by_checkpoint(path, sealed)
    return err


def refused_by_checkpoint(path, sealed=True, uses=(checkpoint.load, checkpoint.read)):
    own = path.with_name("own.ckpt")
    for seal in (False, True) if sealed else (False,):
        own.write_bytes(path.read_bytes())
        if seal and own.stat().st_size > 2:
            checkpoint.seal(own)
        for use in uses:
            with pytest.raises(CheckpointError) as error:
                use(own)
            assert "\n" not in str(error.value) and len(str(error.value)) < 800
    own.unlink()


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("name", calls("marker"))
def test_calls(name, form, tmp_path, marker, capsys):
    (tmp_path / "a.pth").write_bytes(WRAPPED[form](calls(marker)[name]))
    before = set(sys.modules)
    refused_by_both(tmp_path / "a.pth", capsys)
    assert not marker.exists() and "antigravity" not in set(sys.modules) - before
    assert os.listdir(tmp_path) == ["a.pth"]


@pytest.mark.parametrize("name", calls("marker"))
def test_calls_beside_good_weights(name, tmp_path, marker, capsys):
    """Refused in one line, or converted with what was asked for named; run in no case."""
    good = pickle.dumps({"state_dict": {key: tensor.numpy() for key, tensor in weights().items()}}, 2).removesuffix(b".")
    (tmp_path / "a.pkl").write_bytes(good + hostile_files.text("extra") + calls(marker)[name] + b"s.")
    code = main([str(tmp_path / "a.pkl"), "-o", str(tmp_path / "bundle")])
    out, err = capsys.readouterr()
    assert not marker.exists()
    if code:
        assert code == 1 and err.count("\n") == 1
    else:
        assert "extra" in out
        net, _ = checkpoint.load(tmp_path / "bundle")
        assert all(torch.equal(tensor, weights()[key]) for key, tensor in net.state_dict().items())


def test_names_that_run_programs_are_refused_as_such(tmp_path, marker, capsys):
    for name, part in [
        ("os_system", "asks for os.system"),
        ("popen_newobj", "asks for subprocess.Popen"),
        ("getattr_chain", "asks for builtins.__import__"),
        ("inst", "asks for os.system"),
        ("python2_eval", "asks for __builtin__.eval"),
        ("stack_global", "asks for os.system"),
    ]:
        (tmp_path / "a.pth").write_bytes(zipped(calls(marker)[name] + b"."))
        assert f"{part}, which no checkpoint needs" in refused_by_both(tmp_path / "a.pth", capsys)


def test_the_calls_do_what_they_say(tmp_path, marker):
    """Of those that can make the marker where they are unpickled, a few: the corpus is not blank cartridges."""
    for name in ("os_system", "posix_system", "eval", "getattr_chain", "stack_global", "obj", "map"):
        pickle.loads(calls(marker)[name] + b".")
        assert marker.exists(), name
        marker.unlink()


@pytest.mark.parametrize("name", hostile_files.words())
def test_words_that_name_code_are_said_and_not_followed(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.ckpt").write_bytes(torch_bytes(hostile_files.words()[name]))
    assert main(["a.ckpt", "-o", "bundle"]) == 0
    out, _ = capsys.readouterr()
    assert "names code to call, which was not followed" in out and "os.system" in out
    assert sorted(os.listdir()) == ["a.ckpt", "bundle"]
    refused_by_checkpoint(tmp_path / "a.ckpt", uses=(checkpoint.load,))  # does not say what network it is
    assert sorted(os.listdir()) == ["a.ckpt", "bundle"]


@pytest.mark.parametrize("name", hostile_files.tensors())
def test_tensors_that_lie(name, tmp_path, capsys):
    (tmp_path / "a.pth").write_bytes(hostile_files.tensors()[name])
    err = refused_by_both(tmp_path / "a.pth", capsys)
    # Refused for what they are, and not only since one weight is no network; objects, where they are read.
    assert "tensor" in err.replace(str(tmp_path), "") or name in ("object_array", "quantized", "complex", "unknown_storage")


def test_numbers_that_are_stored_once_and_named_often(tmp_path, capsys):
    one = torch.zeros(512, 512, 3, 3)
    (tmp_path / "a.pth").write_bytes(torch_bytes({f"layer1.{index}.conv1.weight": one for index in range(3)}))
    assert main([str(tmp_path / "a.pth"), "--dry-run"]) == 1
    assert "its tensors repeat each other" in capsys.readouterr().err


@pytest.mark.parametrize("name", hostile_files.archives())
def test_archives(name, tmp_path, capsys):
    path = tmp_path / (name if "." in name else f"{name}.pth")
    path.write_bytes(hostile_files.archives()[name])
    refused_by_both(path, capsys)


def test_what_is_no_file(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "loop.pth").symlink_to("loop.pth")
    (tmp_path / "secret.pth").write_bytes(b"N.")
    for path, part in [
        (tmp_path / "pipe.pth", "not a regular file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "no.pth", "No such file"),
        (tmp_path / "loop.pth", "symbolic links"),
    ]:
        assert main([str(path), "--dry-run"]) == 1
        err = capsys.readouterr().err
        assert part in err and err.count("\n") == 1
        with pytest.raises(CheckpointError):
            checkpoint.read(path) if not path.name.startswith("pipe") else checkpoint.load(path)
    if os.path.exists("/dev/zero"):
        assert main(["/dev/zero", "--dry-run"]) == 1
        assert "not a regular file" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "safetensors"])
def test_truncated_anywhere(form, tmp_path, capsys):
    data, name = good_file(form)
    path = tmp_path / name
    cuts = [len(data) * quarter // 4 for quarter in range(4)] + [len(data) - cut for cut in (1, 2, 8, 22, 64)]
    for cut in cuts:
        path.write_bytes(data[:cut])
        refused_by_both(path, capsys, sealed=False)
    path.write_bytes(data + b"\0")
    if form in ("legacy", "pickle"):
        refused_by_both(path, capsys, sealed=False)


def good_file(form):
    if form == "safetensors":
        from safetensors.torch import save

        return save(weights()), "a.safetensors"
    if form == "pickle":
        return pickle.dumps({key: tensor.numpy() for key, tensor in weights().items()}, 2), "a.pkl"
    return torch_bytes({"state_dict": weights(), "epoch": 3}, new=form == "zip"), "a.pth"


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "safetensors"])
def test_one_bit_flipped_anywhere(form, tmp_path, marker):
    """Refused, or read with nothing but values changed. torch's zip has a CRC of every entry: its weights cannot change."""
    data, name = good_file(form)
    path, good = tmp_path / name, weights()
    places = random.Random(0).sample(range(len(data)), 400)
    refusals = 0
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            converted = convert.read(path)
        except convert.ConvertError as error:
            refusals += 1
            if "\n" not in str(error) and "cannot be read" not in str(error):
                continue
            raise
        assert converted.weights.keys() == good.keys()
        changed = [key for key, tensor in converted.weights.items() if not torch.equal(tensor, good[key])]
        assert len(changed) <= (0 if form == "zip" else 1), place
    assert refusals > 20


def test_one_bit_flipped_in_the_numbers_of_a_zip_is_noticed(tmp_path):
    data, name = good_file("zip")
    numbers = weights()["layer2.0.conv2.weight"].numpy().tobytes()
    place = data.index(numbers) + 1234
    (tmp_path / name).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    assert torch.load(tmp_path / name, weights_only=True)  # which does not look at the CRC
    with pytest.raises(convert.ConvertError, match="torn or altered"):
        convert.read(tmp_path / name)


_CONVERTED = """
from cifar_lit.convert.__main__ import main
def opened(path):
    return main([path, "--dry-run"])
"""
# A checkpoint whose SHA-256 is right, since whoever made it wrote that too.
_LOADED = """
from pathlib import Path
from cifar_lit import checkpoint
def opened(path):
    checkpoint.seal(Path(path))
    try:
        checkpoint.load(path)
    except checkpoint.CheckpointError as error:
        print(str(error), file=sys.stderr)
        return 1
"""
_MEASURE = """
import json, resource, sys, time
%s
alone = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    start = time.monotonic()
    code = opened(path)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - alone) // 1024
    print(json.dumps([path, code, round(time.monotonic() - start, 1), peak]), flush=True)
"""


@pytest.mark.slow
# One reader reads both: the longest bombs are tried at full length where strangers' files come in.
@pytest.mark.parametrize(("way", "steps"), [(_CONVERTED, 2_000_000), (_LOADED, 200_000)], ids=["converted", "loaded"])
def test_bombs_take_neither_all_memory_nor_all_time(way, steps, tmp_path):
    paths = []
    for name, data in hostile_files.bombs(steps).items():
        paths.append(tmp_path / (f"{name}.pth" if way == _CONVERTED else f"{name}.ckpt"))
        paths[-1].write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE % way, *map(str, paths)], cwd=REPOSITORY, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [str(path) for path in paths]
    assert len(done.stderr.splitlines()) == len(paths)
    for path, code, seconds, megabytes in rows:
        assert code == 1 and seconds < SECONDS and megabytes < MEGABYTES, (path, code, seconds, megabytes)
