"""Frames of a video, through PyAV (FFmpeg's libraries): decoded in a stream, never held.

Keyframes are enough where they come often enough: cameras make one every second, and what lies
between two of them costs ten times as much to decode. Where two are more than `_OFTEN` apart, what
lies between is decoded too, but for frames that no other one is made from. What is kept of all
that, `media.keyframes` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import MediaError, MissingDecoder
from mmsearch.fragments import at_time
from mmsearch.media.decoding import MAX_PIXELS
from mmsearch.media.keyframes import SPACING, Frame, choose
from mmsearch.media.video_pixels import upright_picture, upright_size
from mmsearch.metadata import camera_name, moment

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from PIL.Image import Image

_DEMUXERS = {"MP4": "mov", "Matroska": "matroska", "WebM": "matroska", "AVI": "avi", "MPEG": "mpeg",
             "ASF": "asf", "FLV": "flv", "Ogg": "ogg", "MPEG-TS": "mpegts"}
"""By name, and not by FFmpeg's own guess: playlists, which name other files, are not among them."""
_OFTEN = 2.0
"""Seconds between two keyframes."""
_STEP = 0.5
"""Seconds between two frames that are looked at."""
_BUFFER = 1 << 20


def frames(handle: IO[bytes], name: str, min_side: int, most: int) -> Iterator[Frame]:
    """See `media.frames.read`."""
    keys, end, whole = _packets(handle, name)
    start = keys[0] if keys else 0.0
    with _video(handle, name) as (container, stream):
        meta = _meta(container, stream, name, end - start)
        spacing = max(SPACING, (end - start) / most)
        looked = _Looked(container, stream, keys, end, start)
        kept = 0
        for time, image in choose(looked.pictures(min_side), spacing):
            if not kept:
                meta |= looked.size
            kept += 1
            yield Frame(at_time(time), image, meta)
            if kept == most:
                break
    stated = meta.get("duration", 0.0)
    if looked.broken or not kept:
        raise MediaError(_cut_short(looked, kept, name))
    if stated > whole - start + max(2.0, 0.02 * stated):
        raise MediaError(f"truncated {name}: ends at {whole - start:.0f} of {stated:.0f} s; what "
                         "is there is indexed")


def frame_at(handle: IO[bytes], name: str, time: float, min_side: int | None) -> Image:
    """The frame shown at a time, in seconds from the first."""
    keys, end, _ = _packets(handle, name)
    start = keys[0] if keys else 0.0
    if end and time > end - start + 0.001:
        raise MediaError(f"ends at {end - start:.3f}".rstrip("0").rstrip(".")
                         + f" s, before {time:g} s")
    wanted = time + start + 0.001
    before = max((key for key in keys if key <= wanted), default=None)
    for key in dict.fromkeys([before, None]):  # from the start, where it cannot be sought in
        with _video(handle, name) as (container, stream):
            if key is not None:
                container.seek(round(key / float(stream.time_base or 1)), stream=stream)
            last = None
            for frame in _decoded(container, stream):
                if frame.pts is None or (last is None and key is not None and frame.time > wanted):
                    break
                if last is not None and frame.time > wanted:
                    break
                last = frame
            if last is not None:
                return upright_picture(last, stream, min_side)
    raise MediaError(f"has no frame at {time:g} s")


# -- reading ---------------------------------------------------------------------------------------


def _av() -> ModuleType:
    try:
        import av
    except ImportError:
        raise MissingDecoder("a video", "video") from None
    return av


class _Seekable:
    """What PyAV reads a file from: it writes to stderr what `seek` raises where a damaged file
    points outside of itself, and -1 is how FFmpeg is told the same."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._seek, self.read, self.tell = handle.seek, handle.read, handle.tell

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1


@contextmanager
def _video(handle: IO[bytes], name: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    av = _av()
    handle.seek(0)
    try:
        container = av.open(_Seekable(handle), format=_DEMUXERS[name], buffer_size=_BUFFER,
                            metadata_errors="replace")
    except av.FFmpegError as error:
        raise MediaError(f"damaged or truncated {name}: {_words(error)}") from error
    assert isinstance(container, av.container.InputContainer)
    with container:
        stream = next((one for one in container.streams.video
                       if not one.disposition & av.stream.Disposition.attached_pic), None)
        if stream is None:
            raise MediaError(f"{name} without a video")
        if stream.codec_context is None:
            raise MediaError(f"{name} with a video of a kind that is not known")
        if stream.width * stream.height > MAX_PIXELS:
            raise MediaError(f"{name} of {stream.width}x{stream.height} pixels: too large")
        stream.thread_type = "AUTO"
        yield container, stream


def _packets(handle: IO[bytes], name: str) -> tuple[list[float], float, float]:
    """The times of the keyframes, the end of the video, and the end of all, such as longer sound,
    in seconds; without decoding."""
    av = _av()
    keys: list[float] = []
    end = whole = 0.0
    with _video(handle, name) as (container, stream), suppress(av.FFmpegError):
        for packet in container.demux():  # up to where it can be read
            if (time := _time(packet)) is None:
                continue
            whole = max(whole, time + float((packet.duration or 0) * packet.time_base))
            if packet.stream_index == stream.index:
                end = max(end, time + float((packet.duration or 0) * packet.time_base))
                if packet.is_keyframe:
                    keys.append(time)
    return sorted(keys), end, whole


def _time(packet: Any) -> float | None:
    """When a packet is shown, in seconds, or else when it is decoded (AVI says no more)."""
    stamp = packet.dts if packet.pts is None else packet.pts
    return None if stamp is None or packet.size == 0 else float(stamp * packet.time_base)


class _Looked:
    """The frames that are looked at, as they are decoded; and what was found on the way: `broken`
    says what could not be decoded, `last` is the time of the last frame, `size` its pixels."""

    def __init__(self, container: InputContainer, stream: VideoStream, keys: list[float],
                 end: float, start: float) -> None:
        self.container, self.stream, self.start = container, stream, start
        self.broken = ""
        self.last = 0.0
        self.size: dict[str, int] = {}
        after = np.diff(np.array([*keys, end]))
        self.sparse = {key for key, gap in zip(keys, after, strict=True) if gap > _OFTEN}
        """Keyframes that the next one is far behind."""
        self.all = True
        """Whether what follows the last keyframe is wanted too."""
        stream.codec_context.skip_frame = "NONREF"

    def pictures(self, min_side: int) -> Iterator[tuple[float, Image]]:
        due = -np.inf
        for frame in _decoded(self.container, self.stream, self):
            if frame.pts is None or frame.is_corrupt:
                continue
            time = max(0.0, float(frame.time) - self.start)
            if time < self.last - SPACING:  # put together from several: which 0:01 is meant?
                self.broken = "its clock starts anew"
                return
            self.last = time
            if self.last < due and not frame.key_frame:
                continue
            due = self.last + _STEP
            image = upright_picture(frame, self.stream, min_side)
            self.size = self.size or upright_size(frame, self.stream)
            yield self.last, image

    def wants(self, packet: Any) -> bool:
        """Whether a packet has to be decoded; the empty one at the end brings out the last frames.
        """
        if packet.is_keyframe and (time := _time(packet)) is not None:
            self.all = time in self.sparse
            return True
        return packet.size == 0 or self.all


def _decoded(container: InputContainer, stream: VideoStream, looked: _Looked | None = None
             ) -> Iterator[VideoFrame]:
    """Frames in order, up to where no more can be read; damaged ones are passed over."""
    av = _av()
    packets = iter(container.demux(stream))
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:
            if looked:
                looked.broken = _words(error)
            return
        if looked and not looked.wants(packet):
            continue
        try:
            yield from packet.decode()
        except av.FFmpegError as error:
            if looked and not isinstance(error, av.EOFError):
                looked.broken = _words(error)


def _cut_short(looked: _Looked, kept: int, name: str) -> str:
    why = f": {looked.broken}" if looked.broken else ""
    if not kept:
        return f"damaged or unsupported {name}: no frame can be decoded{why}"
    return f"damaged {name}{why}; what could be decoded (up to {looked.last:.0f} s) is indexed"


def _words(error: Exception) -> str:
    """FFmpeg's own, without its number and our file."""
    return str(getattr(error, "strerror", None) or error).split(": '")[0]


# -- what is known of the whole file ---------------------------------------------------------------


def _meta(container: InputContainer, stream: VideoStream, name: str, seconds: float
          ) -> dict[str, Any]:
    """format, duration in seconds, codec, fps; taken and camera, where a camera wrote them."""
    rate = float(stream.average_rate or 0)
    # FFmpeg tells how long an AVI is by its bytes; its header has the number of frames.
    stated = max((container.duration or 0) / 1e6, stream.frames / rate if rate else 0.0) or seconds
    found: dict[str, Any] = {"format": name, "codec": stream.codec_context.name,
                             "duration": round(stated, 3)}
    if rate:
        found["fps"] = round(rate, 3)
    tags = {name.lower(): value for one in (stream, container)
            for name, value in one.metadata.items()}
    if taken := _taken(tags):
        found["taken"] = taken
    apple = "com.apple.quicktime."
    camera = camera_name(*(tags.get(apple + key) for key in ("make", "model")))
    return {**found, "camera": camera} if camera else found


def _taken(tags: dict[str, str]) -> str | None:
    """A camera's own date counts more than UTC, and both more than the day that a film came out."""
    date = moment(tags.get("date"))
    written = (tags.get("com.apple.quicktime.creationdate"), tags.get("date_recorded"),
               date if date and "T" in date else "",
               tags.get("creation_time", "").replace(".000000", ""), date)
    # A clock that was never set is in 1904, 1946 or 1970; a year is that of a film.
    return next((found for found in map(moment, written)
                 if found and len(found) >= 10 and found > "1971"), None)
