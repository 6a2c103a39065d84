"""Labels by words and by examples, on the pictures that ship with the package."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO

from mmsearch import Collection
from mmsearch.classification import (
    NONE,
    Decided,
    Things,
    decide,
    few_shot,
    gather,
    read_examples,
    read_labels,
    report_of,
    where_examples,
    zero_shot,
)
from mmsearch.classification.by_examples import Method, fitted, softmax, without_own_fold
from mmsearch.classification.labels import labels_of
from mmsearch.errors import UsageError

MOODS = DEMO / "moods.csv"


@pytest.fixture(scope="module")
def demo(demo_index: Path) -> Collection:
    return Collection.open(demo_index)


def by_name(things: Things, decided: list[Decided]) -> dict[str, str | None]:
    return {Path(row.item.uri).stem: one.label
            for row, one in zip(things.rows, decided, strict=True)}


# -- by words ------------------------------------------------------------------------------------


def test_words_find_their_pictures_and_nothing_else(demo: Collection) -> None:
    made = zero_shot(demo.encoder, read_labels("cat,dog,horse"))
    things = gather(demo, "image")
    shares = made.probabilities(things)
    assert shares.shape == (50, 3) and (shares >= 0).all() and (shares.sum(1) < 1).all()
    labels = by_name(things, decide(made.labels, shares))
    assert {name: label for name, label in labels.items() if label} == {
        "cat": "cat", "dogs": "dog", "horse": "horse"}


def test_always_gives_everything_a_label(demo: Collection) -> None:
    made = zero_shot(demo.encoder, read_labels("animal,building,flower,vehicle"), always=True)
    things = gather(demo, "image")
    np.testing.assert_allclose(made.probabilities(things).sum(1), 1)
    labels = by_name(things, decide(made.labels, made.probabilities(things)))
    assert None not in labels.values()
    assert labels["dahlia"] == "flower" and labels["bicycle"] == "vehicle"


def test_texts_alone_and_together_with_pictures(demo: Collection) -> None:
    labels = read_labels("cat,dog,horse")
    for features in ("text", "fused"):
        made = zero_shot(demo.encoder, labels, features)  # type: ignore[arg-type]
        things = gather(demo, features)  # type: ignore[arg-type]
        found = by_name(things, decide(made.labels, made.probabilities(things)))
        assert found["cat"] == "cat" and found["horse"] == "horse"
    captions = gather(demo, "text", find="text")
    assert len(captions.rows) == 100
    with pytest.raises(UsageError, match="texts have no picture"):
        gather(demo, "fused", find="text")


def test_fused_does_with_the_picture_where_there_is_no_text(
        tmp_path: Path, demo: Collection) -> None:
    from conftest import add

    alone = Collection.create(tmp_path / "index")
    add(alone, DEMO / "cat.jpg", DEMO / "lake.jpg")
    labels = read_labels("cat,dog,horse")
    things = gather(alone, "fused")
    np.testing.assert_allclose(
        zero_shot(demo.encoder, labels, "fused").probabilities(things),
        zero_shot(demo.encoder, labels, "image").probabilities(things))
    assert gather(alone, "text").rows == []


def test_labels_are_read_as_words_lines_and_prompts(tmp_path: Path) -> None:
    assert [one.name for one in read_labels(" Cat, dog ,,cat")] == ["Cat", "dog", "cat"]
    assert "a photo of a cat" in read_labels("Cat,dog")[0].prompts
    file = tmp_path / "labels.txt"
    file.write_text("\ufeffcalm: a quiet lake\ncalm: a still garden\n\nbusy\n", "utf-8")
    calm, busy = read_labels(str(file))
    assert calm == ("calm", ("a quiet lake", "a still garden"))
    assert busy.prompts == read_labels("busy,x")[0].prompts
    assert read_labels("a,b", ["{} from above"])[1].prompts == ("b from above",)
    for wrong, reason in (("cat", "two labels"), ("", "two labels"),
                          ("labels.txt", "which 'labels.txt' is not"), (": x,b", "no label before"),
                          (",".join(map(str, range(2001))), "too many")):
        with pytest.raises(UsageError, match=reason):
            read_labels(wrong)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(UsageError, match="cannot be read as text"):
        read_labels(str(tmp_path / "binary"))


# -- by examples ---------------------------------------------------------------------------------


def test_a_table_teaches_and_fused_features_know_most(demo: Collection) -> None:
    right = {}
    for features in ("image", "text", "fused"):
        examples = read_examples(demo, MOODS, features, column="mood")  # type: ignore[arg-type]
        assert Counter(examples.labels) == {"calm": 12, "cheerful": 12, "gloomy": 10}
        made = few_shot(examples.things, examples.labels, features)  # type: ignore[arg-type]
        assert made.guesses is not None
        np.testing.assert_allclose(made.guesses.sum(1), 1)
        true = [made.labels.index(label) for label in examples.labels]
        right[features] = (made.guesses.argmax(1) == true).mean()
        np.testing.assert_allclose(made.probabilities(examples.things).sum(1), 1)
    assert right["fused"] >= max(right["image"], right["text"]) > 0.65


def test_examples_that_are_not_in_the_collection_are_encoded(
        demo: Collection, tmp_path: Path) -> None:
    from conftest import add

    other = Collection.create(tmp_path / "index")
    add(other, DEMO / "cat.jpg", DEMO / "lake.jpg")
    here = read_examples(demo, MOODS, "image", column="mood")
    there = read_examples(other, MOODS, "image", column="mood")
    order = {row.item.uri: n for n, row in enumerate(there.things.rows)}
    at = [order[row.item.uri] for row in here.things.rows]
    assert [there.labels[n] for n in at] == here.labels
    np.testing.assert_allclose(there.things.images[at], here.things.images, atol=2e-3)
    assert other.count() == 2


def test_folders_are_labels(demo: Collection, folder: Path) -> None:
    with MOODS.open() as file:
        for row in csv.DictReader(file):
            (folder / row["mood"] / "deep").mkdir(parents=True, exist_ok=True)
            shutil.copy(DEMO / row["image"], folder / row["mood"] / "deep")
    shutil.copy(DEMO / "cat.jpg", folder)  # in no folder: no label
    (folder / "calm" / "broken.jpg").write_bytes(b"no picture")
    examples = read_examples(demo, folder, "image")
    assert Counter(examples.labels) == {"calm": 12, "cheerful": 12, "gloomy": 10}
    assert [Path(one.path).name for one in examples.skipped] == ["broken.jpg"]


def test_items_of_the_collection_are_examples(demo: Collection) -> None:
    examples = where_examples(demo, [("cat", "path = */cat.jpg"), ("lake", "path = */lake.jpg")],
                              "image")
    made = few_shot(examples.things, examples.labels)
    assert made.guesses is None and str(made.method) == "nearest mean"
    things = gather(demo, "image")
    labels = by_name(things, decide(made.labels, made.probabilities(things)))
    assert (labels["cat"], labels["lake"], labels["trail"]) == ("cat", "lake", "lake")
    with pytest.raises(UsageError, match="no item meets"):
        where_examples(demo, [("a", "path = none")], "image")
    with pytest.raises(UsageError, match="is an example of 'a' and 'b'"):
        where_examples(demo, [("a", "path = */cat.jpg"), ("b", "width > 0")], "image")


def test_what_cannot_teach_is_refused(demo: Collection, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(f"image,kind\n{DEMO / 'cat.jpg'},a\n")
    with pytest.raises(UsageError, match=r"a column 'label'.*; it has kind$"):
        read_examples(demo, tmp_path / "table.csv", "image")
    one = read_examples(demo, tmp_path / "table.csv", "image", column="kind")
    with pytest.raises(UsageError, match=r"two labels or more are needed, not of 1 \('a'\)"):
        few_shot(one.things, one.labels)
    with pytest.raises(UsageError, match="no picture with a text meets 'path = "):
        where_examples(demo, [("a", f"path = {tmp_path}/x.jpg")], "text")
    shutil.copy(DEMO / "cat.jpg", tmp_path / "x.jpg")  # nowhere has it a caption
    (tmp_path / "bare.csv").write_text("image,label\nx.jpg,a\n")
    for features in ("text", "fused"):
        with pytest.raises(UsageError, match=f"has a text, which the features '{features}' need"):
            read_examples(demo, tmp_path / "bare.csv", features)  # type: ignore[arg-type]
    (tmp_path / "texts" / "a").mkdir(parents=True)
    (tmp_path / "texts" / "a" / "1.txt").write_text("a cat")
    with pytest.raises(UsageError, match="is a picture; to label texts: --find text"):
        read_examples(demo, tmp_path / "texts", "image")
    with pytest.raises(UsageError, match="folders named after the labels"):
        read_examples(demo, DEMO, "image")
    with pytest.raises(UsageError, match="nowhere"):
        read_examples(demo, tmp_path / "nowhere", "image")


def test_a_template_says_where_the_label_goes() -> None:
    (cat, _) = labels_of(["cat", "dog"], ["{} of {x} from {1}"])
    assert cat.prompts == ("cat of {x} from {1}",)
    with pytest.raises(UsageError, match="where the label goes, which 'a photo' has not"):
        labels_of(["cat", "dog"], ["{}", "a photo"])


def test_what_meets_two_conditions_of_a_label_is_one_example(demo: Collection) -> None:
    examples = where_examples(demo, [("cat", "path = */cat.jpg"), ("cat", "path = */c*t.jpg"),
                                     ("lake", "path = */lake.jpg")], "image")
    assert len(examples.labels) == len({row.id for row in examples.things.rows}) >= 2
    assert examples.labels[-1] == "lake"


def test_where_one_label_has_one_example_the_others_are_still_tried() -> None:
    x = np.eye(3, dtype=np.float32)
    y = np.array([0, 1, 1])
    logits = without_own_fold(x, y, 2, np.array([0, 1, 1]), Method())
    assert logits.argmax(1).tolist() == [1, 0, 0]  # what is in no other fold cannot be found


@pytest.mark.parametrize("labels", [2, 3])
def test_the_probe_is_scikit_learns(labels: int) -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    y = np.arange(60) % labels
    x = (random.standard_normal((60, 8)) + 2 * np.eye(8)[y]).astype(np.float32)
    weights, bias = fitted(x, y, labels, Method(0.5))
    model = LogisticRegression(C=0.5, max_iter=300, tol=1e-3).fit(x * np.sqrt(8), y)
    np.testing.assert_allclose(softmax(x @ weights.T + bias), model.predict_proba(x * np.sqrt(8)),
                               atol=1e-4)


# -- what comes of it ----------------------------------------------------------------------------


def test_the_likeliest_is_decided_on_unless_it_is_none() -> None:
    shares = np.array([[0.6, 0.3], [0.2, 0.1], [0.45, 0.35]])
    assert decide(["a", "b"], shares) == [
        Decided("a", 0.6), Decided(None, pytest.approx(0.7)), Decided("a", 0.45)]
    assert decide(["a", "b"], shares, 0.5)[2] == Decided(None, pytest.approx(0.55))


def test_a_report_has_the_figures_of_scikit_learn() -> None:
    from sklearn.metrics import (
        balanced_accuracy_score,
        confusion_matrix,
        f1_score,
        precision_recall_fscore_support,
    )

    random = np.random.default_rng(1)
    names = ["x", "y", "z"]
    true = [names[n] for n in random.integers(0, 3, 200)]
    guess = [t if random.random() < 0.6 else names[n]
             for t, n in zip(true, random.integers(0, 3, 200), strict=True)]
    report = report_of(true, [Decided(one, 0.6) for one in guess])
    np.testing.assert_array_equal(report.confusion, confusion_matrix(true, guess))
    expected = zip(*precision_recall_fscore_support(true, guess), strict=True)
    for one, figures in zip(report.labels, expected, strict=True):
        assert (one.precision, one.recall, one.f1, one.support) == pytest.approx(figures)
    assert report.balanced == pytest.approx(balanced_accuracy_score(true, guess))
    assert report.macro_f1 == pytest.approx(f1_score(true, guess, average="macro"))
    assert report.error == pytest.approx(abs(report.accuracy - 0.6))


def test_none_may_be_what_is_true() -> None:
    report = report_of([NONE, "a"], [Decided("a", 0.9), Decided("a", 0.9)])
    assert (report.names, report.confusion.tolist()) == (["a", NONE], [[1, 0], [1, 0]])
    assert report.accuracy == 0.5


def test_none_of_these_is_a_column_and_never_right() -> None:
    report = report_of(["a", "b"], [Decided("a", 0.9), Decided(None, 0.8)])
    assert report.names == ["a", "b", "(none)"]
    assert report.confusion.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert (report.accuracy, report.balanced) == (0.5, 0.5)
    assert [one.label for one in report.labels] == ["a", "b"]
