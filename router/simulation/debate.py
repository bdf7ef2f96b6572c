"""Answers to the shipped debate steps, drawn from the transcript itself by word lists; no language model reads it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from router.simulation import cues

Answer = dict[str, object]

_LABEL = re.compile(
    r"^[ \t]*(?:[\[(]?\d[\d/:.,\-\sAPMapm]*[\])]?[ \t]*[-–]?[ \t]*)?\**<?(?P<name>[^\W\d_][\w .'’\-]{0,39}?)>?"
    r"(?:[ \t]*\((?:continuing|\d[\d:. ]*)\))?(?::\**(?=\s)|[ \t]*[—–-][ \t]*(?:today|yesterday|\d[\d/.\-]*)\b[^\n]*$)",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE = re.compile(r"(?:[^.!?…\n]|[.!?…](?=[^\s\"'”’)]))+(?:[.!?…]+[\"'”’)]*|(?=\n)|$)")
_WORD = re.compile(r"(?<![\w'’])[A-Za-z][A-Za-z\-]{3,}(?![\w'’])")
_MAX_CLAIMS = 8
_MAX_FALLACIES = 16
_MAX_TOPICS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One sentence, exactly as it stands in the transcript, and who says it."""

    speaker: str
    text: str


def sentences(transcript: str) -> Iterator[Sentence]:
    """Yield the sentences of every turn; each `text` is a substring of `transcript`."""
    labels = list(_LABEL.finditer(transcript))
    starts = [0, *(label.end() for label in labels)]
    ends = [*(label.start() for label in labels), len(transcript)]
    names = ["unknown", *(label.group("name").strip() for label in labels)]
    for name, start, end in zip(names, starts, ends, strict=True):
        for found in _SENTENCE.finditer(transcript, start, end):
            if text := found.group().strip():
                yield Sentence(speaker=name, text=text)


def answer(step: str, transcript: str) -> Answer | None:
    """Return the content of a shipped step (`debate_analysis` …), None for a step that is not one of them."""
    make = _STEPS.get(step)
    return make(list(sentences(transcript))) if make else None


def _analysis(said: list[Sentence]) -> Answer:
    topics = _topics(said)
    ranked = sorted(range(len(said)), key=lambda at: -_claim_score(said[at], topics))
    chosen = sorted(at for at in ranked[:_MAX_CLAIMS] if _claim_score(said[at], topics) > 0)
    claims = [_claim(said[at], topics) for at in chosen]
    speakers = list(dict.fromkeys(sentence.speaker for sentence in said))
    names = ", ".join(speakers[:6]) or "nobody"
    first = said[chosen[0]].text if chosen else "no assertion was found"
    return {
        "topics": [{"name": topic, "keywords": words} for topic, words in topics.items()],
        "claims": claims,
        "summary": f"[simulated] Extract of {len(said)} sentences by {names}; most frequent words: "
        f"{', '.join(topics) or 'none'}. First claim found: {first}",
    }


def _topics(said: list[Sentence]) -> dict[str, list[str]]:
    words: Counter[str] = Counter()
    beside: dict[str, Counter[str]] = {}
    for sentence in said:
        content = [word for word in map(str.lower, _WORD.findall(sentence.text)) if word not in cues.STOP_WORDS]
        words.update(content)
        for word in set(content):
            beside.setdefault(word, Counter()).update(other for other in content if other != word)
    names = {sentence.speaker.lower() for sentence in said}
    ranked = sorted((word for word in words if word not in names), key=lambda word: (-words[word], word))
    top = ranked[:_MAX_TOPICS]
    return {word: sorted(beside[word], key=lambda other: (-beside[word][other], other))[:3] for word in top}


def _topic_of(text: str, topics: Mapping[str, object]) -> str:
    lowered = text.lower()
    return next((topic for topic in topics if topic in lowered), "other")


def _claim_score(sentence: Sentence, topics: Mapping[str, object]) -> int:
    length = len(sentence.text.split())
    if not 6 <= length <= 45 or sentence.text.endswith("?"):
        return 0
    numbers = len(re.findall(r"\d+", sentence.text))
    asserted = len(cues.ASSERTIONS.findall(sentence.text))
    return asserted * (2 + numbers + (3 if _topic_of(sentence.text, topics) != "other" else 0))


def _claim(sentence: Sentence, topics: Mapping[str, object]) -> Answer:
    text = sentence.text
    against, favour = len(cues.OPPOSING.findall(text)), len(cues.SUPPORTING.findall(text))
    good, bad = len(cues.POSITIVE.findall(text)), len(cues.NEGATIVE.findall(text))
    return {
        "speaker": sentence.speaker,
        "quote": text,
        "topic": _topic_of(text, topics),
        "stance": "against" if against > favour else "for" if favour > against else "neutral",
        "sentiment": "positive" if good > bad else "negative" if bad > good else "neutral",
    }


def _hits(sentence: Sentence) -> Iterator[tuple[int, str, str, str]]:
    """Yield (number of cues, class, first cue, why) for every class that has a cue in the sentence."""
    for name, (pattern, why) in cues.FALLACIES.items():
        found = list(pattern.finditer(sentence.text))
        if found:
            yield len(found), name, found[0].group(), why


def _fallacy(said: list[Sentence]) -> Answer:
    found = [(count, at, name, cue, why) for at, item in enumerate(said) for count, name, cue, why in _hits(item)]
    strongest = sorted(found, key=lambda hit: (-hit[0], hit[1]))[:_MAX_FALLACIES]
    return {
        "fallacies": [
            {
                "class": name,
                "speaker": said[at].speaker,
                "quote": said[at].text,
                "explanation": f"[simulated] Word cue “{cue}”: {why}. No language model read this.",
                "confidence": min(0.75, round(0.3 + 0.15 * count, 2)),
            }
            for count, at, name, cue, why in sorted(strongest, key=lambda hit: (hit[1], hit[2]))
        ]
    }


def _verdict(said: list[Sentence]) -> Answer:
    spoken = Counter(sentence.speaker for sentence in said)
    marked = Counter(sentence.speaker for sentence in said if any(_hits(sentence)))
    rows = [
        {
            "speaker": name,
            "soundness": round(1.0 - marked[name] / total, 3),
            "reason": f"[simulated] {marked[name]} of {total} sentences hold a fallacy cue.",
        }
        for name, total in spoken.items()
    ]
    worst = max(said, key=lambda sentence: sum(hit[0] for hit in _hits(sentence)), default=None)
    quote = worst is not None and any(_hits(worst))
    return {
        "verdict": "[simulated] Shares of sentences without a fallacy cue; a word count, not a judgement.",
        "speakers": rows,
        "key_quotes": [
            {"speaker": worst.speaker, "quote": worst.text, "why": "[simulated] Holds the most fallacy cues."}
        ]
        if worst is not None and quote
        else [],
    }


_STEPS: Mapping[str, Callable[[list[Sentence]], Answer]] = {
    "debate_analysis": _analysis,
    "debate_fallacy": _fallacy,
    "debate_verdict": _verdict,
}
