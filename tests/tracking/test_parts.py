"""Scores, what is remembered of an object, and settings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdeploy.errors import InputError
from samdeploy.geometry import Transform
from samdeploy.limits import number
from samdeploy.tracking.likeness import Look, look, score, shrunk
from samdeploy.tracking.settings import RANGES, TrackSettings
from samdeploy.tracking.target import Target, innermost

GREY = np.full(3, 100.0)
TRANSFORM = Transform.fit((64, 128), 128)  # 16 x 32 cells of 4 pixels


def block(x: int, y: int, side: int = 6, colour: float = 100) -> Look:
    mask = np.zeros((16, 32), bool)
    mask[y : y + side, x : x + side] = True
    return Look(mask, side**2, np.array([x, y]) + side / 2, np.full(3, colour))


def box(x: int, y: int, side: int = 6) -> np.ndarray:
    """Of the same block, in image pixels."""
    return np.array([x, y, x + side, y + side]) * 4.0


class TestScore:
    def test_the_same_is_certain(self) -> None:
        now = block(3, 3)
        assert score(now, now.mask, GREY, 1.0, 40) == 1

    def test_each_part_alone_can_refuse(self) -> None:
        now, elsewhere = block(3, 3), block(20, 3)
        assert score(now, elsewhere.mask, GREY, 1.0, 40) == 0
        assert score(now, now.mask, GREY, 0.0, 40) == 0
        assert score(now, now.mask, np.full(3, 255.0), 1.0, 40) < 0.01

    def test_it_is_the_geometric_mean(self) -> None:
        now, half = block(3, 3), block(3, 3)
        half.mask[:, 6:] = False
        colour = GREY + np.array([40, 0, 0])
        found = score(now, half.mask, colour, 0.8, 40)
        assert found == pytest.approx((0.5 * math.exp(-1) * 0.8) ** (1 / 3))

    @given(
        x=st.integers(0, 26),
        colour=st.floats(0, 255),
        iou=st.floats(-0.5, 1.5),
        tolerance=st.floats(1, 450),
    )
    def test_it_is_a_share_and_grows_with_the_prediction(
        self, x: int, colour: float, iou: float, tolerance: float
    ) -> None:
        now, before = block(x, 3, colour=colour), block(3, 3)
        found = score(now, before.mask, GREY, iou, tolerance)
        assert 0 <= found <= 1
        assert found <= score(now, before.mask, GREY, iou + 0.1, tolerance)
        assert found <= score(now, before.mask, GREY, iou, tolerance + 1)


class TestLook:
    def test_area_centre_and_colour(self) -> None:
        pixels = np.zeros((64, 128, 3), np.uint8)
        pixels[16:32, 40:80] = (10, 20, 30)
        small = shrunk(pixels, TRANSFORM)
        assert small.shape == (16, 32, 3)
        logits = np.full((32, 32), -1, np.float32)
        logits[4:8, 10:20] = 1
        seen = look(logits, small)
        assert seen is not None
        assert seen.area == 40
        np.testing.assert_allclose(seen.centre, [15, 6])
        np.testing.assert_allclose(seen.colour, [10, 20, 30])

    def test_nothing_and_what_is_all_padding(self) -> None:
        small = np.zeros((16, 32, 3), np.uint8)
        logits = np.full((32, 32), -1, np.float32)
        assert look(logits, small) is None
        logits[16:] = 1
        assert look(logits, small) is None


def test_innermost() -> None:
    mask = np.zeros((9, 12), bool)
    mask[2:7, 3:8] = True
    np.testing.assert_array_equal(innermost(mask), [5.5, 4.5])
    np.testing.assert_array_equal(innermost(np.ones((5, 5), bool)), [2.5, 2.5])


class TestTarget:
    @pytest.fixture
    def target(self) -> Target:
        return Target(0, block(2, 5), box(2, 5), TRANSFORM, TrackSettings())

    def test_at_first_it_is_expected_where_it_is(self, target: Target) -> None:
        expected = target.expect(1)
        np.testing.assert_array_equal(expected.mask, block(2, 5).mask)
        by_box, by_point = expected.prompts
        np.testing.assert_allclose(by_box.box, box(2, 5))
        (x, y) = np.asarray(by_point.points)
        assert 8 < x < 32
        assert 20 < y < 44
        assert by_box.points is by_point.box is None

    def test_motion_goes_on(self, target: Target) -> None:
        target.see(1, block(5, 5), box(5, 5))
        expected = target.expect(2)
        np.testing.assert_array_equal(expected.mask, block(8, 5).mask)
        np.testing.assert_allclose(expected.prompts[0].box, box(8, 5))

    def test_and_while_it_is_lost(self, target: Target) -> None:
        target.see(1, block(5, 5), box(5, 5))
        target.miss()
        target.miss()
        np.testing.assert_array_equal(target.expect(4).mask, block(14, 5).mask)

    def test_inertia_smooths_it(self, target: Target) -> None:
        for frame, x in ((1, 4), (2, 6), (3, 8), (4, 10), (5, 16)):
            target.see(frame, block(x, 5), box(x, 5))
        # Four steps of 2 cells, one of 6 that counts a quarter.
        np.testing.assert_allclose(target.expect(6).prompts[0].box, box(19, 5))

    def test_covering_is_no_motion(self, target: Target) -> None:
        part = block(2, 5)
        part.mask[:, 5:] = False
        covered = Look(part.mask, int(part.mask.sum()), np.array([3.5, 8]), GREY)
        target.see(1, covered, box(2, 5) - [0, 0, 12, 0])
        np.testing.assert_array_equal(target.expect(2).mask, part.mask)

    def test_a_lost_one_is_looked_for_as_it_was_before_it_was_covered(self, target: Target) -> None:
        target.see(1, block(4, 5), box(4, 5))
        part = block(6, 5)
        part.mask[:, 8:] = False
        covered = Look(part.mask, int(part.mask.sum()), np.array([7, 8]), GREY)
        target.see(2, covered, box(6, 5) - [0, 0, 16, 0])
        target.miss()
        expected = target.expect(4)
        np.testing.assert_array_equal(expected.mask, block(10, 5).mask)
        np.testing.assert_allclose(expected.prompts[0].box, box(10, 5))

    def test_out_of_the_image_nothing_is_asked(self, target: Target) -> None:
        target.see(1, block(0, 5), box(0, 5))
        for _ in range(4):
            target.miss()
        expected = target.expect(6)
        assert not expected.mask.any()
        assert expected.prompts == []

    def test_found_is_harder_than_kept(self, target: Target) -> None:
        assert target.accepts(0.55)
        assert not target.accepts(0.45)
        target.miss()
        assert not target.accepts(0.55)
        assert target.accepts(0.65)

    def test_given_up(self) -> None:
        target = Target(0, block(2, 5), box(2, 5), TRANSFORM, TrackSettings(search_frames=2))
        states = []
        for _ in range(3):
            target.miss()
            states.append(target.given_up)
        assert states == [False, False, True]

    def test_colour_may_change_slowly(self, target: Target) -> None:
        grown_dark = block(2, 5, colour=40)
        assert target.score(grown_dark, grown_dark.mask, 1.0) < 0.2
        for frame in range(1, 40):
            target.see(frame, block(2, 5, colour=100 - frame * 1.5), box(2, 5))
        assert target.score(grown_dark, grown_dark.mask, 1.0) > 0.6


class TestSettings:
    @pytest.mark.parametrize("name", RANGES)
    def test_limits(self, name: str) -> None:
        least, most = RANGES[name]
        for value in (np.nextafter(least, -1e9), np.nextafter(most, 1e9), math.nan, "1", None):
            with pytest.raises(InputError, match=f"{name}=.*expected a number from"):
                TrackSettings(**{name: value})
        assert number(name, getattr(TrackSettings(), name), least, most)

    def test_at_the_limits(self) -> None:
        for pick in (0, 1):
            values = {name: span[pick] for name, span in RANGES.items()}
            assert vars(TrackSettings(**values)).items() >= values.items()

    @pytest.mark.parametrize("value", [-1, 1.5, True, "3"])
    def test_frames_are_counted(self, value: object) -> None:
        with pytest.raises(InputError, match=r"search_frames=.*expected a whole number"):
            TrackSettings(search_frames=value)  # type: ignore[arg-type]

    def test_what_is_found_has_to_stay(self) -> None:
        with pytest.raises(InputError, match=r"found_from=0\.2 is below lost_below=0\.5"):
            TrackSettings(found_from=0.2)

    def test_names(self) -> None:
        assert TrackSettings.from_names({"search_frames": 3}).search_frames == 3
        with pytest.raises(InputError, match="unknown setting 'search_frame'; did you mean"):
            TrackSettings.from_names({"search_frame": 3})
