"""One form for the forms of a word: plural, -ing, -ed, -ly, irregular verbs, British spelling, close synonyms.

An ending is cut only where a common word remains, so that names keep theirs; synonyms are those that ask the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gateway.cache.semantic.guards.lexicon import COMMON, FUNCTION, LIGHT
from gateway.cache.semantic.guards.listing import groups

_KNOWN: Final = COMMON | LIGHT | FUNCTION
_VOWELS: Final = frozenset("aeiou")

_IRREGULAR: Final = {
    form: base
    for base, *forms in groups("""
go went gone goes;take took taken;give gave given;get got gotten;make made;find found;think thought;buy bought
;sell sold;lose lost;win won;write wrote written;eat ate eaten;drink drank drunk;drive drove driven;speak spoke spoken
;break broke broken;choose chose chosen;know knew known;grow grew grown;fall fell fallen;feel felt;leave left
;teach taught
;learn learnt;spend spent;pay paid;say said;tell told;run ran;begin began begun;keep kept;sleep slept;meet met;send sent
;build built;hear heard;see saw seen;come came;become became;forget forgot forgotten;steal stole stolen;catch caught
;bring brought;wear wore worn;die died dying dies;lie lied lying;use used using;beat beaten;kill killed;lead led
;hold held;stand stood;understand understood;sit sat;swim swam swum;sing sang sung;fly flew flown;ride rode ridden
;child children kid kids;man men;woman women;foot feet;tooth teeth;mouse mice;life lives;wife wives;knife knives
;half halves;self selves;person persons;people peoples;prevent preventing;withdraw withdrew withdrawn;seek sought
;try tries tried trying;study studies studied studying;country countries;city cities;company companies
""")
    for form in forms
}

_SYNONYMS: Final = {
    word: head
    for head, *rest in groups("""
improve enhance boost;buy purchase;quit stop cease;movie film;phone cellphone smartphone telephone
;picture photo image photograph;car automobile;learn study;big large huge;difference differ different distinction
;definition define meaning;benefit advantage merit;disadvantage drawback downside
;remove delete erase eliminate;fix repair;recover retrieve restore;choose select pick;happen occur
;company firm corporation;nation country;website site webpage;app application;fastest quickest;job employment
;make earn;example sample instance;increase raise;reduce decrease lower;prevent avoid;obtain acquire
;begin start commence;fear afraid scared;beautiful pretty;intelligent smart clever;rich wealthy;famous well-known
;money cash;salary pay wage;exam examination;ad advertisement advert;math maths mathematics
;tv television;bike bicycle;laptop notebook;overweight fat;vs versus;usa america american
;uk britain;photography photographing;sex intercourse;cure treat treatment heal;hotel hotels
;connect link;create build;handle deal;affect impact influence effect;important significant
;conquer overcome;marry marriage;programmer coder;programming coding;book books;doctor physician;lawyer attorney
;holiday vacation;error mistake;trip journey;answer reply;guess assume;shop store;cheap inexpensive;attorney lawyer
;sick ill;couch sofa;freshman fresher;gas petrol;bathroom toilet;apartment flat;trash garbage;elevator lift
;join enroll;percent percentage;require need;relationship relation;grow develop
""")
    for word in rest
}


@lru_cache(maxsize=32768)
def lemma_of(word: str) -> str:
    """Return the form under which a lower-case word is compared."""
    base = _base(word)
    return _SYNONYMS.get(base, base)


def _base(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in FUNCTION or word in _SYNONYMS or len(word) < 4 or not word.isascii():
        return word
    word = _american(word)
    if word in _KNOWN and not (word.endswith("s") and word[:-1] in _KNOWN):
        return word
    return _without_ending(word)


def _american(word: str) -> str:
    if word.endswith("our") and word[:-3] + "or" in _KNOWN:
        return word[:-3] + "or"
    for ending, other in (("ise", "ize"), ("ised", "ized"), ("ising", "izing"), ("isation", "ization")):
        if len(word) > len(ending) + 3 and word.endswith(ending):
            return word[: -len(ending)] + other
    return word


def _without_ending(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("s") and word[:-1] in _KNOWN:
        return word[:-1]
    if word.endswith("es") and word[:-2].endswith(("s", "x", "z", "ch", "sh")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    if word.endswith("ly") and word[:-2] in _KNOWN:
        return word[:-2]
    for ending in ("ing", "ed", "est", "er"):
        if word.endswith(ending):
            return _verb(word, word[: -len(ending)])
    return word


def _verb(word: str, stem: str) -> str:
    if stem in _KNOWN:
        return stem
    if stem + "e" in _KNOWN:
        return stem + "e"
    if len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] not in _VOWELS and stem[:-1] in _KNOWN:
        return stem[:-1]
    if stem.endswith("i") and stem[:-1] + "y" in _KNOWN:
        return stem[:-1] + "y"
    return word
