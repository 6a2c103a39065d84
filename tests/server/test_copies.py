"""Duplicates over HTTP."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import add
from PIL import Image
from serving import serving
from test_indexing import wait_for

from mmsearch.collection import Collection


def test_groups_of_the_same_picture(photos: Path, tmp_path: Path) -> None:
    first, second = sorted(photos.glob("*.jpg"))[:2]
    shutil.copy(first, photos / "copy.jpg")
    Image.open(second).resize((300, 220)).save(photos / "small.jpg")
    with Collection.create(tmp_path / "index") as collection:
        add(collection, photos)
    with serving("-i", tmp_path / "index") as server:
        answer = server.client.get("/v1/duplicates")
        assert answer.status_code == 202 and answer.json()["state"] == "running"
        found = wait_for(lambda: (answer := server.client.get("/v1/duplicates")).status_code == 200
                         and answer.json())
        assert found["total"] == len(found["groups"])
        copied = next(group for group in found["groups"]
                      if "copy.jpg" in [one["item"]["name"] for one in group["items"]])
        assert [one["says"] for one in copied["items"]] == ["keep", "copy"]
        assert copied["freed"] == first.stat().st_size
        exact = wait_for(lambda: (answer := server.client.get("/v1/duplicates", params={
            "exact": True})).status_code == 200 and answer.json())
        assert exact["total"] == 1
