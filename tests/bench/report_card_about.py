"""What stands above the tables of `make report-card`: what was played, what is composed, simulated and divided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.report_card_measure import Setup
from tests.bench.report_card_score import Card
from tests.bench.report_card_week import ANNOUNCED, IDLE_ANNOUNCED

TEXT = """
{machine}, {date}, commit {commit}, load average {load}, seed {seed}: {many} interactions of {hours:g} hours of the
composed bot week, from hour {begin:g} of it, through a real `foreword serve` for each row (keys, ledger, metrics
and log on, one worker, a Redis of its own, `foreword warm` beside it). Rows with a cache have seen the {before:g} h
before that, thrice as fast: caches, the semantic tier, predictors and hedging do not begin with the slice. The
first row's bot asks for one step of a pipeline after the other, as two requests, which the gateway's metric so
counts as two interactions; the segments of a long transcript run at once there too.

**Divided:** arrivals and times to live by {arrivals:g}, provider waits by {latencies:g}. Seconds below are as
measured × {latencies:g}, the gateway's own time included, which so weighs {latencies:g} times what it would. Waits
being divided less than arrivals, more requests meet one that is still under way (joined) than would, and the
warmer, which asks four things at once, has {squeeze:g} times as much to do at once. The sender was at most
{late:.2f} such seconds late (P99); that counts as latency.

**Composed:** the week (its README says how), and what the bot announces (`POST /v1/warm`, {lead:g} s before the
post): {announced:.0%} of transcripts that come for the first time, and among its announcements {idle:.0%} that
nobody asks about after all. **Simulated:** the provider, a process on loopback that speaks OpenAI's wire. First
tokens are lognormal, σ 0.56, median 0.7 s (gpt-5-mini 0.4 s, σ 0.56); tokens a second lognormal, σ 0.25, median 65
(gpt-5-mini 110); a request's waits are drawn from it and the seed, so they are the same in every row; at the flex
tier first tokens take 3 times, the others 1.5 times as long. Chat answers are as long as a production trace's,
steps are answered from the transcript by word lists. Prices are the models' published ones, flex at half price. The
provider has no prefix cache. What the bot says of when it will ask is not divided, as the gateway's guess of what
an unseen flex tier takes is not. What is good enough to route to is the operator's word (priors), nobody's
measurement: the cost of routing is real, its quality is not shown here.

**rate** is the most interactions a second (undivided, Poisson) with a P95 of at most {slo:g} s and no failure, its
second half too, where the provider takes {places} calls at once and lets the rest wait in line: {trials} tries,
each with the {tried} interactions that come next in the week. There the policy says `max_in_flight: {half}`: half of
that is for warms. **hits** are asks (chats, and pipeline steps by segment) that needed no provider call of their
own, by tier; what warming adds to them is the difference to the row before, which has the same requests; **no call**
are interactions none of whose asks needed one. Costs are all that providers were paid, labels, hedges and warms
included. **Wrong hits:** exact ones are those that differ from what
was told when the answer was made (compared where that was seen); semantic ones by the pairs that were read, else by
class ids, which are noisy. (…–…) is a 95 % bootstrap over interactions; changes are against the first row,
interaction by interaction.
"""


def about(setup: Setup, described: Mapping[str, str], cards: Sequence[Card]) -> str:
    """Return it for these rows."""
    built = [card for card in cards if card.is_built]
    return TEXT.format(
        **described,
        seed=setup.seed,
        many=built[0].interactions,
        hours=(setup.end_s - setup.begin_s) / 3600,
        begin=setup.begin_s / 3600,
        arrivals=setup.arrivals,
        latencies=setup.latencies,
        late=max(card.late_s for card in built),
        slo=setup.slo_s,
        places=setup.places,
        half=setup.places // 2,
        trials=setup.trials,
        tried=setup.tried,
        before=setup.before_s / 3600,
        lead=setup.lead_s,
        announced=ANNOUNCED,
        idle=IDLE_ANNOUNCED,
        squeeze=setup.arrivals / setup.latencies,
    ).strip()
