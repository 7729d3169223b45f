"""The whole way on real images: train, bundle, load in a fresh process that has only the bundle, ask the app."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from running import REPOSITORY

from cifar_lit import bundle, checkpoint, runs
from cifar_lit.data import cifar100
from cifar_lit.predict import Predictor

ROOT = os.environ.get("CIFAR100_ROOT")
FRESH = """
import sys, numpy as np, torch
torch.set_num_threads(1)
from cifar_lit.predict import Predictor
predictor = Predictor(sys.argv[1], batch_size=50)
np.savez(sys.argv[3], logits=predictor.logits(np.load(sys.argv[2])))
assert not {"lightning", "hydra", "torchmetrics", "albumentations"} & set(sys.modules)
"""


@pytest.mark.slow
@pytest.mark.skipif(ROOT is None, reason="needs the real images: set CIFAR100_ROOT")
def test_from_images_to_people(train, tmp_path):
    from app.serving import serving

    short = ["model=resnet8", "model.stem=imagenet", "trainer=cpu", "trainer.max_epochs=2", "trainer.limit_train_batches=120"]
    ran = train(*short, "optim=adam_onecycle", "optimizer.lr=0.01", "callbacks=ema", "callbacks.progress_bar=null")
    assert ran.code == 0, ran.err
    summary = runs.read_summary(ran.folder)
    assert summary["test/acc"] > 0.05  # five times chance: it has learned
    assert 0.3 < summary["temperature"] < 3 and summary["test/ece_calibrated"] < 0.1

    alone = tmp_path / "elsewhere" / "bundle"
    shutil.copytree(ran.folder / "model", alone)
    test = cifar100.load(Path(ROOT), download=False).test
    pixels = np.ascontiguousarray(test.images[::200])  # 50 images
    np.save(tmp_path / "pixels.npy", pixels)
    command = [sys.executable, "-c", FRESH, str(alone), str(tmp_path / "pixels.npy"), str(tmp_path / "logits.npz")]
    subprocess.run(command, check=True, cwd=REPOSITORY)
    theirs = np.load(tmp_path / "logits.npz")["logits"]

    net, facts = checkpoint.load(ran.folder / "checkpoints" / "best.ckpt")  # the weights that were tested, averaged
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (facts.mean, facts.std))
    with torch.inference_mode():
        ours = net(((images - mean) / std).contiguous()).numpy()
    assert np.array_equal(theirs, ours)

    predictor = Predictor(alone)
    path = next(Path(ROOT, "test", "apple").iterdir()) if Path(ROOT, "test", "apple").is_dir() else None
    data = path.read_bytes() if path else png(pixels[0])
    with serving(str(alone)) as server:
        said = server.guess(data, "picture.png")
    shown = re.findall(r"<b>([\w ]+)</b>.*?([\d.]+)%", said)
    expected = [(guess.label.replace("_", " "), f"{100 * guess.probability:.1f}") for guess in predictor(data)]
    assert shown == expected
    assert bundle.read(alone).temperature == summary["temperature"]


def png(pixels):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()
