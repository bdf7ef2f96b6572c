"""What usually comes next in a session: after a question another, after a transcript its usual questions, with the
names of its own speakers. Must not carry anything from one tenant to another.

The situation is the last key of the session, and, once a transcript was posted, how many questions about it there were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from warmer.slots import abstract, fill
from warmer.state import dump, restore
from warmer.transitions import Transitions
from warmer.types import Event, Known, Level, Prediction, Recipe, Written

VERSION = 1
HORIZON_S = 900.0
_LEAST = 0.02
_MOST = 48
_MOST_EACH = 6
_SESSIONS = 512
_TEMPLATES = 512
_ANY = "any"


class Session(msgspec.Struct, kw_only=True):
    """Where a session is: its last request, and the transcript it is about with the questions asked about that."""

    at_s: float
    key: str
    attachment: str = ""
    about: str = ""
    speakers: tuple[str, ...] = ()
    asked: list[str] = msgspec.field(default_factory=list)


class Learnt(msgspec.Struct, kw_only=True):
    """Everything kept of one tenant. `like` is the key that last asked a template."""

    transitions: Transitions = msgspec.field(default_factory=Transitions)
    sessions: dict[str, Session] = msgspec.field(default_factory=dict)
    like: dict[str, str] = msgspec.field(default_factory=dict)


class FollowUp:
    """One tenant's sessions and what followed in them."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._learnt = Learnt()

    def observe(self, event: Event) -> None:
        """Learn what came next in the event's session. Events without a session say nothing."""
        if not event.session:
            return
        learnt = self._learnt
        before = learnt.sessions.pop(event.session, None)
        if before is not None and event.at_s - before.at_s > HORIZON_S:
            before = None
        template = abstract(event.question, event.speakers) if event.question and event.attachment else ""
        is_about = before is not None and bool(event.attachment) and event.attachment == before.attachment
        if before is not None and event.key != before.key:
            self._learn(before, event, template if is_about else "")
        if template:
            learnt.like.pop(template, None)
            learnt.like[template] = event.key
            if len(learnt.like) > _TEMPLATES:
                del learnt.like[next(iter(learnt.like))]
        learnt.sessions[event.session] = now = _after(before if is_about else None, event, template)
        if len(learnt.sessions) > _SESSIONS:
            del learnt.sessions[next(iter(learnt.sessions))]
        if before is None or event.key != before.key:  # a retry is no new situation
            for situation in _situations(now):
                learnt.transitions.arose(situation)

    def _learn(self, before: Session, event: Event, template: str) -> None:
        transitions = self._learnt.transitions
        transitions.followed(f"key {before.key}", f"key {event.key}")
        if template:
            transitions.followed(_posted(before), template)
            transitions.followed(_posted(before), _ANY)

    def predict(self, now_s: float, fresh_until_s: Mapping[str, float]) -> Sequence[Prediction]:
        """Return what is usual in each session that was active lately, and has no fresh answer."""
        found: list[Prediction] = []
        for session in reversed(self._learnt.sessions.values()):
            if now_s - session.at_s > HORIZON_S:
                break  # the others were active even longer ago
            found.extend(self._of(session))
        open_ones = (
            one
            for one in found
            if not (isinstance(one.recipe, Known) and fresh_until_s.get(one.recipe.key, 0.0) > now_s)
        )
        return sorted(open_ones, key=lambda one: -one.probability)[:_MOST]

    def _of(self, session: Session) -> Iterator[Prediction]:
        transitions = self._learnt.transitions
        for what, chance in transitions.likely(f"key {session.key}", least=_LEAST)[:_MOST_EACH]:
            yield self._prediction(session, Known(key=what.removeprefix("key ")), chance)
        if not session.attachment:
            return
        usual = transitions.likely(_posted(session), least=_LEAST)
        chance_of_any = next((chance for what, chance in usual if what == _ANY), 0.0)
        templates = [pair for pair in usual if pair[0] != _ANY and pair[0] not in session.asked]
        for template, chance in templates[:_MOST_EACH]:
            question = fill(template, session.speakers)
            like = self._learnt.like.get(template)
            if question is None or like is None:
                continue
            recipe = Written(like=like, question=question, about=session.about)
            yield self._prediction(session, recipe, chance)
            if chance_of_any:
                yield self._prediction(session, recipe, chance_of_any, level="prefix")
                chance_of_any = 0.0

    def _prediction(self, session: Session, recipe: Recipe, chance: float, *, level: Level = "answer") -> Prediction:
        return Prediction(
            tenant=self._tenant,
            recipe=recipe,
            predictor="follow_up",
            probability=chance,
            due_at_s=session.at_s + HORIZON_S / 6,
            until_s=session.at_s + HORIZON_S,
            level=level,
            attachment=session.attachment if isinstance(recipe, Written) else "",
        )

    def dump(self) -> bytes:
        """Return counts and sessions."""
        return dump(self._learnt, version=VERSION)

    def restore(self, learnt: bytes) -> None:
        """Take counts and sessions back."""
        self._learnt = restore(learnt, Learnt, version=VERSION) or self._learnt


def _after(before: Session | None, event: Event, template: str) -> Session:
    asked = [] if before is None else before.asked
    about = event.key if before is None else before.about
    return Session(
        at_s=event.at_s,
        key=event.key,
        attachment=event.attachment,
        about=about,
        speakers=event.speakers,
        asked=[*asked, template][-16:] if template and template not in asked else asked,
    )


def _situations(session: Session) -> Iterator[str]:
    yield f"key {session.key}"
    if session.attachment:
        yield _posted(session)


def _posted(session: Session) -> str:
    return f"posted, asked {min(3, len(session.asked))}"
