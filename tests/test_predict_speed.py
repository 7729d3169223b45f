"""What decides the numbers of benchmarks/predict_speed.py; what it measures is measured by hand."""

import json
import sys

import pytest
import torch

from benchmarks import predict_speed
from benchmarks.predict_speed import FORWARD, ONNX, TORCH

pytestmark = pytest.mark.slow


def asked(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["predict_speed", *map(str, arguments)])
    try:
        predict_speed.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_all_three_do_the_same_work(tmp_path):
    folder, image = predict_speed.prepared(tmp_path, "resnet8")
    compared = predict_speed.sides(folder, image)
    with torch.inference_mode():
        shares, classes = compared[FORWARD]().softmax(1).topk(5)
    for name in (TORCH, ONNX):
        guesses = compared[name]()
        assert [guess.index for guess in guesses] == classes[0].tolist()
        assert [guess.probability for guess in guesses] == pytest.approx(shares[0].tolist(), abs=1e-4)
    image.write_bytes(b"")
    for name in (TORCH, ONNX):
        with pytest.raises(ValueError, match="the file is empty"):  # it is read anew by every call
            compared[name]()


def test_a_pair_is_each_in_turn(capsys):
    order = []
    compared = {name: (lambda name=name: order.append(name)) for name in (FORWARD, TORCH, ONNX)}
    rows = predict_speed.measure(compared, pairs=3, calls=2)
    warm, *pairs = [order[start : start + 6 : 2] for start in range(0, len(order), 6)]
    assert len(order) == 4 * 6 and warm == [FORWARD, TORCH, ONNX]
    assert sorted(pair[0] for pair in pairs) == sorted(compared)
    assert [list(row) for row in rows] == [[FORWARD, TORCH, ONNX]] * 3
    assert capsys.readouterr().out.count("pair ") == 3


def test_ratios_are_taken_pair_by_pair():
    taken = [(10.0, 11.0, 5.0), (20.0, 21.0, 8.0), (10.0, 30.0, 5.0)]
    rows = [dict(zip((FORWARD, TORCH, ONNX), row, strict=True)) for row in taken]
    medians = predict_speed.summary(rows)
    assert medians["milliseconds"] == {FORWARD: 10.0, TORCH: 21.0, ONNX: 5.0}
    assert medians["ratio"] == pytest.approx({FORWARD: 1.0, TORCH: 1.1, ONNX: 0.5})


def test_a_call_is_the_median_of_several(monkeypatch):
    clock = iter([0.0, 1.0, 1.0, 4.0, 4.0, 6.0])
    monkeypatch.setattr(predict_speed.time, "perf_counter", lambda: next(clock))
    assert predict_speed.seconds(lambda: None, 3) == 2.0


@pytest.mark.slow
def test_the_file_says_all(tmp_path, monkeypatch, capsys):
    file = tmp_path / "result.json"
    assert asked(monkeypatch, "--pairs", 2, "--calls", 3, "--model", "resnet8", "--json", file) == 0
    found = json.loads(file.read_text())
    assert (found["benchmark"], found["model"], found["threads"], found["target"]) == ("predict_speed", "resnet8", 1, 1.1)
    assert len(found["pairs"]) == 2 and min(found["pairs"][0].values()) > 0
    assert found["met"] == (found["ratio"][TORCH] <= 1.1)
    assert "torch" in found["versions"] and "onnxruntime" in found["more_versions"] and found["hardware"]["cores"]
    said = capsys.readouterr().out
    assert f"target 1.1 {'met' if found['met'] else 'missed'} by Predictor (resnet8, 2 pairs, one thread)" in said


@pytest.mark.parametrize("arguments", [["--pairs", "0"], ["--calls", "0"], ["--model", "resnet9"]])
def test_arguments_are_checked(arguments, monkeypatch, capsys):
    assert asked(monkeypatch, *arguments) == 2
    assert "error: " in capsys.readouterr().err
