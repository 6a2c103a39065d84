"""Does tuning the networks of the built-in model find more than training its heads, on pictures of
the same kind and on sources that were left out? And what does it take?

    python bench/tuning.py PAIRS.jsonl --pictures 1500 --elsewhere OTHER.jsonl ANOTHER.jsonl

Every row but the first two is a whole `mmsearch train` in a process of its own, on the first
pictures of split train; what ran once is kept below --cache. Of split val, the first --choose
pictures choose epoch, blend and whether to keep hubs down; the recall is that of the others, by the
finished model. Elsewhere it is that of split val where there is one, else of all pictures but split
test: nothing of those files is trained on here.

"as shipped" has names, spelling and hubness; "start" is the same without them and in floats, which
is what tuning begins with. Peak memory is of the process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from measure import MMSEARCH, arguments, machine, measure, table, write_json

from mmsearch.encoders import OnnxEncoder, load_encoder
from mmsearch.evaluation import Pair, evaluate_model, load_pairs
from mmsearch.training.builtin_towers import BuiltinTowers

SETTINGS = {
    "heads": ["--tune", "heads"],
    "last:2": ["--tune", "last:2"],
    "lora": ["--tune", "lora"],
    "full": ["--tune", "full", "--lr", "3e-5"],
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--elsewhere", type=Path, nargs="*", default=[])
    parser.add_argument("--pictures", type=int, default=1500)
    parser.add_argument("--choose", type=int, default=300, help="of split val, to choose on")
    parser.add_argument("--epochs", type=int, help="beyond heads (default: that of train)")
    parser.add_argument("--only", nargs="*", default=list(SETTINGS), choices=SETTINGS)
    args = parser.parse_args()
    val = captioned(args.pairs, "val")
    given = captioned(args.pairs, "train")[: args.pictures]
    galleries = {"same kind": val[args.choose :]} | {
        file.parent.name: captioned(file, "val") or
        [pair for pair in captioned(file) if pair.split != "test"] for file in args.elsewhere}
    rows, figures = [], []

    def tell(name: str, model: str, seconds: float = 0, peak: float = 0) -> None:
        found = {where: recalls(model, pairs) for where, pairs in galleries.items()}
        rows.append([name, *(shown(one) for one in found.values()), f"{seconds:.0f}",
                     f"{peak / 1000:.1f}"])
        figures.append({"name": name, "recalls": found, "seconds": seconds, "peak_mb": peak})
        print(rows[-1], flush=True)

    work = args.cache / f"tuning-{len(given)}-{args.choose}-{args.epochs or 'all'}"
    work.mkdir(parents=True, exist_ok=True)
    write(work / "train.jsonl", given)
    write(work / "val.jsonl", val[: args.choose])
    tell("as shipped", "builtin")
    tell("start", start(work / "start"))
    for name in args.only:
        out = work / name.replace(":", "-")
        took = out.with_suffix(".json")
        if not took.exists():
            more = ["--epochs", str(args.epochs)] if args.epochs and name != "heads" else []
            done = measure([*MMSEARCH, "train", str(work / "train.jsonl"), "--val",
                            str(work / "val.jsonl"), "-o", str(out), "--resume", *SETTINGS[name],
                            *more])
            took.write_text(json.dumps([done.seconds, done.peak_mb]))
        tell(name, str(out), *json.loads(took.read_text()))
    print(f"{machine()}; {len(given)} pictures; galleries "
          + ", ".join(f"{where} {len(pairs)}" for where, pairs in galleries.items()))
    print("R@1/5/10, text to image; image to text")
    print(table(["", *galleries, "seconds", "GB"], rows))
    write_json(args.json, rows=figures)


def captioned(file: Path, split: str = "") -> list[Pair]:
    return [pair for pair in load_pairs(file)
            if pair.captions and (not split or pair.split == split)]


def write(file: Path, pairs: Sequence[Pair]) -> None:
    file.write_text("".join(json.dumps({"image": str(pair.image), "captions": pair.captions}) + "\n"
                            for pair in pairs))


def start(out: Path) -> str:
    """The built-in model as tuned ones are written, untuned."""
    base = load_encoder("builtin")
    assert isinstance(base, OnnxEncoder)
    out.mkdir(exist_ok=True)
    BuiltinTowers(base).write(out, 0.05, "the built-in model in floats")
    return str(out)


def recalls(model: str, pairs: Sequence[Pair]) -> list[list[float]]:
    report = evaluate_model(pairs, model=model).report
    return [[direction.recall[k] for k in (1, 5, 10)]
            for direction in (report.text_to_image, report.image_to_text) if direction]


def shown(found: list[list[float]]) -> str:
    """In per cent, three and three."""
    return "; ".join("/".join(f"{100 * one:.1f}" for one in three) for three in found)


if __name__ == "__main__":
    main()
