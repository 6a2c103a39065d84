"""What is chosen for a collection as a whole, and remembered in its settings."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager

from mmsearch.collection.reader import Reader
from mmsearch.errors import UsageError
from mmsearch.fragments import is_tile
from mmsearch.indexes import KINDS, check_builder, choose_spec
from mmsearch.ingest import check_reranker
from mmsearch.media import parse_grid, tiles_setting, tiling_of
from mmsearch.storage import Catalog, prune_places, remove_places


class Configuring(Reader):
    """The part of `Collection` that changes settings."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Catalog]: ...

    def configure(self, *, recall: float | None = None, kind: str | None = None,
                  tiles: str | None = None, rerank: bool | None = None) -> None:
        """Say how exact a large collection has to be, what pictures are cut into, and what is kept
        of them; `add` and `compact` act on it.

        recall: recall@10 of approximate indexes, 1 for exact search whatever it costs.
        kind: of index, a row of `indexes.KINDS`, or "auto". None changes nothing.
        tiles: see `media.tiles.parse_grid`. Another grid holds for what is added from now on,
            and pictures that are there are encoded again by the next `add` of them; "none" removes
            all tiles at once.
        rerank: whether to store what a search with `rerank` looks at, which then need not read
            pictures; those that are there are encoded again by the next `add` of them. False
            removes it at once.

        Raises:
            UsageError: a recall outside of (0, 1], no such kind or grid, or a model without
                a reranker.
        """
        grid = None if tiles is None else parse_grid(tiles)
        wanted = {"recall": recall, "kind": kind, "rerank": rerank}
        new = {name: value for name, value in wanted.items()
               if value is not None and self._settings.get(name) != value}
        if recall is not None and not 0 < recall <= 1:
            raise UsageError(f"recall must be above 0 and at most 1, not {recall}")
        if kind is not None:
            choose_spec(0, kind=kind)
            if kind != "auto" and not KINDS[kind].factory:
                check_builder(self.device)
        if rerank:
            check_reranker(self.encoder)
        if new:
            with self._writing() as catalog:
                catalog.put_settings(new)
                if new.get("rerank") is False:
                    remove_places(self.path)
            self._settings.update(new)
        with self._pool.connection() as one:
            tiles_now = one.catalog.setting("tiles")
        if grid is not None and grid != tiling_of(tiles_now).grid:
            with self._writing() as catalog:
                drop = [row.id for row in catalog.rows(None, ["frame"])
                        if not grid.tiles and is_tile(row.item)]
                catalog.put_settings(tiles_setting(grid, catalog.settings), drop)
                if drop:
                    prune_places(self.path, catalog.path)
                self._settings["tiles"] = catalog.settings["tiles"]
