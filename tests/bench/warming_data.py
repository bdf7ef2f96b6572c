"""The two streams of `make bench-warming` as requests with keys, prices and waits: the Bing trace, and the composed bot
week. Reads FOREWORD_DATA (default ../shared/data); what is missing is None."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from gateway.settings import process_environment
from warmer.types import Kind

MONDAY_S = 1_578_268_800.0
"""2020-01-06 00:00 UTC, where the bot week is laid."""
JANUARY_S = 1_577_836_800.0
INPUT_NANOUSD, OUTPUT_NANOUSD = 1_000, 5_000
"""A token of a mid-priced model: 1 and 5 USD a million."""
_TOKENS_A_WORD = 1.35
_TOKENS_PER_S = 80.0
_SIGMA = 0.5
_NAME = re.compile(r"\b([A-Z][A-Z'.-]{2,}):")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a user. `median_s` is what its call takes in the middle, `cost_nanousd` what it costs live."""

    at_s: float
    key: str
    session: str
    cost_nanousd: int
    median_s: float
    ttl_s: float
    kind: Kind = "chat"
    question: str = ""
    attachment: str = ""
    speakers: tuple[str, ...] = ()
    is_new_post: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one answer comes to."""

    cost_nanousd: int
    median_s: float


def price(input_tokens: float, output_tokens: float) -> Price:
    cost = math.ceil(input_tokens * INPUT_NANOUSD + output_tokens * OUTPUT_NANOUSD)
    return Price(cost_nanousd=cost, median_s=0.5 + output_tokens / _TOKENS_PER_S)


def digest(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def key_of(question: str, attachment: str) -> str:
    return digest("asked", attachment, question)


@lru_cache(maxsize=65536)
def chat_price(question: str) -> Price:
    """100 to 300 tokens or so of answer, always the same for the same question."""
    rng = random.Random(question)
    return price(60 + len(question) / 4, 200 * rng.lognormvariate(0.0, 0.4))


def folder() -> Path:
    return Path(process_environment().get("FOREWORD_DATA", "../shared/data"))


def bing(*, per_day: int, ttl_s: float, seed: int) -> Sequence[Request] | None:
    """The month at `per_day` requests a day: a sample by `seed`, each moved by up to a quarter of an hour, since the
    time of day is synthetic anyway; popularity by day is real."""
    path = folder() / "traces" / "bing_us_jan2020_500perday.csv"
    if not path.exists():
        return None
    rng = random.Random(f"bing {seed}")
    with path.open(encoding="utf-8") as lines:
        rows = [(float(row["t_hours"]), row["query"]) for row in csv.DictReader(lines)]
    kept = rows if per_day >= 500 else sorted(rng.sample(rows, len(rows) * per_day // 500))
    found = []
    for number, (hours, query) in enumerate(kept):
        cost = chat_price(query)
        found.append(
            Request(
                at_s=JANUARY_S + max(0.0, hours * 3600 + rng.uniform(-900, 900)),
                key=key_of(query, ""),
                session=f"s{number}",
                cost_nanousd=cost.cost_nanousd,
                median_s=cost.median_s,
                ttl_s=ttl_s,
                question=query,
            )
        )
    return sorted(found, key=lambda one: one.at_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A transcript: its digest, its tokens, and who speaks in it, most first."""

    digest: str
    tokens: float
    speakers: tuple[str, ...]


RUN_TTL_S = 30 * 86_400.0
CHAT_TTL_S = 3600.0
"""As policies/debate-bot.yaml has them: runs 30 days, chat an hour."""


@lru_cache(maxsize=1)
def bot_week() -> Sequence[Request] | None:
    """The composed week; runs cost two steps over the transcript, questions one."""
    path, texts = folder() / "botweek" / "botweek.jsonl.gz", folder() / "debates" / "sections.jsonl.gz"
    if not path.exists() or not texts.exists():
        return None
    with gzip.open(texts, "rt", encoding="utf-8") as lines:
        sections = {row["id"]: row["text"] for row in map(json.loads, lines)}
    attachments: dict[tuple[str, ...], Attachment] = {}
    found = []
    posted: set[str] = set()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            pieces = tuple(row.get("transcript", ()))
            if pieces and pieces not in attachments:
                attachments[pieces] = _attachment(pieces, sections)
            one = _request(row, attachments.get(pieces))
            is_new = one.kind == "run" and one.key not in posted
            posted.add(one.key)
            found.append(replace(one, is_new_post=is_new))
    return found


def _request(row: dict[str, object], about: Attachment | None) -> Request:
    question = str(row.get("text", ""))
    at_s, session = MONDAY_S + float(str(row["t_s"])), str(row["session"])
    if row["kind"] == "pipeline":
        assert about is not None
        cost = price(2 * (about.tokens + 700), 1200)
        return Request(
            at_s=at_s,
            key=digest("run", about.digest),
            session=session,
            cost_nanousd=cost.cost_nanousd,
            median_s=0.5 + 600 / _TOKENS_PER_S,  # the two steps run side by side
            ttl_s=RUN_TTL_S,
            kind="run",
            attachment=about.digest,
            speakers=about.speakers,
        )
    cost = chat_price(question) if about is None else ask_price(question, about.tokens)
    return Request(
        at_s=at_s,
        key=key_of(question, about.digest if about else ""),
        session=session,
        cost_nanousd=cost.cost_nanousd,
        median_s=cost.median_s,
        ttl_s=CHAT_TTL_S,
        question=question,
        attachment=about.digest if about else "",
        speakers=about.speakers if about else (),
    )


def ask_price(question: str, tokens: float) -> Price:
    """A question about a transcript of so many tokens."""
    return price(tokens + 60 + len(question) / 4, 250)


def tokens_of(request: Request) -> float:
    """Return the tokens of the transcript of a run or a question about one, from what it costs."""
    if request.kind == "run":
        return (request.cost_nanousd - 1200 * OUTPUT_NANOUSD) / (2 * INPUT_NANOUSD) - 700
    return (request.cost_nanousd - 250 * OUTPUT_NANOUSD) / INPUT_NANOUSD - 60 - len(request.question) / 4


def _attachment(pieces: tuple[str, ...], sections: dict[str, str]) -> Attachment:
    texts = []
    for piece in pieces:
        name, _, cut = piece.partition("#")
        words = sections[name].split()
        start, _, end = cut.partition("-")
        texts.append(" ".join(words[int(start) : int(end)] if cut else words))
    text = "\n\n".join(texts)
    spoken: Counter[str] = Counter()
    parts = _NAME.split(text)
    for name, words_spoken in zip(parts[1::2], parts[2::2], strict=True):
        spoken[name] += len(words_spoken.split())
    speakers = tuple(name for name, _ in spoken.most_common(8))
    return Attachment(digest=digest("transcript", text), tokens=len(text.split()) * _TOKENS_A_WORD, speakers=speakers)


def wait_s(request_median_s: float, rng: random.Random) -> float:
    """Draw how long a call takes."""
    return request_median_s * rng.lognormvariate(0.0, _SIGMA)
