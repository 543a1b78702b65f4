"""Our own routes, under ``/samdeploy/v1``: everything that :class:`samdeploy.SAM` does."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from samdeploy.embedding import Embedding
from samdeploy.errors import InputError
from samdeploy.geometry import mask_to_logits
from samdeploy.masks.masks import Masks
from samdeploy.masks.rle import Rle
from samdeploy.prompts import Prompt
from samdeploy.serving.answers import coco_answer, masks_answer, yolo_answer
from samdeploy.serving.endpoints import Call, Endpoint
from samdeploy.serving.models import ServedModel
from samdeploy.serving.pictures import Kept, Picture, picture_of, picture_of_text
from samdeploy.serving.refusals import RefusedError
from samdeploy.serving.service import Service
from samdeploy.serving.wire import (
    EncodeRequest,
    GenerateRequest,
    ImageAnswer,
    Limits,
    MasksAnswer,
    ModelsAnswer,
    PredictRequest,
    RunLengths,
    WireModel,
    WirePrompt,
    WithAnswer,
    WithImage,
)

PREFIX = "/samdeploy/v1"


async def list_models(service: Service, call: Call) -> ModelsAnswer:
    """All models and limits."""
    limits = service.settings
    return ModelsAnswer(
        version=version("samdeploy"),
        models=[_described(model) for model in service.models.values()],
        limits=Limits(
            bytes=limits.max_bytes,
            pixels=limits.max_pixels,
            prompts=limits.max_prompts,
            points=limits.max_points,
            crops=limits.max_crops,
        ),
    )


def _described(model: ServedModel) -> WireModel:
    facts = model.facts
    return WireModel(
        name=model.name,
        architecture=facts.get("architecture", ""),
        image_size=model.sam.image_size,
        format=facts.get("format", ""),
        runtime=facts["runtime"],
        device=facts["device"],
        whole_image=facts["whole_image"],
    )


async def encode(service: Service, call: Call) -> ImageAnswer:
    """Encode an image and keep it."""
    if isinstance(call.body, bytes):
        model, picture = service.model(call.query.get("model")), picture_of(call.body)
    else:
        model = service.model(call.body.model or call.query.get("model"))
        given = _image(call.body)
        if isinstance(given, Kept):
            raise RefusedError(422, "image_id names an image that is kept already; send an image.")
        picture = given
    embedding, known = await service.encode(model, picture)
    return ImageAnswer(
        model=model.name, image_id=picture.id, size=embedding.original_size, known=known
    )


async def predict(service: Service, call: Call) -> MasksAnswer:
    """Masks of prompts on an image, or on one that is kept."""
    asked: PredictRequest = call.body
    model, image = service.model(asked.model), _image(asked)
    if not asked.prompts:
        raise RefusedError(
            422, "prompts is empty; expected at least one, or ask for the whole image."
        )
    service.check_count(asked.prompts)

    def prompts(embedding: Embedding) -> list[Prompt]:
        return [_prompt(each, embedding) for each in asked.prompts]

    finish = _finish(asked, model, image)
    return await service.predict(model, image, prompts, asked.multimask, finish)


async def generate(service: Service, call: Call) -> MasksAnswer:
    """Masks of the whole image."""
    asked: GenerateRequest = call.body
    model, image = service.model(asked.model), _image(asked)
    return await service.generate(model, image, asked.settings, _finish(asked, model, image))


def _image(asked: WithImage) -> Picture | Kept:
    if (asked.image is None) == (asked.image_id is None):
        raise RefusedError(422, "expected either image or image_id; give one of them.")
    if asked.image_id is not None:
        return Kept(asked.image_id)
    assert asked.image is not None
    return picture_of_text(asked.image)


def _prompt(given: WirePrompt, embedding: Embedding) -> Prompt:
    mask = None if given.mask is None else _low_res(given.mask, embedding)
    return Prompt(given.points, given.labels, given.box, mask)


def _low_res(given: RunLengths, embedding: Embedding) -> NDArray[np.float32]:
    """What the decoder makes of a mask anyway: those of all prompts, each as large as the image,
    would not fit into memory."""
    size = embedding.original_size
    if given.size != size:
        raise InputError(f"a mask of size {list(given.size)}; expected the image's {list(size)}.")
    mask = Rle.from_coco({"size": given.size, "counts": given.counts}).decode()
    return mask_to_logits(mask, embedding.transform, embedding.low_res_side)


def _finish(
    asked: WithAnswer, model: ServedModel, image: Picture | Kept
) -> Callable[[Masks, Embedding], MasksAnswer]:
    def finish(masks: Masks, embedding: Embedding) -> MasksAnswer:
        return MasksAnswer(
            model=model.name,
            image_id=image.id,
            size=masks.orig_shape,
            masks=masks_answer(masks, asked),
            coco=coco_answer(masks, asked) if asked.labels == "coco" else None,
            yolo=yolo_answer(masks, asked) if asked.labels == "yolo" else None,
        )

    return finish


ENDPOINTS = (
    Endpoint("GET", f"{PREFIX}/models", "All models and limits", list_models, ModelsAnswer),
    Endpoint(
        "POST", f"{PREFIX}/images", "Encode an image and keep it", encode, ImageAnswer,
        EncodeRequest, takes_files=True, query={"model": "name of the model, with a file"},
    ),
    Endpoint(
        "POST", f"{PREFIX}/predict", "Masks of prompts", predict, MasksAnswer, PredictRequest
    ),
    Endpoint(
        "POST", f"{PREFIX}/generate", "Masks of the whole image", generate, MasksAnswer,
        GenerateRequest,
    ),
)  # fmt: skip
