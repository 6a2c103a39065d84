"""The command that merges and tunes what is on disk: compact."""

from __future__ import annotations

from mmsearch.cli.options import (
    DEFAULT_INDEX,
    DeviceOption,
    IndexOption,
    JsonOption,
    KindOption,
    RecallOption,
)
from mmsearch.cli.terminal import print_json


def compact(
    directory: IndexOption = DEFAULT_INDEX,
    recall: RecallOption = None,
    kind: KindOption = None,
    device: DeviceOption = "cpu",
    json_: JsonOption = False,
) -> None:
    """Tidy up a collection: merge its files, drop deleted vectors, build and tune large indexes.

    Example: mmsearch compact
    """
    from mmsearch.collection import Collection

    collection = Collection.open(directory, device=device)
    collection.configure(recall=recall, kind=kind)
    before = collection.info()
    collection.compact()
    after = collection.info()
    if json_:
        print_json({"before": before, "after": after})
    else:
        print(f"segments {before['segments']} -> {after['segments']}, "
              f"bytes {before['bytes']} -> {after['bytes']}")
        for searched, how in after["index"].items():
            print(f"{searched}: {how}")
