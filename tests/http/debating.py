"""A short debate, what models say of it, and runs of the debate pipeline, for the tests that share them."""

from __future__ import annotations

import json

from tests.http.folding import Json
from tests.http.running import Answer, Gateway
from tests.provider import Reply

TEXT = "ANN: Trams are quiet. Everybody says so.\nBOB: Trams are loud, and you are a fool.\n"
HINTS = {"analysis": "small", "fallacy": "large", "verdict": "large"}
CLAIM = {"topic": "trams", "stance": "for", "sentiment": "positive"}
ANALYSIS = {
    "topics": [{"name": "trams", "keywords": ["quiet"]}],
    "claims": [
        {"speaker": "ann", "quote": "Trams  are quiet.", **CLAIM},
        {"speaker": "Ann", "quote": "Trams are free of charge.", **CLAIM},
    ],
    "summary": "They talk about trams.",
}
AD_HOMINEM = {"class": "ad_hominem", "explanation": "It is about the person.", "confidence": 0.9}
FALLACY = {"fallacies": [{"speaker": "ANN", "quote": "you are a fool", **AD_HOMINEM}]}
VERDICT: Json = {"verdict": "Even.", "speakers": [], "key_quotes": []}
NOTHING: Json = {"topics": [], "claims": [], "summary": "Trams."}


def said(document: object, **more: object) -> Reply:
    """A model's JSON answer, in pieces as it would be streamed."""
    text = json.dumps(document)
    words = tuple(text[start : start + 40] for start in range(0, len(text), 40))
    return Reply(words=words, **more)  # type: ignore[arg-type]


def script(gateway: Gateway, *, analysis: Reply | None = None, fallacy: Reply | None = None) -> None:
    gateway.provider.always("up-small", analysis or said(ANALYSIS))
    gateway.provider.always("up-large", fallacy or said(FALLACY))


async def debate(gateway: Gateway, transcript: str = TEXT, **fields: object) -> Answer:
    return await gateway.post("/v1/pipelines/debate", {"transcript": transcript, "model_hints": HINTS, **fields})
