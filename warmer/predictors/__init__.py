"""The predictors, by name: one file each, one line here. `announced` is not one of them: clients say that
themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from warmer.ports import Predictor
from warmer.predictors.follow_up import FollowUp
from warmer.predictors.key_phrases import KeyPhrases
from warmer.predictors.popularity import Popularity
from warmer.predictors.refresh_ahead import RefreshAhead
from warmer.predictors.schedule import Schedule
from warmer.types import PredictorName

PREDICTORS: Mapping[PredictorName, Callable[[str], Predictor]] = {
    "popularity": Popularity,
    "refresh_ahead": RefreshAhead,
    "follow_up": FollowUp,
    "schedule": Schedule,
    "key_phrases": KeyPhrases,
}
"""A predictor is built for one tenant and sees nobody else's requests."""
