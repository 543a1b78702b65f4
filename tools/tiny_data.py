"""Training pictures of the tiny model: scenes cached on disk, files of photograph-like pictures,
augmentation and sampled prompts."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from photo_sample import UNKNOWN

from samdeploy.constants import (
    BINARY_MASK_LOGIT,
    LABEL_ABSENT,
    LABEL_BOX_BOTTOM_RIGHT,
    LABEL_BOX_TOP_LEFT,
    LABEL_FOREGROUND,
    LABEL_PADDING,
)
from samdeploy.preprocess import PIXEL_MEAN
from samdeploy.scenes import generate_scene

SIZE = 256
LOW_RES = SIZE // 4
#: Training uses seeds from here on; evaluation uses seeds below it.
FIRST_TRAINING_SEED = 2_000_000
#: The second half of the training scenes starts this much later.
SEEDS_OF_A_PART = 100_000

#: Token slots of a training prompt: two for the first prompt, one padding, then later clicks.
FIRST_CLICK_SLOT = 3
SLOTS = 6

_CLICK, _BOX, _MASK, _BACKGROUND = range(4)
_LEAST_AREA = 24  # pixels
_KINDS = (0.40, 0.40, 0.08, 0.12)


@dataclass(frozen=True)
class Pictures:
    """``images`` uint8 ``[N, H, H, 3]``, ``labels`` uint8 ``[N, H, H]``, ``parents`` uint8
    ``[N, 256]``, of what each label is a part; photographs are shown as cameras see things."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    parents: NDArray[np.uint8]
    photographs: bool


@dataclass(frozen=True)
class Batch:
    """``B`` images with ``P`` prompts each; the prompt arrays have ``B * P`` rows."""

    images: NDArray[np.float32]  # [B, 3, S, S], 0..255
    labels: NDArray[np.uint8]  # [B, S, S], numbers of whole objects, 0 is background
    targets: NDArray[np.bool_]  # [B * P, S, S]; empty where the prompt is on no object
    on_object: NDArray[np.bool_]  # [B * P]
    coords: NDArray[np.float32]  # [B * P, SLOTS, 2]
    point_labels: NDArray[np.float32]  # [B * P, SLOTS]
    masks: NDArray[np.float32]  # [B * P, 1, LOW_RES, LOW_RES]
    has_mask: NDArray[np.float32]  # [B * P]


def load_scenes(folder: Path, count: int) -> Pictures:
    """``count`` scenes (an even number), ``S`` pixels a side.

    They are generated on two processes when ``folder`` does not hold them yet.
    """
    image_path, label_path = folder / f"images_{count}.npy", folder / f"labels_{count}.npy"
    if not (image_path.exists() and label_path.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        images = np.zeros((count, SIZE, SIZE, 3), np.uint8)
        labels = np.zeros((count, SIZE, SIZE), np.uint8)
        half = count // 2
        seeds = [
            FIRST_TRAINING_SEED + (i // half) * SEEDS_OF_A_PART + i % half for i in range(2 * half)
        ]
        # Forked workers and OpenCV's own threads do not mix.
        with ProcessPoolExecutor(2, initializer=partial(cv2.setNumThreads, 0)) as pool:
            for i, (image, label) in enumerate(pool.map(_scene_arrays, seeds, chunksize=50)):
                images[i], labels[i] = image, label
        np.save(image_path, images)
        np.save(label_path, labels)
    images, labels = np.load(image_path), np.load(label_path)
    return Pictures(images, labels, np.zeros((len(labels), 256), np.uint8), photographs=False)


def load_photographs(folder: Path, known: dict[Path, Pictures]) -> None:
    """Add to ``known`` the files of tools/photo_data.py in ``folder`` that it lacks. Several jobs
    make them in any order of their numbers."""
    for path in sorted({*folder.glob("photo_*.npz")} - {*known}):
        with np.load(path) as file:
            known[path] = Pictures(**{k: file[k] for k in file.files}, photographs=True)


def _scene_arrays(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    scene = generate_scene(seed, SIZE)
    label = np.zeros((SIZE, SIZE), np.uint8)
    for i, mask in enumerate(scene.masks):
        label[mask] = i + 1
    return scene.image, label


def augment(
    rng: np.random.Generator,
    image: NDArray[np.uint8],
    label: NDArray[np.uint8],
    strength: float,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """One of the eight symmetries, and colours changed; the image becomes ``[3, S, S]``.

    ``strength`` 1 changes contrast by up to a quarter, 0 only swaps colours.
    """
    if rng.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    if rng.random() < 0.5:
        image, label = image[::-1], label[::-1]
    if rng.random() < 0.5:
        image, label = image.swapaxes(0, 1), label.swapaxes(0, 1)
    gain = (1 + strength * rng.uniform(-0.25, 0.25, 3)) * (1 if rng.random() < 0.85 else -1)
    offset = 128 + strength * rng.uniform(-20, 20)
    pixels = (image[..., rng.permutation(3)] - np.float32(128)) * gain.astype(np.float32)
    pixels = np.clip(pixels + np.float32(offset), 0, 255)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), np.ascontiguousarray(label)


def look(
    rng: np.random.Generator, image: NDArray[np.uint8], label: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A part of a photograph, of any shape, as the model gets it: ``[3, S, S]``, padded."""
    if rng.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    longest = len(label) * float(rng.uniform(0.62, 1))
    shorter = longest * (1 if rng.random() < 0.35 else float(rng.uniform(0.55, 1)))
    height, width = (round(n) for n in rng.permutation([longest, shorter]))
    y, x = (int(rng.integers(0, len(label) - n + 1)) for n in (height, width))
    scale = SIZE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    area = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    part = np.ascontiguousarray(image[y : y + height, x : x + width])
    pixels = cv2.resize(part, size, interpolation=area).astype(np.float32)
    gain, offset = 1 + rng.uniform(-0.12, 0.12, 3), rng.uniform(-12, 12)
    pixels = np.clip((pixels - 128) * gain.astype(np.float32) + np.float32(128 + offset), 0, 255)
    if rng.random() < 0.1:
        pixels = pixels[..., rng.permutation(3)]
    whole = np.tile(np.asarray(PIXEL_MEAN, np.float32), (SIZE, SIZE, 1))
    whole[: size[1], : size[0]] = pixels
    labels = np.full((SIZE, SIZE), UNKNOWN, np.uint8)
    part = np.ascontiguousarray(label[y : y + height, x : x + width])
    labels[: size[1], : size[0]] = cv2.resize(part, size, interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(whole.transpose(2, 0, 1)), labels


def sample_batch(
    rng: np.random.Generator,
    groups: list[tuple[float, list[Pictures]]],
    image_count: int,
    prompt_count: int,
    strength: float = 1.0,
) -> Batch:
    """Random pictures, each of a group that is chosen by its share, and random first prompts on
    their objects and beside them; ``strength`` scales the changes of colour of scenes and the
    inexactness of boxes."""
    rows = image_count * prompt_count
    batch = Batch(
        images=np.zeros((image_count, 3, SIZE, SIZE), np.float32),
        labels=np.zeros((image_count, SIZE, SIZE), np.uint8),
        targets=np.zeros((rows, SIZE, SIZE), bool),
        on_object=np.ones(rows, bool),
        coords=np.zeros((rows, SLOTS, 2), np.float32),
        point_labels=np.full((rows, SLOTS), LABEL_ABSENT, np.float32),
        masks=np.zeros((rows, 1, LOW_RES, LOW_RES), np.float32),
        has_mask=np.zeros(rows, np.float32),
    )
    shares = [share for share, _ in groups]
    for i in range(image_count):
        while True:
            group = groups[int(rng.choice(len(groups), p=shares))][1]
            pictures = group[int(rng.integers(len(group)))]
            index = int(rng.integers(len(pictures.images)))
            image, label = pictures.images[index], pictures.labels[index]
            if pictures.photographs:
                pixels, label = look(rng, image, label)
            else:
                pixels, label = augment(rng, image, label, strength)
            parents = pictures.parents[index]
            numbers = _askable(label, parents)
            # Else pixel grouping finds nothing to begin with, and nothing to learn.
            if len(numbers) and (coarse(label) != UNKNOWN).any():
                break
        whole = np.where(parents, parents, np.arange(256, dtype=np.uint8))
        batch.images[i], batch.labels[i] = pixels, whole[label]
        chosen = rng.choice(numbers, prompt_count)
        for j in range(prompt_count):
            belongs = (np.arange(256) == chosen[j]) | (parents == chosen[j])
            target = belongs[label]
            _first_prompt(rng, batch, i * prompt_count + j, label == 0, target, strength)
    return batch


def coarse(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``[..., S, S]`` -> ``[..., S / 4, S / 4]``: what training groups pixels by."""
    return labels[..., 2::4, 2::4]


def _askable(label: NDArray[np.uint8], parents: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Numbers of the objects and parts that are there to see."""
    areas = np.bincount(label.ravel(), minlength=256)
    areas = areas + np.bincount(parents, weights=areas, minlength=256) * (np.arange(256) > 0)
    areas[[0, UNKNOWN]] = 0
    return np.flatnonzero(areas >= _LEAST_AREA)


def _first_prompt(
    rng: np.random.Generator,
    batch: Batch,
    row: int,
    background: NDArray[np.bool_],
    target: NDArray[np.bool_],
    strength: float,
) -> None:
    kind = int(rng.choice(4, p=_KINDS))
    if kind == _BACKGROUND:
        if background.mean() > 0.02:
            batch.on_object[row] = False
            _put_click(rng, batch, row, background)
            return
        kind = _CLICK
    batch.targets[row] = target
    if kind == _CLICK:
        _put_click(rng, batch, row, target)
    elif kind == _BOX:
        _put_box(rng, batch, row, target, strength)
    else:
        batch.masks[row, 0] = _rough_mask(rng, target)
        batch.has_mask[row] = 1
        if rng.random() < 0.5:
            _put_click(rng, batch, row, target)


def _put_click(rng: np.random.Generator, batch: Batch, row: int, region: NDArray[np.bool_]) -> None:
    batch.coords[row, 0] = random_pixel(rng, region)
    batch.point_labels[row, 0] = LABEL_FOREGROUND
    batch.point_labels[row, 1] = LABEL_PADDING


def _put_box(
    rng: np.random.Generator,
    batch: Batch,
    row: int,
    target: NDArray[np.bool_],
    strength: float,
) -> None:
    x, y = np.flatnonzero(target.any(0)), np.flatnonzero(target.any(1))
    box = np.array([x[0], y[0], x[-1] + 1, y[-1] + 1], np.float64)
    sides = np.tile(box[2:] - box[:2], 2)
    jitter = np.clip(rng.normal(0, 0.07 * strength, 4) * sides, -12, 12) * (rng.random() < 0.5)
    batch.coords[row, :2] = np.clip(box + jitter, 0, SIZE).reshape(2, 2)
    batch.point_labels[row, :2] = LABEL_BOX_TOP_LEFT, LABEL_BOX_BOTTOM_RIGHT


def _rough_mask(rng: np.random.Generator, target: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A binary mask prompt as users give it: exact, a little too large or a little too small."""
    mask = target.astype(np.uint8)
    change = rng.random()
    if change < 0.4:
        kernel = np.ones((9, 9), np.uint8)
        changed = cv2.dilate(mask, kernel) if change < 0.2 else cv2.erode(mask, kernel)
        mask = changed if changed.any() else mask
    low = cv2.resize(mask.astype(np.float32), (LOW_RES, LOW_RES), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        low = (low >= 0.5).astype(np.float32)
    return ((low * 2 - 1) * BINARY_MASK_LOGIT).astype(np.float32)


def random_pixel(rng: np.random.Generator, region: NDArray[np.bool_]) -> tuple[int, int]:
    """(x, y) of a random pixel of ``region``, which must not be empty; half of the time one that
    is well inside it, as people click."""
    if rng.random() < 0.5:
        distance = cv2.distanceTransform(
            np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3
        )[1:-1, 1:-1]
        region = distance > 0.6 * distance.max()
    flat = np.flatnonzero(region)
    y, x = divmod(int(flat[rng.integers(len(flat))]), region.shape[1])
    return x, y
