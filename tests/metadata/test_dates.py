"""When a picture or a video was taken, in every form that names a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import add
from hypothesis import given, strategies as st
from making_metadata import exif, iptc, jpeg
from PIL import ExifTags
from PIL.TiffImagePlugin import IFDRational

from mmsearch.collection.collection import Collection
from mmsearch.media import frames
from mmsearch.media.decoding import decode
from mmsearch.metadata.dates import moment
from mmsearch.metadata.fields import UNSURE, merge_metadata

B, G = ExifTags.Base, ExifTags.GPS
NOON = "2015:02:01 14:42:59"
TAKEN = "2015-02-01T14:42:59"
IN_UTC = {G.GPSDateStamp: "2015:02:01", G.GPSTimeStamp: (13.0, 42.0, 59.0)}


def taken(details: dict[int, Any] | None = None, gps: dict[int, Any] | None = None,
          xmp: bytes = b"", **base: Any) -> Any:
    return decode(jpeg(exif=exif(details, gps, **base), xmp=xmp)).meta.get("taken")


@pytest.mark.parametrize(("written", "expected"), [
    (NOON, TAKEN), ("2015-02-01 14:42:59", TAKEN), ("2015-02-01T14:42:59", TAKEN),
    ("2015/02/01 14:42:59", TAKEN), ("2015.02.01 14:42:59", TAKEN), ("20150201T144259", TAKEN),
    ("2015:02:01 02:42:59 PM", TAKEN), ("2015:02:01 12:42:59am", "2015-02-01T00:42:59"),
    ("2015: 2: 1  4: 2: 9", "2015-02-01T04:02:09"), ("2015-2-1 9:05", "2015-02-01T09:05:00"),
    ("2015:02:01 14:42:59.123", TAKEN + ".123"), ("2015:02:01 14:42:59,5", TAKEN + ".5"),
    ("2015:02:01 14:42", "2015-02-01T14:42:00"), ("2015-02-01T14:42Z", "2015-02-01T14:42:00+00:00"),
    ("2015:02:01 14:42:59+01:00", TAKEN + "+01:00"), (NOON + " -3:30", TAKEN + "-03:30"),
    (NOON + "+0530", TAKEN + "+05:30"), (NOON + "+02", TAKEN + "+02:00"),
    (NOON + ".25+02:00", TAKEN + ".25+02:00"), (NOON + "Z", TAKEN + "+00:00"),
    (NOON + " UTC", TAKEN + "+00:00"), (NOON + "+99:00", TAKEN),
    ("2015:02:01 24:00:00", "2015-02-02T00:00:00"), ("2015:02:01 23:59:60", "2015-02-02T00:00:00"),
    ("2021:03:28 02:30:00", "2021-03-28T02:30:00"),  # skipped where summer time begins, not here
    ("2015:02:01", "2015-02-01"), ("2015:02:01   :  :  ", "2015-02-01"), ("20150201", "2015-02-01"),
    ("2015:02:   :  :  ", "2015-02"), ("2015", "2015"),
    ("1970:01:01 00:00:01", "1970-01-01T00:00:01"),
    (NOON + "+1", TAKEN + "+01:00"), (NOON + " GMT-3", TAKEN + "-03:00"),
    (NOON + " PST", TAKEN), (NOON + "+01:00[Europe/Paris]", TAKEN + "+01:00"),
    (NOON + ".1234567891", TAKEN + ".123456789"),
    ("2015.2.1 9.05.07", "2015-02-01T09:05:07"), ("2015-02-01 09-05-07", "2015-02-01T09:05:07"),
    ("20150201_144259", TAKEN), ("20150201144259", TAKEN), ("2015-02-01T14", TAKEN[:13] + ":00:00"),
    ("2015:02:01 12:00 a.m.", "2015-02-01T00:00:00"), ("2015:02:01 3:05:09 PM", TAKEN[:11] +
     "15:05:09"), ("31.12.2015 10:00", "2015-12-31T10:00:00"), ("12/31/2015", "2015-12-31"),
    ("Sun Feb  1 14:42:59 CET 2015", TAKEN), ("Sun, 1 Feb 2015 14:42:59 +0100", TAKEN + "+01:00"),
    ("February 1, 2015 2:42:59 pm", TAKEN), ("3 Sept. 2020", "2020-09-03"),
    ("2021-05-04 10-30", "2021-05-04T10:30:00"), ("2021-05-04 23-59", "2021-05-04T23:59:00"),
    ("2021-05-04_09-45", "2021-05-04T09:45:00"), ("2021-05-04 10-03", "2021-05-04T10:03:00"),
    ("2021-05-04 10-12", "2021-05-04T10:12:00"),
    ("2021-05-04 10:12-03", "2021-05-04T10:12:00-03:00"),
])
def test_every_form_that_names_a_moment(written: str, expected: str) -> None:
    assert taken({B.DateTimeOriginal: written}) == expected
    assert moment(expected) == expected


@pytest.mark.parametrize("written", [
    "0000:00:00 00:00:00", "0001:01:01 00:00:00", "2015:00:00 00:00:00", "2015:02:30 10:00:00",
    "2015:13:01 10:00:00", "2015:02:01 24:00:01", "2015:02:01 25:00:00", "2015:02:01 10:60:00",
    "2015:02:01 10:00:61", "2015:02:01 13:00:00 PM", "9999:12:31 24:00:00", "1970:01:01 00:00:00",
    "1970:01:01 01:00:00+01:00", "1904:01:01 00:00:00", "    :  :     :  :  ", "01/02/2015",
    "1.2.2015", "31/31/2015", "31 Foo 2015", "3 marraskuu 2021", "12 Marble 2021", "1 Decade 2020",
    "2021-05-04 10-03-2022", "2021-05-04 10-3", "0000-00-00T00:00:00Z",
    "yesterday", "12345678", "2015:02:01 noon", "",
])
def test_zeros_and_nonsense_are_no_date(written: str) -> None:
    assert taken({B.DateTimeOriginal: written}) is None
    assert taken({B.DateTimeOriginal: written}, DateTime=NOON) == TAKEN


@given(st.text("0123456789:-/.T +ZapmM", max_size=30) | st.text(max_size=30))
def test_whatever_is_found_is_a_moment(written: str) -> None:
    found = moment(written, written, written)
    assert found is None or moment(found) == found


def test_which_of_several_dates_counts() -> None:
    first, second = "2015:02:01 14:42:59", "2016:02:01 14:42:59"
    assert taken({B.DateTimeDigitized: first}, IN_UTC, DateTime=second) == TAKEN
    assert taken({}, IN_UTC, DateTime=second) == "2015-02-01T13:42:59+00:00"
    assert taken({B.SubsecTime: "07", B.OffsetTime: "+01:00"}, DateTime=first) == (
        TAKEN + ".07+01:00")
    packet = b"""<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description
        xmlns:x="http://ns.adobe.com/xap/1.0/" x:CreateDate="1987-05-03"/></r:RDF>"""
    assert taken(xmp=packet, DateTime=second) == "1987-05-03"  # scanned, and changed in 2016
    said = decode(iptc((55, b"20150201"), (60, b"144259+0100"), exif=exif(DateTime=second)))
    assert said.meta["taken"] == TAKEN + "+01:00"


def test_a_date_of_a_change_is_none_where_a_file_beside_knows_better() -> None:
    changed = decode(jpeg(exif=exif(DateTime=NOON))).meta
    assert merge_metadata(changed, {"taken": "1987"})["taken"] == "1987"
    assert merge_metadata(changed)["taken"] == TAKEN
    assert UNSURE not in merge_metadata(changed)
    sure = decode(jpeg(exif=exif({B.DateTimeOriginal: NOON}, DateTime=NOON))).meta
    assert merge_metadata(sure, {"taken": "1987"})["taken"] == TAKEN


def test_dates_as_bytes_and_what_is_there_of_them() -> None:
    written = {B.DateTimeOriginal: NOON.encode(), B.SubsecTimeOriginal: "05  ",
               B.OffsetTimeOriginal: "+1:00"}
    assert taken(written) == TAKEN + ".05+01:00"
    day = {G.GPSDateStamp: "2015:02:01"}
    assert taken(gps=day) == "2015-02-01" and taken(gps=day, DateTime=NOON) == TAKEN
    assert taken(gps={G.GPSTimeStamp: (13.0, 42.0, 59.0)}) is None


def test_the_offset_is_that_of_the_same_date() -> None:
    offsets = {B.OffsetTimeOriginal: "+02:00", B.OffsetTime: "+01:00"}
    assert taken({B.DateTimeOriginal: NOON, **offsets}, DateTime=NOON) == TAKEN + "+02:00"
    there = {B.DateTimeOriginal: NOON, B.OffsetTime: "+01:00"}
    assert taken(there, DateTime=NOON) == TAKEN + "+01:00"
    assert taken(there, DateTime="2016:02:01 14:42:59") == TAKEN  # changed elsewhere
    assert taken({B.DateTimeOriginal: NOON + "Z", **offsets}) == TAKEN + "+00:00"


@pytest.mark.parametrize(("time", "expected"), [
    ((14.0, 42.0, 59.5), TAKEN + ".5+00:00"), ((0.0, 0.0, 0.0), "2015-02-01T00:00:00+00:00"),
    ((25.0, 0.0, 0.0), None), ((IFDRational(0, 0),) * 3, None), (12.0, None),
])
def test_a_moment_from_satellites(time: Any, expected: str | None) -> None:
    assert taken(gps={G.GPSDateStamp: "2015:02:01", G.GPSTimeStamp: time}) == expected


@pytest.mark.parametrize(("name", "tags", "expected"), [
    ("a.mp4", {"creation_time": "2021-08-01T22:30:00Z"}, "2021-08-01T22:30:00+00:00"),
    ("a.mov", {"creation_time": "2021-08-01T22:30:00Z",
               "com.apple.quicktime.creationdate": "2021-08-02T00:30:00+0200"},
     "2021-08-02T00:30:00+02:00"),
    ("a.mp4", {"creation_time": "2021-08-01T22:30:00Z", "date": "2021-08-02T00:30:00+0200"},
     "2021-08-02T00:30:00+02:00"),
    ("a.mp4", {"creation_time": "2021-08-01T22:30:00Z", "date": "2023-01-01"},
     "2021-08-01T22:30:00+00:00"),
    ("a.mkv", {"DATE_RECORDED": "2020-05-05"}, "2020-05-05"),
    ("a.mkv", {"creation_time": "1946-05-29T08:55:06Z"}, None),
    ("a.mp4", {"creation_time": "1904-01-01T00:00:00Z"}, None),
    ("a.mp4", {"date": "1999"}, None), ("a.mp4", {}, None),
])
def test_when_a_video_was_taken(name: str, tags: dict[str, str], expected: str | None,
                                tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    own = {"movflags": "use_metadata_tags"} if name.endswith(".mov") else {}
    with av.open(str(tmp_path / name), "w", options=own) as container:
        container.metadata.update(tags)
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode()])
    assert next(frames.read(tmp_path / name, 64, 1)).meta.get("taken") == expected


def test_dates_are_compared_as_where_it_was_taken(tmp_path: Path) -> None:
    """Half an hour past midnight in Paris is the new day, though not yet in UTC."""
    for name, written in (("paris", "2021:08:02 00:30:00+02:00"), ("day", "2021:08:02"),
                          ("hawaii", "2021:08:01 23:59:59-10:00"), ("none", "")):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(exif=exif({B.DateTimeOriginal: written})))
    add(Collection.create(tmp_path / "index"), tmp_path)
    collection = Collection.open(tmp_path / "index")

    def met(where: str) -> set[str]:
        hits = collection.search(text="a picture", find="image", where=[where], k=9)
        return {Path(hit.item.uri).stem for hit in hits}

    assert met("taken >= 2021-08-02") == met("taken = 2021-08-02") == {"paris", "day"}
    assert met("taken < 2021-08-02") == {"hawaii"}
    assert met("taken >= 2021-08-02T00:30") == {"paris"}
    assert met("taken is missing") == {"none"} and met("modified exists") >= {"none"}
