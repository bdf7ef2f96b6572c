"""Lexical cues for fallacies, stance, sentiment and stop words; a word list, not a judgement."""

from __future__ import annotations

import re
from collections.abc import Mapping


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(patterns) + r")", re.IGNORECASE)


# Classes are the closed catalogue of gateway/pipelines/debate.yaml; tests hold the two together.
FALLACIES: Mapping[str, tuple[re.Pattern[str], str]] = {
    "ad_hominem": (
        _any(
            r"liars?\b",
            r"crooked\b",
            r"incompetent\b",
            r"clueless\b",
            r"disgrace\b",
            r"stupid\b",
            r"hypocrites?\b",
            r"coward\w*",
            r"corrupt\b",
            r"amateur\b",
            r"never (?:run|managed|held|built) (?:a|an|any)\b",
            r"(?:he|she|someone) who (?:can't|cannot|couldn.t)\b",
            r"laugh(?:able|ing ?stock)\b",
            r"lazy\b",
        ),
        "the words are about the person, not the argument",
    ),
    "appeal_to_authority": (
        _any(
            r"experts?\b",
            r"economists?\b",
            r"scientists?\b",
            r"generals?\b",
            r"professors?\b",
            r"nobel\b",
            r"a friend of mine\b",
            r"celebrit\w+",
            r"a (?:famous|respected|very smart) \w+",
        ),
        "somebody's standing is offered in place of evidence",
    ),
    "appeal_to_emotion": (
        _any(
            r"children\b",
            r"grandmothers?\b",
            r"suffer\w*",
            r"terrif\w+",
            r"tears\b",
            r"heart ?break\w*",
            r"blood\b",
            r"horrible\b",
            r"horrif\w+",
            r"tragic\w*",
            r"afraid\b",
            r"nightmare\b",
            r"devastat\w+",
            r"disasters?\b",
        ),
        "loaded wording asks for a feeling",
    ),
    "appeal_to_popularity": (
        _any(
            r"every(?:body|one) (?:\w+ )?(?:knows?|agrees?|wants?|says?|understands?|does)\b",
            r"nobody (?:\w+ )?(?:believes|wants|likes)\b",
            r"most people (?:think|agree|want|know)\b",
            r"millions of (?:people|americans|voters)\b",
            r"the polls? (?:say|show)",
            r"all our neighbou?rs\b",
        ),
        "how many believe it is offered as a reason",
    ),
    "circular_reasoning": (
        _any(
            r"because (?:it|that|this) is (?:simply )?(?:the right|right|true|necessary|what)\b",
            r"by definition\b",
            r"because it just is\b",
            r"that(?:'|’)s why it(?:'|’)s (?:true|right)\b",
        ),
        "the conclusion is given as its own reason",
    ),
    "equivocation": (
        _any(r"depends (?:on )?what you mean\b", r"in a sense\b", r"free(?:dom)? (?:isn't|is not|means)\b"),
        "a word may change its meaning on the way",
    ),
    "false_cause": (
        _any(
            r"ever since\b",
            r"as a result of\b",
            r"because of (?:him|her|you|them|my opponent|that|this)\b",
            r"the (?:very )?(?:year|month|week) after\b",
            r"no coincidence\b",
            r"since (?:he|she|they|you) (?:took|came)\b",
        ),
        "one thing following another is told as cause and effect",
    ),
    "false_dilemma": (
        _any(
            r"either\b.{1,80}\bor\b",
            r"only two (?:choices|options|ways)\b",
            r"no (?:other )?(?:choice|alternative)\b",
            r"you(?:'|’)re with us or\b",
            r"if we don(?:'|’)t\b.{1,60}\bthen\b",
        ),
        "two ways are offered as if there were no third",
    ),
    "hasty_generalisation": (
        _any(
            r"every single\b",
            r"all of them\b",
            r"none of them\b",
            r"they(?:'|’)re all\b",
            r"always\b",
            r"i (?:met|know|talked to|spoke to) (?:a|one|two)\b",
            r"never once\b",
        ),
        "few cases, or none, carry a general statement",
    ),
    "red_herring": (
        _any(
            r"what about\b",
            r"let(?:'|’)s talk about\b",
            r"the real (?:question|issue|problem|scandal)\b",
            r"but look at\b",
            r"why is nobody (?:asking|talking)\b",
        ),
        "the talk is moved to another subject",
    ),
    "slippery_slope": (
        _any(
            r"next thing\b",
            r"before you know\b",
            r"where does it (?:end|stop)\b",
            r"will end up\b",
            r"and then\b.{1,60}\bthen\b",
            r"the first step (?:to|toward)\w*\b",
            r"it won(?:'|’)t stop\b",
            r"sooner or later\b",
        ),
        "a first step is said to lead to the last one",
    ),
    "slogan": (
        _any(
            r"great again\b",
            r"yes,? we can\b",
            r"enough is enough\b",
            r"jobs,? jobs\b",
            r"(?:freedom|people|families) first\b",
            r"our (?:town|city|country|nation|future),? our (?:\w+)\b",
            r"change (?:we|you) can\b",
        ),
        "a catch-phrase stands where a reason should",
    ),
    "straw_man": (
        _any(
            r"so (?:what )?you(?:'|’)re saying\b",
            r"my opponent (?:wants|would|thinks|believes)\b",
            r"(?:he|she) wants to\b",
            r"(?:he|she|they) would (?:have|let|rather)\b",
            r"in (?:his|her|your|their) (?:perfect )?world\b",
        ),
        "the other side's position is restated, perhaps in a weaker form",
    ),
}

ASSERTIONS = _any(
    r"will\b", r"must\b", r"should\b", r"need to\b", r"have to\b", r"is\b", r"are\b", r"was\b", r"because\b"
)
OPPOSING = _any(
    r"not\b", r"no\b", r"never\b", r"\w+n(?:'|’)t\b", r"wrong\b", r"against\b", r"oppose\w*", r"stop\b", r"cut\b"
)
SUPPORTING = _any(r"should\b", r"must\b", r"support\w*", r"need to\b", r"believe\b", r"will\b", r"agree\b", r"proud\b")
POSITIVE = _any(
    r"good\b",
    r"great\b",
    r"better\b",
    r"best\b",
    r"proud\b",
    r"hope\b",
    r"strong\w*",
    r"success\w*",
    r"safe\w*",
    r"fair\b",
)
NEGATIVE = _any(
    r"bad\b",
    r"worse\b",
    r"worst\b",
    r"wrong\b",
    r"crisis\b",
    r"fail\w*",
    r"lost\b",
    r"los(?:e|ing)\b",
    r"disaster\w*",
    r"problem\w*",
    r"afraid\b",
    r"horrible\b",
    r"die\b",
    r"dying\b",
    r"corrupt\b",
)

_STOP_WORDS = (
    "about above after again against also although always because been before being between both could does doing down "
    "during each even ever every from further going gonna have having here hers herself himself into itself just know "
    "like made make many maybe mean more most much must myself need never nothing only other ourselves over people "
    "really right said same says shall should since some something still such than thank that thats their them "
    "themselves then there theyre these they thing things think this those though through under until upon very want "
    "wants well were what when where which while will with without would your youre yours yourself applause laughter "
    "okay please first second let lets get got way say see take tell told talk good great come came goes went done "
    "yes sir madam mister senator governor president secretary vice look back put give gave year years time day one "
    "two lot cannot around another dont didnt doesnt isnt arent wasnt wont cant ive were hes shes"
)

STOP_WORDS = frozenset(_STOP_WORDS.split())
