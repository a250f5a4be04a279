"""A flow that is done in one go."""

from __future__ import annotations

from taskflow.patterns import linear_flow


class OnePass(linear_flow.Flow):
    """A flow of which no record is kept: each of its steps is cheaper to do again than to write down.

    Whoever goes on with it begins at its first step, with what the rows say then.
    """

    recorded = False
