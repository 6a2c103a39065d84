"""Videos, animations and documents: which of their pictures are taken, and how they look."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from making import SCENES, animation, difference, document, film, picture, seen
from PIL import Image

from mmsearch.errors import MediaError
from mmsearch.fragments import Part, at_time, file_uri, on_page, part_of
from mmsearch.media import frames, pdf
from mmsearch.media.decoding import decode
from mmsearch.media.keyframes import choose
from mmsearch.metadata.fields import MAX_CHARACTERS
from mmsearch.records import Item

SIDE = 120
TILE = "xywh=percent:0,0,55,55"


def read(path: Path, most: int = 100) -> list[frames.Frame]:
    return list(frames.read(path, SIDE, most))


def times(found: list[frames.Frame]) -> list[float]:
    return [float(frame.fragment.removeprefix("t=")) for frame in found]


def partly(path: Path) -> tuple[list[frames.Frame], str]:
    """What can be read, and why no more can."""
    found: list[frames.Frame] = []
    with pytest.raises(MediaError) as error:
        for frame in frames.read(path, SIDE, 100):
            found.append(frame)
    return found, str(error.value)


# --- fragments -----------------------------------------------------------------------------------


@given(st.floats(0, 1e5), st.integers(1, 10_000))
def test_a_part_is_told_from_its_uri(seconds: float, page: int) -> None:
    moment = part_of(Item(f"/a#t=1.mp4#{at_time(seconds)}", "frame", group="/a#t=1.mp4"))
    assert moment is not None and moment.file == "/a#t=1.mp4" and moment.page is None
    assert moment.time == pytest.approx(seconds, abs=0.00051)
    text = Item(f"/a.pdf#{on_page(page)}", "text", "words", group="/a.pdf")
    assert part_of(text) == Part("/a.pdf", None, page)
    assert file_uri(text) == "/a.pdf"


@pytest.mark.parametrize("item", [
    Item("/a.png#t=1", "image", group="/a.png#t=1"),
    Item("/a.png#caption2", "text", group="/a.png"),
    Item(f"/a.jpg#{TILE}", "image", group=f"/a.jpg#{TILE}"),
    Item(f"/a.jpg#{TILE}", "text", group="/a.jpg"),
    Item("/a.txt#L3", "text", group="/a.txt#L3"), Item("/a.jpg", "frame", group="album"),
    Item("/a.mp4#t=1", "frame", group="/b.mp4"), Item("/a.pdf#page=0", "frame", group="/a.pdf")])
def test_what_only_looks_like_a_part_is_none(item: Item) -> None:
    assert part_of(item) is None
    assert file_uri(item) == item.uri


def test_parts_as_people_read_them() -> None:
    assert [str(Part("/a", time)) for time in (0.0, 12.5, 61.0, 3723.9)] == [
        "0:00", "0:12", "1:01", "1:02:03"]
    assert str(Part("/a", page=3)) == "p. 3"


# --- which frames --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec", "format"), [
    ("a.mp4", "libx264", "MP4"), ("a.mov", "mpeg4", "MP4"), ("a.avi", "mpeg4", "AVI"),
    ("b.avi", "libx264", "AVI"), ("a.mkv", "libx264", "Matroska"), ("a.ts", "libx264", "MPEG-TS"),
    ("a.webm", "libvpx-vp9", "WebM")])
def test_every_scene_of_a_video_is_seen(name: str, codec: str, format: str, tmp_path: Path) -> None:
    path = film(tmp_path / name, codec=codec)
    found = read(path)
    assert seen(found) == list(SCENES)
    assert np.allclose(times(found), [0, 2, 4, 6], atol=0.51)
    meta = found[0].meta
    assert (meta["width"], meta["height"], meta["fps"]) == (320, 240, 10)
    assert meta["format"] == format and meta["duration"] == pytest.approx(8, abs=0.2)
    assert meta["codec"] in ("h264", "mpeg4", "vp9")
    for frame, time in zip(found, times(found), strict=True):
        again = frames.read_part(path, Part(str(path), time), SIDE)
        assert np.array_equal(np.asarray(again), np.asarray(frame.image))
    with pytest.raises(MediaError, match=r"ends at (7\.[89]\d*|8(\.[01]\d*)?) s, before 900 s"):
        frames.read_part(path, Part(str(path), 900), SIDE)


def test_between_keyframes_that_are_far_apart_all_is_looked_at(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", seconds=3, **{"x264-params": "keyint=1000:scenecut=0"})
    assert seen(read(path)) == list(SCENES)
    assert np.allclose(times(read(path)), [0, 3, 6, 9], atol=0.51)


def test_a_still_scene_is_one_frame_and_a_moving_one_many(tmp_path: Path) -> None:
    assert times(read(film(tmp_path / "still.mp4", ["cat"], seconds=14))) == [0]
    wide = np.asarray(picture("skyline", (1280, 240)))
    pan = [np.ascontiguousarray(wide[:, 4 * n : 4 * n + 320]) for n in range(200)]
    found = times(read(film(tmp_path / "pan.mp4", pan, seconds=0.1)))
    assert found[0] == 0 and len(found) >= 4
    assert max(np.diff([*found, 20.0])) <= 5.6 and min(np.diff(found)) >= 1


def test_black_frames_are_left_out_unless_there_is_nothing_else(tmp_path: Path) -> None:
    black = np.zeros((240, 320, 3), np.uint8)
    assert seen(read(film(tmp_path / "a.mp4", [black, "cat", black, "bus"]))) == ["cat", "bus"]
    assert times(read(film(tmp_path / "b.mp4", [black]))) == [0]


def test_a_scene_that_comes_back_is_not_taken_again(tmp_path: Path) -> None:
    assert seen(read(film(tmp_path / "a.mp4", ["cat", "bus", "cat", "bus"]))) == ["cat", "bus"]


def test_the_frames_of_a_long_video_are_spread_over_it(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [*SCENES, "dogs", "lake", "earth", "clock"])
    found = times(read(path, most=4))
    assert len(found) <= 4 and found[-1] > 10


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.floats(0.05, 3))
def test_what_is_chosen_keeps_its_distance(shown: list[int], step: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    pictures = [*map(Image.fromarray, noise), Image.new("RGB", (32, 32))]
    given_ = [(n * step, pictures[scene]) for n, scene in enumerate(shown)]
    kept = list(choose(iter(given_)))
    assert len(kept) >= 1 and all(one in given_ for one in kept)
    assert len({id(image) for _, image in kept}) == len(kept)  # none comes twice
    assert all(b - a >= 1 for (a, _), (b, _) in pairwise(kept))
    assert len(kept) == 1 or pictures[3] not in [image for _, image in kept]


# --- how they look -------------------------------------------------------------------------------


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_rotated_video_comes_upright(rotation: int, tmp_path: Path) -> None:
    (frame,) = read(film(tmp_path / "a.mp4", ["cat"], rotation=rotation))
    upright = picture("cat").rotate(rotation, expand=True)
    assert difference(frame.image, upright) < 6
    assert (frame.meta["width"], frame.meta["height"]) == upright.size


def test_large_frames_are_reduced(tmp_path: Path) -> None:
    (frame,) = read(film(tmp_path / "a.mp4", ["cat"], size=(1280, 720), seconds=0.5))
    assert frame.image.size == (427, 240)
    assert (frame.meta["width"], frame.meta["height"]) == (1280, 720)
    assert difference(frame.image, picture("cat", (1280, 720)).resize((427, 240))) < 6


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv422p10le", "yuv420p10le"])
def test_other_pixel_formats(pixels: str, tmp_path: Path) -> None:
    (frame,) = read(film(tmp_path / "a.mp4", ["cat"], pixels=pixels, seconds=0.5))
    assert difference(frame.image, picture("cat")) < 6


@pytest.mark.parametrize(("transfer", "white"), [("smpte2084", 0.58), ("arib-std-b67", 0.75)])
def test_hdr_is_brought_to_what_a_screen_shows(transfer: str, white: float, tmp_path: Path) -> None:
    """White paper is 58 % of a PQ signal and 75 % of an HLG one (ITU-R BT.2408, table 1)."""
    paper = np.full((240, 320, 3), round(white * 255), np.uint8)
    paper[80:160, 100:200] = 0
    path = film(tmp_path / "a.mp4", [paper], seconds=0.5, pixels="yuv420p10le", **{
        "x264-params": f"colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc"})
    (frame,) = read(path)
    pixels = np.asarray(frame.image)
    assert pixels[20, 20].min() > 225  # shown as it is stored, it would be grey
    assert pixels[120, 150].max() < 10


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_of_a_truncated_video_the_beginning_is_taken(name: str, tmp_path: Path) -> None:
    path = film(tmp_path / name, codec="mpeg4" if name == "a.avi" else "libx264")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    found, reason = partly(path)
    assert seen(found) == list(SCENES[: len(found)]) and 1 <= len(found) < 4
    assert "indexed" in reason and ("truncated" in reason or "damaged" in reason)


def test_sound_that_goes_on_is_no_damage(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv"):
        assert seen(read(film(tmp_path / name, ["cat"], sound=9))) == ["cat"]


def test_damaged_bytes_in_the_middle_cost_little(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv")
    data = bytearray(path.read_bytes())
    half = len(data) // 2
    data[half : half + 400] = b"\xaa" * 400
    path.write_bytes(data)
    found: list[frames.Frame] = []
    try:
        for frame in frames.read(path, SIDE, 100):
            found.append(frame)
    except MediaError as error:
        assert "indexed" in str(error)
    assert {"cat", "sunset"} <= set(seen(found))


@pytest.mark.parametrize(("data", "reason"), [
    (b"\0\0\0\x20ftypisom" + bytes(400), "damaged or truncated MP4"),
    (b"\x1aE\xdf\xa3" + bytes(400), "Matroska"),
    (b"%PDF-1.7\n" + bytes(400), "PDF"), (b"\0\0\0\x20ftypM4A " + bytes(20), "MP4")])
def test_what_is_no_video_has_a_reason(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    found, why = partly(path)
    assert found == [] and reason in why and "\n" not in why and "<" not in why


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("short") / "a.mp4", ["cat", "bus"], seconds=0.5,
                size=(64, 48))


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_hostile_bytes_raise_nothing_else(short: Path, data: st.DataObject) -> None:
    whole = bytearray(short.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    other = short.with_name("other")
    other.write_bytes(whole)
    try:
        for frame in frames.read(other, SIDE, 100):
            assert frame.image.mode == "RGB"
    except MediaError as error:
        assert "\n" not in str(error)


def test_nothing_is_printed_by_the_decoders(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    code = ("from mmsearch.media import frames; from mmsearch.errors import MediaError; "
            "from pathlib import Path\n"
            f"try: list(frames.read(Path({str(path)!r}), 120, 100))\nexcept MediaError: exit(3)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode in (0, 3)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_video_whose_clock_starts_anew_says_so(tmp_path: Path) -> None:
    parts = [film(tmp_path / f"{name}.ts", [name], seconds=4) for name in ("cat", "bus")]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    found, reason = partly(path)
    assert seen(found) == ["cat"] and "its clock starts anew" in reason


# --- animations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif"])
def test_every_scene_of_an_animation_is_seen(suffix: str, tmp_path: Path) -> None:
    path = animation(tmp_path / f"a.{suffix}")
    data = path.read_bytes()
    assert frames.moves(data)
    found = list(frames.read(data, SIDE, 100))
    assert seen(found) == list(SCENES)
    assert times(found) == [0, 1.5, 3, 4.5]
    assert found[0].meta["width"] == 320
    again = frames.read_part(path, Part(str(path), 3.0), SIDE)
    assert difference(again, found[2].image) == 0


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif"])
def test_a_moment_of_an_animation_is_the_frame_on_screen(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    first, *others = map(picture, SCENES[:3])
    first.save(path, save_all=True, append_images=others, duration=[1000, 5000, 1000])
    shown = {frame.fragment: frame.image for frame in frames.read(path, SIDE, 100)}
    assert list(shown) == ["t=0", "t=1", "t=6"]
    for time, fragment in ((0.001, "t=0"), (0.5, "t=0"), (1, "t=1"), (3, "t=1"), (5.999, "t=1"),
                           (6, "t=6"), (6.5, "t=6"), (7, "t=6")):
        assert difference(frames.read_part(path, Part("", time), SIDE), shown[fragment]) == 0, time
    with pytest.raises(MediaError, match=r"ends at 7 s, before 7\.5 s"):
        frames.read_part(path, Part("", 7.5), SIDE)


@pytest.mark.parametrize(("suffix", "part", "reason"), [
    ("jpg", Part("", page=3), "has no page 3"),
    ("gif", Part("", page=1), "has no page 1"),
    ("jpg", Part("", 0.05), "it does not move"),
    ("tif", Part("", 0.0), "has no moments, but pages"),
    ("jpg", Part("", region=(90, 90, 50, 50)), "beyond the picture"),
    ("jpg", Part("", region=(0, 0, 0, 50)), "such a part is empty"),
])
def test_a_part_that_a_picture_does_not_have(
        suffix: str, part: Part, reason: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    picture("cat").save(path)
    with pytest.raises(MediaError, match=reason):
        frames.read_part(path, part, SIDE)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif"])
def test_a_picture_that_does_not_move_is_one_picture(suffix: str, tmp_path: Path) -> None:
    picture("cat").save(tmp_path / f"a.{suffix}")
    data = (tmp_path / f"a.{suffix}").read_bytes()
    assert not frames.moves(data)
    assert not frames.moves(data[: len(data) // 2])
    assert decode(data).image.size == (320, 240)


def test_of_a_truncated_animation_the_beginning_is_taken(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.gif")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    found, reason = partly(path)
    assert seen(found) == list(SCENES[: len(found)]) and len(found) >= 2
    assert "indexed" in reason


# --- documents -----------------------------------------------------------------------------------


def test_pages_are_pictures_and_texts(tmp_path: Path) -> None:
    path = document(tmp_path / "a.pdf", ["Annual report", "", "A zebra crossing"])
    found = read(path)
    assert [(frame.fragment, frame.text, frame.image is None) for frame in found] == [
        ("page=1", "", False), ("page=1", "Annual report", True), ("page=2", "", False),
        ("page=3", "", False), ("page=3", "A zebra crossing", True)]
    square = np.asarray(found[2].image)
    assert square.shape == (360, 240, 3)
    assert square[10, 10].tolist() == [255] * 3 and square[180, 120].tolist() == [128] * 3
    assert found[0].meta == {"format": "PDF", "pages": 3}
    again = frames.read_part(path, Part(str(path), page=2), SIDE)
    assert difference(again, found[2].image) == 0
    with pytest.raises(MediaError, match="no page 4"):
        frames.read_part(path, Part(str(path), page=4), SIDE)


def test_pages_beyond_the_most_are_counted(tmp_path: Path) -> None:
    path = document(tmp_path / "a.pdf", ["a", "b", "c"])
    pages = []
    with pytest.raises(MediaError, match="has 3 pages: the first 2 are indexed"):
        for frame in frames.read(path, SIDE, 2):
            pages.append(frame.fragment)
    assert pages == ["page=1", "page=1", "page=2", "page=2"]


def test_an_encrypted_document_has_a_reason(tmp_path: Path) -> None:
    key = "<" + "5a" * 32 + ">"
    path = document(tmp_path / "a.pdf", ["secret"], trailer=(
        f"/ID [<00><00>] /Encrypt << /Filter /Standard /V 1 /R 2 /O {key} /U {key} /P -4 >>"))
    found, reason = partly(path)
    assert found == [] and reason == "encrypted PDF: it cannot be read without its password"


def test_what_is_filled_into_a_form_is_seen_and_read(tmp_path: Path) -> None:
    look = "/Tx BMC q BT /F 20 Tf 0 g 2 5 Td (Ada Lovelace) Tj ET Q EMC"
    path = document(
        tmp_path / "a.pdf", ["Name:"], on_page="/Annots [6 0 R]",
        extra="/AcroForm << /Fields [6 0 R] /DR << /Font << /F 3 0 R >> >> /DA (/F 20 Tf 0 g) >>",
        more=["<< /Type /Annot /Subtype /Widget /FT /Tx /T (name) /V (Ada Lovelace) /F 4 "
              "/Rect [20 100 180 130] /P 4 0 R /DA (/F 20 Tf 0 g) /AP << /N 7 0 R >> >>",
              "<< /Type /XObject /Subtype /Form /BBox [0 0 160 30] "
              f"/Resources << /Font << /F 3 0 R >> >> /Length {len(look)} >>\n"
              f"stream\n{look}\nendstream"])
    shown, said = read(path)
    field = np.asarray(shown.image)[205:240, 24:216]
    assert field.min() < 100 and "Ada Lovelace" in said.text and "Name:" in said.text
    again = frames.read_part(path, Part(str(path), page=1), SIDE)
    assert difference(again, shown.image) == 0


def test_a_page_made_to_take_hours_is_given_up(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "x) Tj " + "0 0 200 300 re f " * 100_000 + "(x"
    path = document(tmp_path / "a.pdf", ["first", endless, "third", endless, endless, "last"])
    monkeypatch.setattr(pdf, "_SECONDS", 0.05)
    found, reason = partly(path)
    assert [frame.fragment for frame in found] == ["page=1", "page=1", "page=3", "page=3"]
    assert reason == ("3 of 6 pages take more than 0.05 s to draw; none after page 5 is indexed")
    with pytest.raises(MediaError, match="more than"):
        frames.read_part(path, Part(str(path), page=2), SIDE)


def test_titles_and_cameras_are_kept_short(tmp_path: Path) -> None:
    path = document(tmp_path / "a.pdf", ["a"], trailer="/Info 6 0 R",
                    more=["<< /Title (Two\\nlines " + "x" * 100_000 + ") >>"])
    title = read(path)[0].meta["title"]
    assert title.startswith("Two lines xxx") and len(title) == MAX_CHARACTERS
    path = film(tmp_path / "a.mp4", ["cat"], tags={
        f"com.apple.quicktime.{name}": "x" * 100_000 for name in ("make", "model")})
    assert len(read(path)[0].meta["camera"]) <= MAX_CHARACTERS + 1
