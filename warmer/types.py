"""What the warmer remembers of requests, predicts and asks for: when which answer is wanted, at what price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["chat", "run"]
"""One request with one answer, or a whole pipeline run."""
PredictorName = Literal["popularity", "refresh_ahead", "follow_up", "schedule", "key_phrases", "announced"]
"""Who says that an answer will be wanted; `announced`: a client said so itself (POST /v1/warm)."""
PREDICTOR_NAMES: tuple[PredictorName, ...] = get_args(PredictorName)
Level = Literal["answer", "prefix"]
"""Make the whole answer, or only make the provider read the prompt, so that it is in its prefix cache."""
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """A place in the history; later entries compare greater."""

    ms: int
    sequence: int


START = Position(ms=0, sequence=0)
"""Before every entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One request that somebody made. `at_s` is Unix seconds, money nano-dollars, `waited_s` what the caller waited.

    `key` is the exact cache key: a digest, from which no text can be had; of a run the digest of what was posted.
    `was_hit`: nobody was asked for this one: it was told from the cache, or joined a call that was under way.
    `cost_nanousd` is what a hit would save. `ttl_s` is how long an answer to this is good, `age_s` how old the one that
    was told is (0: made for this request). `warmed_by` names who had the answer made, where the warmer did.
    `question` is what was asked, where texts may be kept, `attachment` the SHA-256 of the transcript beside it, and
    `speakers` who speaks in that, most first.
    """

    at_s: float
    tenant: str
    key: str
    session: str
    route: str
    model: str
    was_hit: bool
    waited_s: float
    cost_nanousd: int
    kind: Kind = "chat"
    ttl_s: float = 0.0
    age_s: float = 0.0
    warmed_by: PredictorName | Literal[""] = ""
    question: str = ""
    attachment: str = ""
    speakers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the history. `event` is None for what says nothing about demand: it is passed over."""

    position: Position
    event: Event | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far the recorder has read: the entry its window begins after, and the last one that it counted."""

    window_after: Position
    counted: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The request that was made under `key`, once more."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The request that was made under `like`, with its question replaced; `about`, where it is not empty, is the key of
    the request whose transcript takes the place of its own."""

    like: str
    question: str
    about: str = ""


Recipe = Known | Written
"""How a predicted request is made from those that were kept. Hashable: two predictors may mean the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """An answer that will be wanted between now and `until_s` with `probability`, most likely at `due_at_s` (Unix).

    `attachment` is the digest of the transcript that a Written request is about, "" if there is none. Of level `prefix`
    it means any question about that transcript; of level `answer` a mere prefix may be warmed if that pays better.
    A request before `from_s` is not what is meant: it has its answer still.
    """

    tenant: str
    recipe: Recipe
    predictor: PredictorName
    probability: float
    due_at_s: float
    until_s: float
    level: Level = "answer"
    attachment: str = ""
    from_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What a client says will be wanted, most likely at `due_at_s`; of `attachment` and `level` see Prediction."""

    tenant: str
    recipe: Recipe
    due_at_s: float
    until_s: float
    level: Level = "answer"
    attachment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a predicted request comes to: `live_nanousd` when a caller asks it, `warm_nanousd` at the warmer's tier now,
    `bound_nanousd` the most that may be charged. `wait_s` is what a caller would wait, `ttl_s` how long the answer is
    good, `fresh_until_s` until when the cache has one (0: it has none). `prefix_nanousd` is what making the provider
    read the prompt alone costs, `prefix_saved_nanousd` what the live call then saves, `prefix_ttl_s` how long that
    lasts; all 0 where the provider has no such thing."""

    key: str
    live_nanousd: int
    warm_nanousd: int
    bound_nanousd: int
    wait_s: float
    ttl_s: float
    fresh_until_s: float = 0.0
    prefix_nanousd: int = 0
    prefix_saved_nanousd: int = 0
    prefix_ttl_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowded:
    """Nobody was asked: users have the places now. Soon there may be room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a tenant's policy allows of warming: the rules of the same names in policies/rules.py WarmingRules.

    `spent_nanousd_day` is what the tenant's requests cost in the last 24 h, `left_nanousd` what warming may still spend
    today."""

    policy: str
    left_nanousd: int
    spent_nanousd_day: int
    max_share_of_spend: float
    wait_value_nanousd: int
    holdout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """What became of one warm: `is_kept` where an answer is in the cache now, good for `ttl_s`."""

    key: str
    cost_nanousd: int
    is_kept: bool
    ttl_s: float
