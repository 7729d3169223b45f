"""What the tests of pictures share: one small picture, and what reading gives or says."""

import io

import numpy as np
import pytest
from PIL import Image

from cifar_lit.pictures import PictureError, read

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
WHITE = (255, 255, 255)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def refused(source, *words, name=None):
    with pytest.raises(PictureError) as caught:
        read(source, name)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 400, message
    for word in words:
        assert word in message, message
    return message


def pixels(source):
    image = read(source)
    assert image.mode == "RGB" and type(image) is Image.Image and not image.info
    return np.asarray(image)
