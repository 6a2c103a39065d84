"""JPEGs of very many scans are refused before they are decoded; those that people have are not."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from conftest import DEMO
from PIL import Image

from mmsearch.errors import MediaError
from mmsearch.media import decode
from mmsearch.media.jpeg_scans import MOST


def progressive(size: tuple[int, int] = (64, 48)) -> bytes:
    data = BytesIO()
    Image.open(DEMO / "cat.jpg").resize(size).save(data, "JPEG", progressive=True)
    return data.getvalue()


def with_scans(data: bytes, more: int) -> bytes:
    """With its last scan so many times more."""
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * more + data[-2:]


@pytest.mark.parametrize("more", [MOST, 5000])
def test_very_many_scans_are_refused(more: int) -> None:
    data = with_scans(progressive(), more)
    for bytes_ in (data, data.replace(b"\xff\xe0", b"\xff\xff\xe0", 1)):  # a marker may be padded
        with pytest.raises(MediaError, match="scans, limit 100"):
            decode(bytes_)


def test_a_false_end_between_scans_hides_none() -> None:
    data = progressive()
    last = data.rindex(b"\xff\xda")
    comment = b"\xff\xfe\x00\x04\xff\xd9"  # in a segment, this is no end
    with pytest.raises(MediaError, match="scans, limit"):
        decode(with_scans(data[:last] + comment + data[last:], 5000))


def test_a_dozen_scans_and_a_video_behind_the_picture_are_fine(tmp_path: Path) -> None:
    whole = progressive()
    assert decode(with_scans(whole, 12)).width == 64
    assert decode(whole + b"\xff\xda" * 5000).width == 64  # what a motion photo may look like
    (tmp_path / "a.jpg").write_bytes(whole)
    assert decode(tmp_path / "a.jpg", min_side=16).height == 48
    assert decode((DEMO / "cat.jpg").read_bytes() + b"\xff\xda" * 5000).width == 451
