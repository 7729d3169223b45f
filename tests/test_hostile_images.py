"""Files that were made to break a reader, or are only odd: each gives the right picture or one line.

The whole corpus is read by one process of its own, whose memory, time and standard error are looked at.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hostile_corpus import corpus
from running import REPOSITORY

pytestmark = pytest.mark.slow

READER = """
import json, os, pathlib, re, sys, time
from cifar_lit import pictures

def peak():  # of this program alone: what getrusage says began in the process that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) * 1024

answers = {}
for name in ("warm.png", "warm.gif"):  # loads Pillow's plugins, which is no growth
    pictures.read(os.path.join(sys.argv[1], name))
start = peak()
for name in sorted(os.listdir(sys.argv[1])):
    began, before = time.perf_counter(), peak()
    try:
        image = pictures.read(os.path.join(sys.argv[1], name), name)
        corner = [image.getpixel((0, 0)), image.getpixel((image.width - 1, image.height - 1))]
        answer = {"size": image.size, "mode": image.mode, "corners": corner, "mean": image.resize((1, 1), 4).getpixel((0, 0))}
        answer["digest"] = hash(image.tobytes()) if image.width * image.height < 10**6 else 0
        del image
    except pictures.PictureError as error:
        answer = {"error": str(error)}
    answers[name] = answer | {"seconds": time.perf_counter() - began, "grown": peak() - before}
print(json.dumps({"answers": answers, "grown": peak() - start}))
"""


@pytest.fixture(scope="module")
def cases():
    built = list(corpus())
    assert len({name for name, _ in built}) == len(built) and len(built) > 80
    return dict(built)


@pytest.fixture(scope="module")
def run(cases, tmp_path_factory):
    if not os.path.exists("/proc/self/status"):
        pytest.skip("memory is read from /proc")
    folder = tmp_path_factory.mktemp("hostile")
    for name, case in cases.items():
        (folder / name).write_bytes(case.data)
    command = [sys.executable, "-W", "default", "-c", READER, str(folder)]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    for path in folder.iterdir():
        path.unlink()
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout) | {"stderr": ran.stderr}


def test_each_gives_the_right_picture_or_one_line(cases, run):
    wrong = []
    for name, case in cases.items():
        answer = run["answers"][name]
        error = answer.get("error")
        if error is not None:
            fine = error.isprintable() and error.startswith(f"{name}: ") and len(error) < 400
            fine = fine and case.colour is None and all(word in error for word in case.words or ())
        else:
            fine = case.words is None and answer["mode"] == "RGB"
            if case.same:
                whole = run["answers"][case.same]
                fine = fine and answer["size"] == whole["size"] and answer["digest"] == whole["digest"]
            if case.colour:
                colours = [answer["mean"], *answer["corners"]]
                fine = fine and tuple(answer["size"]) == case.size
                fine = fine and all(np.abs(np.subtract(colour, case.colour)).max() <= case.near for colour in colours)
        if not fine:
            wrong.append(f"{name}: {answer}")
    assert not wrong, "\n".join(wrong)


def test_none_takes_long(run):
    slow = {name: answer["seconds"] for name, answer in run["answers"].items() if answer["seconds"] > 5}
    assert not slow


def test_memory_stays_bounded(run):
    growth = sorted(((answer["grown"], name) for name, answer in run["answers"].items()), reverse=True)[:5]
    assert run["grown"] < 300e6, growth


def test_nothing_reaches_standard_error(run):
    assert run["stderr"] == ""
