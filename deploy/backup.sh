#!/bin/sh
# Copy a collection while it is searched and written: backup.sh COLLECTION BACKUP
# Needs rsync, sqlite3 and mmsearch. A backup is a collection: `mmsearch query -i BACKUP` works.
set -eu
[ -f "$1/catalog.db" ] || { echo "$1 is no collection" >&2; exit 1; }
mkdir -p "$2"
from=$(cd "$1" && pwd) to=$(cd "$2" && pwd)
copy() {  # Segments never change; 24: a merge removed some meanwhile
    rsync --archive "$@" --exclude='catalog.db*' --exclude=lock --exclude=writer.json \
          --exclude='.tmp-*' --exclude='reindex-*' --exclude='rerank.db*' "$from/" "$to/" ||
        [ $? -eq 24 ]
}
for _ in 1 2 3; do  # again, if a segment came and went between the two copies
    copy --delete
    rm -f "$to/catalog.db" "$to/catalog.db-wal" "$to/catalog.db-shm"
    (cd "$to" && sqlite3 "$from/catalog.db" ".timeout 10000" ".backup catalog.db")
    copy
    mmsearch verify -i "$to" && exit 0
done
echo "the backup in $to is not whole" >&2
exit 1
