"""The command that draws a collection as a map: map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import DEFAULT_INDEX, IndexOption, JsonOption, WhereOption
from mmsearch.cli.terminal import check_folder, print_json, progress, say
from mmsearch.errors import UsageError


def map(
    out: Annotated[Path | None, typer.Argument(
        metavar="[FILE.html]", help="Where the page is written (default: map.html, without "
        "--json).", show_default=False)] = None,
    clusters: Annotated[int | None, typer.Option(
        metavar="N", help="How many groups (default: by the number of pictures, 40 at most).",
        show_default=False)] = None,
    words: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Names that groups may have, one a line (default: some 2,400 common "
        "words).", show_default=False)] = None,
    where: WhereOption = None,
    thumbnails: Annotated[int, typer.Option(
        min=0, max=10_000, metavar="N", help="Pictures that the page shows; the rest are dots. "
        "1,000 take 1.5 MB.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    directory: IndexOption = DEFAULT_INDEX,
    json_: JsonOption = False,
) -> None:
    """Draw all pictures as a map: what is alike lies together, and groups have names.

    One web page that needs no other file: zoom, drag, search by name or caption.

    Example: mmsearch map photos.html
    """
    from mmsearch.classification import (
        cluster,
        common_words,
        gather,
        named,
        places_of,
        read_labels,
    )
    from mmsearch.cli.mapped import map_json, map_page
    from mmsearch.collection import Collection

    check_folder("FILE.html", out)
    if words is not None and not words.is_file():
        raise UsageError(f"{words}: there is no such file of words")
    collection = Collection.open(directory)
    things = gather(collection, "image", where=where or ())
    if len(things.rows) < 2:
        collection.check_fields(where or ())
        raise UsageError("a map needs two pictures or more" + " that meet the condition" * bool(
            where))
    vocabulary = common_words() if words is None else read_labels(str(words), ["{}"])
    of, centres = cluster(things.images, clusters, seed)
    with progress("naming groups", lambda: sum(len(one.prompts) for one in vocabulary)) as advance:
        groups = named(things, of, centres, vocabulary, collection.encoder, progress=advance)
    with progress("placing", lambda: None):
        places = places_of(things.images, seed)
    if out is not None or not json_:
        target = out or Path("map.html")
        with progress("thumbnails", lambda: min(thumbnails, len(things.rows))) as advance:
            page = map_page(collection, things, of, groups, places, thumbnails,
                            f"Map of {directory}", advance)
        target.write_text(page, "utf-8")
        say(f"wrote {target}")
    if json_:
        print_json(map_json(things, of, groups, places))
    else:
        for group in groups:
            print(f"{group.name}\t{len(group.items)}\t{group.confidence:.2f}\t"
                  f"{', '.join(group.also)}")
