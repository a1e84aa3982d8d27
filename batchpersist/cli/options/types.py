"""Kinds of values that options take."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import click

from ...errors import UsageError
from ...policy import FailurePolicy


class Failures(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on only
    """A number of runs, or a share of them."""

    name = "N|N%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> FailurePolicy:
        try:
            return value if isinstance(value, FailurePolicy) else FailurePolicy.parse(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class Moment(click.ParamType):  # type: ignore[type-arg]
    """An ISO date or time, as the text that the orchestrator's timestamps (UTC) compare with."""

    name = "ISO"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            self.fail(
                f"{value!r} is not an ISO date or time such as 2026-01-31 or 2026-01-31T12:00:00Z", param, ctx
            )
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            return str(value)
        if moment.tzinfo is not None:
            moment = moment.astimezone(timezone.utc)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
