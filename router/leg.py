"""One attempt at one deployment: its connection, what it has said so far, and how it ended.

Must not decide what follows, and waits for nothing but the provider.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Literal, Protocol, runtime_checkable

from router.cost import cost_nanousd
from router.errors import ProviderError
from router.gap import GapLimit
from router.sse import StreamReader
from router.types import AttemptRecord, ChatRequest, Deployment, Reason, Streamed, Usage, Whole
from router.usage import AnswerFacts, answer_text_bytes, estimated_usage, read_answer

_AT_WORK = frozenset({"timeout", "cut"})
"""What befalls a call after the provider has accepted it, where it is we who say so; a 504 of its own is a refusal."""

_UNREAD = StreamReader()
"""What every leg has read before there is a stream: nothing. Never fed."""


@runtime_checkable
class Closeable(Protocol):
    """What `Streamed.chunks` is besides an iterator, whoever makes it."""

    async def aclose(self) -> None: ...


class Leg:
    """Owner of one attempt. After `take` it is either streamed (read, held) or whole (body, facts)."""

    def __init__(
        self,
        deployment: Deployment,
        reason: Reason,
        request: ChatRequest,
        started_s: float,
        *,
        gap_s: float,
        keep_text_bytes: int = 0,
    ) -> None:
        self.deployment = deployment
        self.gap: GapLimit | None = None
        self.error: ProviderError | None = None
        self.first_token_s: float | None = None
        self.body: bytes | None = None
        self.headers: Mapping[str, str] = {}
        self.is_at_end = False
        self.is_closed = False
        self.is_unused = False
        self.waited_s = 0.0
        self.held_bytes = 0
        self.started_s = started_s
        self._reason: Reason = reason
        self._request = request
        self.drip_due_s = 0.0
        self._drip_bytes = 0
        self._choices = _choices(request)
        self._facts: AnswerFacts | None = None
        self._gap_s = gap_s
        self._keep_text_bytes = keep_text_bytes
        self._reader = _UNREAD
        self._chunks: AsyncIterator[bytes] | None = None
        self._has_ended = False
        self._held: list[bytes] = []

    def take(self, answer: Whole | Streamed) -> None:
        """Take over what the backend returned. Raises ProviderError for a whole body that is an error or no answer."""
        self.headers = answer.headers
        if isinstance(answer, Streamed):
            self._chunks = answer.chunks
            self.gap = GapLimit(self._gap_s)
            self._reader = StreamReader(keep_text_bytes=self._keep_text_bytes)
            return
        self._facts = read_answer(answer.body, self._request.dialect)
        if self._facts.error is not None:
            raise self._facts.error
        self.body = answer.body
        self.is_at_end = True

    async def read(self) -> bytes:
        """Return the events of one more chunk, b"" where it completes none; sets is_at_end.

        Raises ProviderError for an error event, for a stream that breaks off, and for one that ends too early.
        """
        if self.is_at_end or self._reader.error is not None:
            self.end()
            return b""
        assert self._chunks is not None
        try:
            events = self._reader.feed(await anext(self._chunks))
        except (StopAsyncIteration, ProviderError) as error:
            events = self._last_events(error)
        self.is_at_end = self._has_ended or self._reader.is_done
        if not events and (self.is_at_end or self._reader.error is not None):
            self.end()
        return events

    def end(self) -> None:
        """Declare the stream over. Raises ProviderError unless it was complete and good."""
        self.is_at_end = True
        reader = self._reader
        if reader.error is not None:
            raise reader.error
        if reader.is_done and not reader.has_token:
            raise ProviderError(
                f"{self.deployment.provider} ended its stream without an answer", kind="malformed", source="gateway"
            )
        if not reader.is_done and not self.is_finished:
            raise ProviderError(
                f"{self.deployment.provider} ended its stream in the middle", kind="cut", source="gateway"
            )

    async def drain(self) -> None:
        """Read to the end of the body, so that the connection can serve again; what comes is ignored."""
        assert self._chunks is not None
        while not self._has_ended:
            try:
                self._reader.feed(await anext(self._chunks))
            except (StopAsyncIteration, ProviderError) as error:
                self._last_events(error)

    def hold(self, events: bytes) -> None:
        """Keep events until the client may see them."""
        if events:
            self._held.append(events)
            self.held_bytes += len(events)

    def take_held(self) -> bytes:
        """Return everything held, once."""
        if not self._held:
            return b""
        held = b"".join(self._held)
        self._held.clear()
        return held

    def is_dripping(self, window_s: float, bytes_per_s: float) -> bool:
        """Say whether, of the last `window_s` spent waiting for it, the provider made less than `bytes_per_s`.

        To be asked once `waited_s` has reached `drip_due_s`, which this sets.
        """
        begun_s, self.drip_due_s = self.drip_due_s - window_s, self.waited_s + window_s
        made, self._drip_bytes = self.output_bytes - self._drip_bytes, self.output_bytes
        return begun_s >= 0 and made < bytes_per_s * (self.waited_s - begun_s)

    def record(self, run_started_s: float, now_s: float) -> AttemptRecord:
        """Return how the attempt went; one that was left after its last finish reason is a success.

        Not so one whose answer did not fit (`is_unused`).
        """
        is_ok = (self.is_at_end or self.is_finished) and not self.is_unused
        result: Literal["ok", "error", "cancelled"] = "ok" if is_ok else "cancelled"
        usage = self.charged_usage()
        return AttemptRecord(
            deployment_id=self.deployment.id,
            group=self.deployment.group,
            provider=self.deployment.provider,
            model=self.deployment.model,
            reason=self._reason,
            started_s=self.started_s - run_started_s,
            ended_s=now_s - run_started_s,
            result="error" if self.error else result,
            error_code=self.error.kind if self.error else None,
            status=self.error.status if self.error else None,
            usage=usage,
            cost_nanousd=cost_nanousd(self.deployment.price, usage) if usage is not None else 0,
        )

    def charged_usage(self) -> Usage | None:
        """Return what the provider will charge, an estimate where it did not say; None where it gave no answer.

        One that had not answered yet is charged for its input where it was at work on it: it was outrun
        (`is_unused`), we gave up waiting, or it broke off after it had accepted the request.
        """
        error = self.error
        was_at_work = self.is_unused if error is None else error.source == "gateway" and error.kind in _AT_WORK
        if self.body is None and not self.has_token and not was_at_work:
            return None
        return self.usage or estimated_usage(self._request, self.output_bytes)

    async def close(self) -> None:
        """Release the connection and the timer; idempotent."""
        self.is_closed = True
        if self.gap is not None:
            self.gap.close()
        chunks: object = self._chunks
        if chunks is not None and isinstance(chunks, Closeable):  # asking a protocol takes 10 µs
            await chunks.aclose()

    @property
    def is_streamed(self) -> bool:
        return self._chunks is not None

    @property
    def has_token(self) -> bool:
        return self._reader.has_token

    @property
    def is_finished(self) -> bool:
        """Every choice has its finish reason."""
        return self._reader.is_finished(self._choices)

    @property
    def usage(self) -> Usage | None:
        return self._facts.usage if self._facts else self._reader.usage

    @property
    def text(self) -> str | None:
        """The text that was answered so far, where it was kept."""
        return self._reader.text

    @property
    def malformed_events(self) -> int:
        return self._reader.malformed_events

    @property
    def usage_event(self) -> bytes | None:
        return self._reader.usage_event

    @property
    def output_bytes(self) -> int:
        """How much text was answered."""
        if self.body is None:
            return self._reader.output_bytes
        return answer_text_bytes(self.body) if self._request.dialect == "chat" else 0

    @property
    def response_model(self) -> str:
        stated = self._facts.response_model if self._facts else self._reader.response_model
        return stated or self.deployment.model

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        return self._facts.finish_reasons if self._facts else self._reader.finish_reasons

    def _last_events(self, end: StopAsyncIteration | ProviderError) -> bytes:
        """Return what is left where the stream has ended. Raises `end` where it broke off before all had been said."""
        self._has_ended = True
        if isinstance(end, StopAsyncIteration):
            return self._reader.end()
        if self.is_finished or self._reader.is_done:
            return b""
        raise end


def _choices(request: ChatRequest) -> int:
    wanted = request.document.get("n")
    return wanted if isinstance(wanted, int) and wanted > 0 else 1
