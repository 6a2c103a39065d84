"""Which queries are taken for English: what a user needs is that English ones nearly always are,
and that others, of one word already, mostly are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mmsearch.encoders import BUILTIN_DIR
from mmsearch.encoders.languages import FOREIGN, is_english, log_odds

ENGLISH = """taxi, hotel, piano, restaurant, gift, pizza, kindergarten, burrito, cafe, croissant,
    sushi, karate, koala, tiger, selfie, beach, wedding, snow, passport, receipt, grandma, chat,
    pain, pie, me, IMG_2041, DSC0001.jpg, 2019, π day, naïve, a dog on the beach, red car, old man,
    sunset over mountains, birthday cake, Eiffel tower, Golden Gate Bridge, two cats sleeping,
    screenshot of code, children playing football, fireworks at night, a photo of a flamingo,
    woman with umbrella, no people, wodden bridge, a dgo runing, guitar, castle in Germany,
    B&W portrait"""
FOREIGN_QUERIES = {
    "German": "ein Hund am Strand, roter Sonnenuntergang, spielende Kinder, altes Fahrrad, Katze, "
              "Berge im Nebel, Geburtstagskuchen, zwei Pferde, Frau mit Regenschirm, Brücke",
    "French": "un chien sur la plage, coucher de soleil, vieux vélo, gâteau d'anniversaire, "
              "chat noir, montagnes enneigées, enfants qui jouent, voiture, chien, deux chevaux",
    "Spanish": "un perro en la playa, puesta de sol, bicicleta vieja, gato negro, perro, puente, "
               "montañas nevadas, niños jugando, mujer con paraguas, pastel de cumpleaños",
    "Italian": "un cane sulla spiaggia, tramonto, vecchia bicicletta, gatto nero, cavallo, ponte, "
               "montagne innevate, bambini che giocano, donna con ombrello, torta di compleanno",
    "Dutch": "een hond op het strand, zonsondergang, oude fiets, zwarte kat, besneeuwde bergen, "
             "spelende kinderen, paard, vrouw met paraplu, twee paarden, verjaardagstaart",
    "Portuguese": "um cachorro na praia, pôr do sol, bicicleta velha, gato preto, cachorro, ponte, "
                  "montanhas nevadas, crianças brincando, mulher com guarda-chuva, dois cavalos",
    "Polish": "pies na plaży, zachód słońca, stary rower, czarny kot, ośnieżone góry, samochód, "
              "bawiące się dzieci, kobieta z parasolem, dwa konie, tort urodzinowy",
    "Turkish": "sahilde bir köpek, gün batımı, eski bisiklet, siyah kedi, karlı dağlar, köprü, "
               "oynayan çocuklar, şemsiyeli kadın, iki at, doğum günü pastası",
    "other letters": "собака на пляже, кошка, 海滩上的狗, 猫, 浜辺の犬, ねこ, 해변의 개, 고양이, "
                     "كلب على الشاطئ, قطة, สุนัขบนชายหาด, แมว, σκύλος, כלב, कुत्ता",
}


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", " ").split(",")]


def test_english_queries_are_taken_for_english() -> None:
    assert [text for text in listed(ENGLISH) if not is_english(text)] == []


def test_names_that_the_model_knows_are_taken_for_english() -> None:
    names = [name.decode() for name in np.load(BUILTIN_DIR / "names.npy")["word"]]
    assert np.mean([is_english(name) for name in names]) >= 0.99
    assert np.mean([is_english(f"a photo of a {name}") for name in names]) >= 0.999


@pytest.mark.parametrize("language", FOREIGN_QUERIES)
def test_other_languages_are_not(language: str) -> None:
    queries = listed(FOREIGN_QUERIES[language])
    assert sum(not is_english(text) for text in queries) >= 0.7 * len(queries)


def test_together_nine_of_ten_are_not() -> None:
    queries = [text for texts in FOREIGN_QUERIES.values() for text in listed(texts)]
    assert np.mean([not is_english(text) for text in queries]) >= 0.9


def test_english_is_never_surely_foreign() -> None:
    assert min(map(log_odds, listed(ENGLISH))) > FOREIGN


@given(st.text(alphabet=st.characters(categories=["P", "Z", "Nd", "Cc"])))
def test_without_a_word_nothing_is_foreign(text: str) -> None:
    assert is_english(text)


@given(st.text())
def test_marks_around_do_not_matter(text: str) -> None:
    assert log_odds(f"«{text}»!") == log_odds(text)
