"""Pretrained encoders of images against transformers' own output, on tiny random checkpoints."""

import copy
import json
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.encoders.build_images import backbone_kind, build_image_encoder, load_image_folder
from brickwork.encoders.config import PretrainedImageConfig
from brickwork.encoders.hub_images import HubImageEncoder, plain_config
from vision_checkpoints import IMAGE_MODELS, edit, image_checkpoint, pictures

BLOCKS = [kind for kind in IMAGE_MODELS if kind.startswith(("vit", "dinov2", "dinov3_vit", "clip", "siglip"))]
STAGES = [kind for kind in IMAGE_MODELS if kind not in BLOCKS]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """kind -> (folder, transformers' model, its image processor, our encoder)."""
    parts = {}
    for kind in IMAGE_MODELS:
        folder = tmp_path_factory.mktemp(kind)
        model, processor = image_checkpoint(kind, folder)
        parts[kind] = folder, model, processor, load_image_folder(folder).eval()
    return parts


def theirs(model, processor, images, **options):
    with torch.no_grad():
        return model(**processor(images, return_tensors="pt"), **options)


def ours(encoder, images):
    return torch.cat([encoder.prepare(image[None]) for image in images])


def vector_of(kind, output):
    return output.last_hidden_state[:, 0] if kind == "vit" else output.pooler_output.flatten(1)


@pytest.mark.parametrize("kind", IMAGE_MODELS)
def test_pixels_are_those_of_transformers(kind, made):
    _, _, processor, encoder = made[kind]
    images = [image for image in pictures(5) if image.shape != encoder.image_shape]
    wanted = processor(images, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ours(encoder, images), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", IMAGE_MODELS)
def test_vectors_and_tokens_are_those_of_transformers(kind, made):
    _, model, processor, encoder = made[kind]
    images = pictures()
    output = theirs(model, processor, images)
    with torch.no_grad():
        x = ours(encoder, images)
        vectors = encoder(x, [encoder.num_layers])[encoder.num_layers]
        features = encoder.features(x)
    assert vectors.shape == (3, encoder.embedding_dim)
    torch.testing.assert_close(vectors, vector_of(kind, output), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features.vector, vectors)
    last = output.last_hidden_state
    last = last.flatten(2).transpose(1, 2) if last.ndim == 4 else last
    height, width = features.grid
    assert features.tokens.shape[1] == height * width
    patches = last[:, last.shape[1] - height * width :]
    torch.testing.assert_close(features.tokens, patches, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", BLOCKS)
def test_an_exit_is_what_a_model_that_ends_there_gives(kind, made):
    folder, model, processor, encoder = made[kind]
    images = pictures()
    x = ours(encoder, images)
    with torch.no_grad():
        exits = encoder(x, [0, 1, 3])
        alone = encoder(x, [1])[1]
    torch.testing.assert_close(exits[1], alone, atol=1e-6, rtol=1e-5)
    config = type(model.config)(**{**plain_config(model.config), "num_hidden_layers": 1})
    shallow = type(model)(config).eval()
    shallow.load_state_dict(model.state_dict(), strict=False)
    wanted = vector_of(kind, theirs(shallow, processor, images))
    torch.testing.assert_close(exits[1], wanted, atol=1e-5, rtol=1e-5)
    cut = load_image_folder(folder, 1).eval()
    assert cut.num_layers == 1
    assert len(cut.state_dict()) < len(encoder.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(cut(x)[1], wanted, atol=1e-5, rtol=1e-5)
        features = encoder.features(x, upto=1)
    torch.testing.assert_close(features.vector, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", IMAGE_MODELS)
def test_hidden_states_are_those_of_transformers(kind, made):
    _, model, processor, encoder = made[kind]
    images = pictures()
    wanted = theirs(model, processor, images, output_hidden_states=True).hidden_states
    with torch.no_grad():
        hidden = encoder.features(ours(encoder, images)).hidden
    # Of the states of a model in stages, the first of theirs may be that before any stage.
    for mine, other in zip(reversed(hidden), reversed(wanted)):
        other = other.flatten(2).transpose(1, 2) if other.ndim == 4 else other
        torch.testing.assert_close(mine, other[:, other.shape[1] - mine.shape[1] :], atol=1e-5, rtol=1e-5)
    assert len(hidden) == (4 if kind in BLOCKS else 2)


@pytest.mark.parametrize("kind", STAGES)
def test_stages_can_be_left_early(kind, made):
    encoder = made[kind][3]
    x = ours(encoder, pictures())
    with torch.no_grad():
        whole, early = encoder.features(x), encoder.features(x, upto=1)
    assert len(early.hidden) == 1
    assert early.grid[0] * early.grid[1] == early.tokens.shape[1]
    torch.testing.assert_close(early.tokens, whole.hidden[0])
    torch.testing.assert_close(early.vector, whole.hidden[0].mean(1))
    with pytest.raises(ConfigError, match="layers 1 … 1"):
        encoder(x, [2])


@pytest.mark.parametrize("kind", IMAGE_MODELS)
def test_rebuilt_from_its_description(kind, made):
    encoder = made[kind][3]
    description = json.loads(json.dumps(encoder.architecture()))
    rebuilt = HubImageEncoder.from_architecture(description).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    x = ours(encoder, pictures(2))
    last = encoder.num_layers
    with torch.no_grad():
        assert torch.equal(rebuilt(x)[last], encoder(x)[last])
    assert rebuilt.architecture() == encoder.architecture()


def test_training_reaches_every_weight_and_no_vector_depends_on_its_batch(made):
    for kind in ("siglip_vision_model", "resnet"):
        encoder = copy.deepcopy(made[kind][3]).train()
        x = ours(encoder, pictures(3))
        vectors = encoder(x)[encoder.num_layers]
        torch.testing.assert_close(encoder(x[:1])[encoder.num_layers][0], vectors[0], atol=1e-5, rtol=1e-5)
        vectors.square().sum().backward()
        idle = [name for name, p in encoder.named_parameters() if p.grad is None]
        assert not idle, idle


def test_passes_of_several_threads_do_not_mix(made):
    encoder = made["vit"][3]
    inputs = [encoder.prepare(np.stack([image] * 2)) for image in pictures(4)]
    with torch.no_grad():
        wanted = [encoder(x, [1, 3]) for x in inputs]
        made_here = [None] * 4

        def work(place):
            with torch.no_grad():
                for _ in range(20):
                    made_here[place] = encoder(inputs[place], [1, 3])

        threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    for mine, other in zip(made_here, wanted):
        assert all(torch.equal(mine[layer], other[layer]) for layer in (1, 3))


def test_options(made):
    folder = made["dinov2"][0]
    encoder = build_image_encoder(
        PretrainedImageConfig(backbone=str(folder), num_layers=2, embedding_dim=5)
    ).eval()
    x = ours(encoder, pictures(2))
    assert encoder(x)[2].shape == (2, 5)
    assert encoder.flops(2) == 2 * encoder.flops() > 0
    again = HubImageEncoder.from_architecture(encoder.architecture()).eval()
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(x)[2], encoder(x)[2])
    assert backbone_kind(folder) == "image"
    with pytest.raises(ConfigError, match="more than the 3"):
        load_image_folder(folder, 4)
    with pytest.raises(ConfigError, match="different widths"):
        load_image_folder(made["swin"][0], 2)


def test_images_of_the_models_own_shape_are_taken_as_they_are(made):
    encoder = made["dinov2"][3]  # scales to 40 and cuts 32
    image = pictures(1)[0]
    framed = encoder.framing.apply(Image.fromarray(image))
    assert framed.shape == encoder.image_shape == (32, 32, 3)
    assert torch.equal(encoder.prepare(framed[None]), encoder.prepare(image[None]))
    grey = encoder.prepare(np.full((1, 50, 50, 1), 9, np.uint8))
    assert torch.equal(grey, encoder.prepare(np.full((1, 50, 50, 3), 9, np.uint8)))
    for wrong in (framed, framed[None].astype(np.float32), np.zeros((1, 4, 4, 2), np.uint8)):
        with pytest.raises(DataError, match="uint8"):
            encoder.prepare(wrong)


def damaged(folder, tmp_path, **changes):
    copied = tmp_path / "copy"
    copied.mkdir()
    for file in folder.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    for name, change in changes.items():
        path = copied / f"{name}.json"
        path.unlink() if change is None else edit(path, **change)
    return copied


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessor_config": None}, "preprocessor_config.json is missing"),
        ({"preprocessor_config": {"size": None}}, "it has no 'size'"),
        ({"preprocessor_config": {"size": {"longest_edge": 9}}}, "neither height and width"),
        ({"preprocessor_config": {"image_std": [1, 1]}}, "3 and 2 entries for 3 channels"),
        ({"preprocessor_config": {"do_pad": True}}, "pads images"),
        ({"preprocessor_config": {"size": {"height": 16, "width": 16}}}, "are for 32 × 32"),
        ({"config": {"model_type": "beit"}}, "no image encoder that can be loaded; known: vit, "),
        ({"config": {"hidden_size": 32}}, "was refused"),
        ({"config": {"num_hidden_layers": 4}}, "missing .*layers?.3"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes, message, made, tmp_path):
    folder = damaged(made["vit"][0], tmp_path, **changes)
    with pytest.raises(ArtifactError, match=message):
        load_image_folder(folder)


def test_a_pickle_is_not_read(made, tmp_path):
    folder = damaged(made["vit"][0], tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"only safetensors are read; pytorch_model\.bin"):
        load_image_folder(folder)
