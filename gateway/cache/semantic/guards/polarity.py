"""Negation and opposites: a question and its contrary embed alike and have different answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.cache.semantic.guards.lemma import lemma_of
from gateway.cache.semantic.guards.listing import groups, listed

_NEGATORS: Final = frozenset(
    listed(
        "not no never without none nobody nothing neither nor nowhere hardly barely except unless lack lacking stop"
        " avoid prevent refuse fail quit cease non"
    )
)
_TAGS: Final = (("or", "not"), ("if", "not"))
_PREFIXES: Final = ("un", "in", "im", "il", "ir", "dis", "non", "mis", "anti", "de", "counter")

_OPPOSITES: Final = frozenset(
    frozenset(lemma_of(word) for word in pair)
    for pair in groups("""
buy sell;increase reduce;increase decrease;gain lose;win lose;before after;with without;more less;more fewer;most least
;man woman;boy girl;male female;husband wife;father mother;son daughter;brother sister;boyfriend girlfriend;pro con
;benefit disadvantage;good bad;best worst;better worse;right wrong;true false;high low;up down;left right;in out;on off
;open close;start end;begin finish;begin stop;start stop;import export;lend borrow;teach learn;push pull;hot cold
;warm cool;hard easy;difficult easy;fast slow;quick slow;early late;old new;old young;big small;long short;tall short
;rich poor;cheap expensive;strong weak;light dark;light heavy;black white;day night;love hate;like dislike;hire fire
;accept reject;allow ban;allow forbid;add remove;attach detach;enter exit;enter leave;arrive leave;come go;give take
;send receive;give receive;deposit withdraw;lock unlock;enable disable;install uninstall;encrypt decrypt;encode decode
;compress extract;upload download;connect disconnect;follow unfollow;block unblock;subscribe unsubscribe;join leave
;above below;over under;inside outside;internal external;upper lower;north south;east west;first last;next previous
;past future;always never;all none;everyone nobody;everything nothing;positive negative;maximum minimum;max min
;major minor;public private;legal illegal;safe dangerous;true fake;real fake;alive dead;live die;birth death;war peace
;success failure;succeed fail;pass fail;guilty innocent;married single;marry divorce;employed unemployed;indoor outdoor
;domestic foreign;national international;debit credit;profit loss;supply demand;asset liability;import export
;introvert extrovert;liberal conservative;democrat republican;vegetarian meat;acid base;front back;top bottom
;wake sleep;asleep awake;wet dry;full empty;clean dirty;thick thin;wide narrow;deep shallow;rough smooth;sharp blunt
;loud quiet;happy sad;happy unhappy;brave coward;strength weakness;friend enemy;agree disagree;prove disprove
;attack defend;build destroy;create destroy;save spend;save delete;show hide;remember forget;find lose
;laugh cry;smile frown
;question answer;ascend descend;rise fall;grow shrink;expand contract;freeze melt;boil freeze;heat cool;float sink
;lift drop;turn_on turn_off;sunrise sunset;morning evening;am pm;bc ad;plus minus;sum difference;multiply divide
;parent child;employer employee;teacher student;doctor patient;buyer seller;landlord tenant;host guest;winner loser
;leader follower;king queen;prince princess;actor actress;he she;him her;his her;himself herself
;all some;all most;all few;all only;most few;always sometimes;always often;never often;give get;ask answer;ask tell
;quit begin;quit continue;continue stop;include exclude;approve deny;confirm deny;forward backward;clockwise
;horizontal vertical;even odd;natural artificial;common rare;simple complex;basic advanced;modern ancient
;optional mandatory
""")
)
Polarity = tuple[int, frozenset[str]]
"""How many negators, and every word's compared form."""


def read(words: Sequence[str], bases: Sequence[str]) -> Polarity:
    """Count the negators among `words`; `bases` are their compared forms."""
    if _NEGATORS.isdisjoint(words):
        return 0, frozenset(bases)
    count = sum(1 for at, word in enumerate(words) if word in _NEGATORS and not (at and (words[at - 1], word) in _TAGS))
    return count, frozenset(bases)


def same(asked: Polarity, stored: Polarity) -> bool:
    """Whether neither denies, or turns into its opposite, what the other says."""
    if asked[0] != stored[0]:
        return False
    if asked[1] == stored[1]:
        return True
    only_asked, only_stored = asked[1] - stored[1], stored[1] - asked[1]
    if any(frozenset((one, other)) in _OPPOSITES for one in only_asked for other in only_stored):
        return False
    return not (_has_contrary(only_asked, stored[1]) or _has_contrary(only_stored, asked[1]))


def _has_contrary(words: frozenset[str], others: frozenset[str]) -> bool:
    return any(
        word[len(prefix) :] in others
        for word in words
        if word.startswith(_PREFIXES) and len(word) > 4
        for prefix in _PREFIXES
        if word.startswith(prefix)
    )
