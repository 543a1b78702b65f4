"""The façade: on the fake runtime where numbers do not matter, else on the small model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samdeploy import (
    SAM,
    CheckpointError,
    Embedding,
    InputError,
    Prompt,
    RuntimeUnavailableError,
)
from samdeploy.engine import Engine
from samdeploy.image_options import ImageOptions
from samdeploy.prompts import DecoderPrompts

Photo = NDArray[np.uint8]


@pytest.fixture
def fake() -> Iterator[SAM]:
    with SAM("anything", runtime="fake") as sam:
        yield sam


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Iterator[SAM]:
    with SAM(small_bundle, threads=1) as sam:
        yield sam


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of every decoder call from here on."""
    sizes: list[int] = []
    decode = Engine.decode

    def counted(self: Engine, embedding: Embedding, prompts: DecoderPrompts) -> Any:
        sizes.append(len(prompts))
        return decode(self, embedding, prompts)

    monkeypatch.setattr(Engine, "decode", counted)
    return sizes


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of everything that is encoded from here on."""
    shapes: list[tuple[int, ...]] = []
    encode = Engine.encode

    def noted(self: Engine, image: Photo) -> Embedding:
        shapes.append(image.shape)
        return encode(self, image)

    monkeypatch.setattr(Engine, "encode", noted)
    return shapes


class TestImages:
    def test_arrays_are_bgr_unless_told(self, small: SAM, photo: Photo) -> None:
        from_file = small.encode(Image.fromarray(photo)).image_embeddings
        bgr = small.encode(photo[..., ::-1]).image_embeddings
        rgb = small.encode(photo, channel_order="rgb").image_embeddings
        np.testing.assert_array_equal(bgr, from_file)
        np.testing.assert_array_equal(rgb, from_file)
        assert np.abs(small.encode(photo).image_embeddings - from_file).max() > 1e-3

    def test_whole_image_keeps_the_channel_order(self, small: SAM, photo: Photo) -> None:
        settings = {"points_stride": 3, "conf_thres": 0.3, "stability_score_thresh": 0.3}
        reference = small.generate(Image.fromarray(photo), **settings)
        assert len(reference)
        swapped = small.generate(photo[..., ::-1], **settings)
        np.testing.assert_array_equal(swapped.data, reference.data)

    def test_one_encode_serves_many_prompts(self, fake: SAM, photo: Photo) -> None:
        embedding = fake.encode(photo)
        first = fake.predict(embedding, points=[60, 60])
        second = fake.predict(embedding, bboxes=[20, 20, 90, 90])
        assert first.data[0, 60, 60]
        assert not first.data[0, 170, 230]
        assert second.data[0, 55, 55]

    def test_set_image(self, fake: SAM, photo: Photo) -> None:
        with pytest.raises(InputError, match="set_image"):
            fake.predict(points=[1, 1])
        with pytest.raises(InputError, match="set_image"):
            fake()
        fake.set_image(photo)
        expected = fake.predict(photo, points=[60, 60]).data
        np.testing.assert_array_equal(fake.predict(points=[60, 60]).data, expected)
        np.testing.assert_array_equal(fake(points=[60, 60], labels=[1])[0].data, expected)
        assert len(fake(points_stride=4, stability_score_thresh=0.5)[0])
        fake.reset_image()
        with pytest.raises(InputError, match="set_image"):
            fake.predict(points=[1, 1])

    def test_whole_image_mode_takes_what_is_encoded(
        self, fake: SAM, photo: Photo, encoded: list[tuple[int, ...]]
    ) -> None:
        settings = {"points_stride": 4, "stability_score_thresh": 0.5}
        expected = fake.generate(photo, **settings)
        assert encoded == [photo.shape]
        fake.set_image(photo)
        embedding = fake.encode(photo)
        encoded.clear()
        for found in (fake.generate(**settings), fake.generate(embedding, **settings)):
            np.testing.assert_array_equal(found.data, expected.data)
        assert encoded == []
        fake.generate(crop_n_layers=1, **settings)
        assert len(encoded) == 4
        assert photo.shape not in encoded

    def test_saved_embedding(self, fake: SAM, photo: Photo, tmp_path: Path) -> None:
        embedding = fake.encode(photo)
        embedding.save(tmp_path / "photo.npz")
        loaded = Embedding.load(tmp_path / "photo.npz")
        expected = fake.predict(embedding, points=[60, 60]).data
        np.testing.assert_array_equal(fake.predict(loaded, points=[60, 60]).data, expected)
        with pytest.raises(InputError, match="holds no image"):
            fake.generate(loaded)

    def test_an_embedding_of_another_model(self, fake: SAM, small: SAM, photo: Photo) -> None:
        with pytest.raises(InputError, match="does not fit this model"):
            fake.predict(small.encode(photo), points=[1, 1])


class TestPrompts:
    def test_single_and_multimask(self, small: SAM, photo: Photo) -> None:
        embedding = small.encode(photo)
        points = [[60, 60], [100, 50]]
        single = small.predict(embedding, points=points)
        several = small.predict(embedding, points=points, multimask=True)
        assert (len(single), len(several)) == (2, 6)
        assert single.prompt_index.tolist() == [0, 1]
        assert several.prompt_index.tolist() == [0, 0, 0, 1, 1, 1]
        assert single.data.shape == (2, 180, 240)

    def test_kinds_mix_in_one_call(self, small: SAM, photo: Photo) -> None:
        embedding = small.encode(photo)
        logits = small.predict(embedding, points=[60, 60]).low_res_logits
        assert logits is not None
        prompts = [
            Prompt(points=[60, 60]),
            Prompt(points=[[60, 60], [200, 20]], labels=[1, 0]),
            Prompt(box=[20, 20, 120, 120]),
            Prompt(box=[20, 20, 120, 120], points=[60, 60], labels=[0]),
            Prompt(mask=logits[0]),
        ]
        together = small.predict(embedding, prompts=prompts)
        for index, prompt in enumerate(prompts):
            alone = small.predict(embedding, prompts=[prompt])
            assert alone.scores[0] == pytest.approx(together.scores[index], abs=1e-5)
            assert np.count_nonzero(alone.data[0] != together.data[index]) <= 2

    def test_an_answer_as_the_next_prompt(self, small: SAM, photo: Photo) -> None:
        embedding = small.encode(photo)
        first = small.predict(embedding, points=[60, 60])
        second = small.predict(embedding, points=[60, 60], masks=first.low_res_logits)
        assert np.abs(second.low_res_logits - first.low_res_logits).max() > 1e-3

    def test_a_binary_mask_as_a_prompt(self, fake: SAM, photo: Photo) -> None:
        mask = np.zeros(photo.shape[:2], bool)
        mask[40:120, 60:160] = True
        found = fake.predict(photo, masks=mask).data[0]
        assert (found & mask).sum() / (found | mask).sum() > 0.9

    def test_many_prompts_go_in_bounded_batches(
        self, fake: SAM, photo: Photo, batches: list[int]
    ) -> None:
        points = np.random.default_rng(0).uniform(0, 180, (150, 2))
        found = fake.predict(photo, points=points)
        assert batches == [16] * 9 + [6]
        assert len(found) == 150
        np.testing.assert_array_equal(
            found[140].data[0], fake.predict(photo, points=points[140]).data[0]
        )

    def test_the_caller_chooses_the_batches_of_whole_image_mode(
        self, photo: Photo, batches: list[int]
    ) -> None:
        with SAM("anything", runtime="fake") as sam:
            sam.generate(photo, points_stride=10, points_batch_size=80)
        assert batches == [80, 20]

    def test_two_forms_at_once(self, fake: SAM, photo: Photo) -> None:
        with pytest.raises(InputError, match="one form"):
            fake.predict(photo, points=[1, 1], prompts=[Prompt(points=[1, 1])])

    def test_settings_do_not_go_with_prompts(self, fake: SAM, photo: Photo) -> None:
        with pytest.raises(InputError, match="points_stride set whole-image mode, which prompts"):
            fake(photo, points=[1, 1], points_stride=4)
        with pytest.raises(InputError, match="unknown setting 'label'"):
            fake(photo, points=[1, 1], label=[0])
        with pytest.raises(InputError, match=r"'point_stride'; did you mean 'points_stride'\?"):
            fake(photo, points=[1, 1], point_stride=4, conf=0.5)

    def test_multimask_needs_prompts(self, fake: SAM, photo: Photo) -> None:
        with pytest.raises(InputError, match="three masks a prompt"):
            fake(photo, multimask=True)

    def test_one_prompt_needs_no_list(self, fake: SAM, photo: Photo) -> None:
        found = fake.predict(photo, prompts=Prompt(points=[60, 60]))
        np.testing.assert_array_equal(found.data, fake.predict(photo, points=[60, 60]).data)

    def test_no_prompt_at_all(self, fake: SAM, photo: Photo) -> None:
        with pytest.raises(InputError, match="no prompt given"):
            fake.predict(photo)
        with pytest.raises(InputError, match="an empty Prompt"):
            fake.predict(photo, prompts=[Prompt()])

    @pytest.mark.parametrize("multimask", [False, True])
    @pytest.mark.parametrize("given", [{"bboxes": np.zeros((0, 4))}, {"prompts": []}])
    def test_a_detector_that_found_nothing(
        self, fake: SAM, photo: Photo, batches: list[int], given: dict[str, Any], multimask: bool
    ) -> None:
        embedding = fake.encode(photo)
        for target in (photo, embedding):
            found = fake.predict(target, multimask=multimask, **given)
            assert len(found) == 0
            assert found.data.shape == (0, *photo.shape[:2])
            assert found.boxes.shape == (0, 4)
            assert found.low_res_logits is not None
            assert found.low_res_logits.shape == (0, fake.image_size // 4, fake.image_size // 4)
            assert found.to_json()["masks"] == []
            np.testing.assert_array_equal(found.plot(), found.image)
        assert batches == []

    @pytest.mark.parametrize(
        "prompt",
        [
            {"points": [[241, 2]]}, {"bboxes": [10, 10, 250, 20]}, {"points": [1, 2], "labels": 5},
            {"masks": np.ones((7, 9), bool)}, {"prompts": [Prompt(points=[1, 1]), Prompt()]},
        ],
    )  # fmt: skip
    def test_what_does_not_fit_is_refused_before_the_image_is_encoded(
        self,
        fake: SAM,
        photo: Photo,
        prompt: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(Engine, "encode", lambda *_: pytest.fail("encoded"))
        with pytest.raises(InputError):
            fake.predict(photo, **prompt)

    def test_unknown_setting(self, fake: SAM, photo: Photo) -> None:
        with pytest.raises(InputError, match="points_stride"):
            fake(photo, point_stride=4)


class TestSources:
    def test_folder_glob_and_video(self, fake: SAM, photo: Photo, tmp_path: Path) -> None:
        for name in ("a.png", "b.jpg"):
            Image.fromarray(photo).save(tmp_path / name)
        video = tmp_path / "clip.avi"
        writer = cv2.VideoWriter(
            str(video), cv2.VideoWriter.fourcc(*"MJPG"), 5, (photo.shape[1], photo.shape[0])
        )
        for _ in range(3):
            writer.write(photo[..., ::-1])
        writer.release()
        prompt = {"points": [60, 60], "labels": [1]}
        assert len(fake(tmp_path, **prompt)) == 2
        assert len(fake(str(tmp_path / "*.png"), **prompt)) == 1
        frames = fake(video, **prompt)
        assert len(frames) == 3
        assert frames[0].data.shape == (1, *photo.shape[:2])
        few = ImageOptions(max_pixels=99)
        with (
            SAM("anything", runtime="fake", image_options=few) as sam,
            pytest.raises(InputError, match="raise max_pixels="),
        ):
            sam(video, **prompt)

    def test_results_come_one_by_one(self, fake: SAM, photo: Photo, tmp_path: Path) -> None:
        for name in ("a.png", "b.png"):
            Image.fromarray(photo).save(tmp_path / name)
        (tmp_path / "c.png").write_bytes(b"no image")
        results = fake(tmp_path, points=[60, 60], stream=True)
        first, second = next(results), next(results)
        np.testing.assert_array_equal(first.data, second.data)
        with pytest.raises(InputError, match=r"c\.png"):
            next(results)

    def test_a_list_of_results_keeps_no_pictures_of_files(
        self, fake: SAM, photo: Photo, tmp_path: Path
    ) -> None:
        for name in ("a.png", "b.png"):
            Image.fromarray(photo).save(tmp_path / name)
        results = fake(str(tmp_path), points=[60, 60])
        Image.fromarray(255 - photo).save(tmp_path / "b.png")
        np.testing.assert_array_equal(results[0].image, photo)
        np.testing.assert_array_equal(results[1][0].image, 255 - photo)  # read when asked for
        assert (results[1].plot() != 255 - photo).any()

    def test_image_options(self, photo: Photo, tmp_path: Path) -> None:
        values = photo.astype(np.int32)[..., 0] * 100 - 3000
        Image.fromarray(values).save(tmp_path / "deep.tif")
        window = ImageOptions(window=(-3000, 22500))
        with SAM("anything", runtime="fake", image_options=window) as sam:
            grey = np.repeat(photo[..., :1], 3, axis=2)
            for found in (
                sam.predict(tmp_path / "deep.tif", points=[60, 60]),
                sam(tmp_path, points=[60, 60])[0],
                sam.generate(values, points_stride=2),
            ):
                np.testing.assert_array_equal(found.image, grey)


class TestModels:
    def test_bundle_and_checkpoint_agree(
        self, small: SAM, small_checkpoint: Path, small_config: Path, photo: Photo
    ) -> None:
        with SAM(small_checkpoint, config=small_config, threads=1) as torch_sam:
            assert torch_sam.info()["runtime"] == "torch"
            expected = torch_sam.predict(photo, points=[60, 60], multimask=True)
        found = small.predict(photo, points=[60, 60], multimask=True)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        assert np.count_nonzero(found.data != expected.data) <= 3

    def test_info(self, small: SAM, fake: SAM, capsys: pytest.CaptureFixture[str]) -> None:
        facts = small.info()
        printed = capsys.readouterr().out
        assert "vit_48x4" in printed
        assert all(name in printed for name in facts)
        assert small.info(verbose=False) == facts
        assert capsys.readouterr().out == ""
        assert facts["architecture"] == "vit_48x4"
        assert facts["providers"]["encoder"] == "CPUExecutionProvider"
        assert facts["mask_iou_against_torch"] >= 0.999
        assert fake.info()["runtime"] == "fake"

    @pytest.mark.exporting
    def test_export_of_a_checkpoint_only(
        self, small: SAM, small_checkpoint: Path, small_config: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match="bundle"):
            small.export()
        with SAM(small_checkpoint, config=small_config) as sam:
            # The architecture given on opening is that of the export.
            folder = sam.export(output=tmp_path / "b", verify="off")
        assert (folder / "encoder.onnx").is_file()

    def test_settings_that_a_model_recommends(
        self, small_bundle: Path, photo: Photo, tmp_path: Path
    ) -> None:
        bundle = shutil.copytree(small_bundle, tmp_path / "bundle")
        manifest = json.loads((bundle / "bundle.json").read_text())
        own = {"points_stride": 3, "conf_thres": 0.3, "stability_score_thresh": 0.3}
        (bundle / "bundle.json").write_text(json.dumps(manifest | {"whole_image": own}))
        with SAM(bundle, threads=1) as sam, SAM(small_bundle, threads=1) as plain:
            assert sam.info(verbose=False)["whole_image"] == own
            expected = plain.generate(photo, **own)
            assert len(expected)
            np.testing.assert_array_equal(sam.generate(photo).data, expected.data)
            # What the caller says wins, under any of its names.
            assert len(sam.generate(photo, pred_iou_thresh=1.0)) == 0

    @pytest.mark.exporting
    def test_a_checkpoint_and_its_bundle_recommend_the_same(self, tiny_bundle: Path) -> None:
        with SAM("sam_tiny.pt") as checkpoint, SAM(tiny_bundle) as bundle:
            own = checkpoint.info(verbose=False)["whole_image"]
            assert own
            assert bundle.info(verbose=False)["whole_image"] == own

    def test_closing_twice(self, small_bundle: Path, photo: Photo) -> None:
        sam = SAM(small_bundle, threads=1)
        sam.set_image(photo)
        sam.close()
        sam.close()
        with pytest.raises(InputError, match="set_image"):
            sam.predict(points=[60, 60])
        with pytest.raises(InputError, match="closed"):
            sam.encode(photo)

    @pytest.mark.parametrize("device", ["cuda", "mps"])
    def test_a_device_that_is_not_here(self, small_bundle: Path, device: str) -> None:
        with pytest.raises((RuntimeUnavailableError, InputError), match=device):
            SAM(small_bundle, device=device)

    def test_a_runtime_that_does_not_fit(self, small_bundle: Path) -> None:
        with pytest.raises(CheckpointError, match=r"encoder\.onnx' is not a checkpoint"):
            SAM(small_bundle, runtime="torch")
        with pytest.raises(InputError, match="unknown runtime"):
            SAM(small_bundle, runtime="onnxruntimes2")

    def test_bundles_fix_their_size(self, small_bundle: Path) -> None:
        with pytest.raises(InputError, match="imgsz"):
            SAM(small_bundle, imgsz=512)
