"""Finding the policy in force, and asking it without trusting it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mlflow_drift.decision.rules import RulesPolicy
from mlflow_drift.errors import PluginError
from mlflow_drift.hooks.parts import Policy, PolicyContext
from mlflow_drift.values import Decision

__all__ = ["ask", "find_policy"]

logger = logging.getLogger(__name__)


def find_policy(name: str, policies: Sequence[Policy]) -> Policy:
    """Return the registered policy of that name.

    Raises
    ------
    PluginError
        If there is none, naming those there are.

    Examples
    --------
    >>> find_policy("rules", [RulesPolicy()]).name
    'rules'
    """
    for policy in policies:
        if policy.name == name:
            return policy
    known = ", ".join(sorted(policy.name for policy in policies)) or "none"
    raise PluginError(
        f"policy: must be a registered policy; got {name!r}. Registered are: {known}. A plugin registers more "
        "through register_policies."
    )


def ask(policy: Policy, context: PolicyContext) -> Decision:
    """Return the policy's decision; where it raises or answers nonsense the rules decide, and say so."""
    try:
        decision = policy.decide(context)
        if not isinstance(decision, Decision):
            raise TypeError(f"decide() must return a Decision; got {type(decision).__name__}")
        rows, n_rows = decision.window, context.report.n_current
        if rows is not None and not 0 <= rows.start < rows.stop <= n_rows:
            raise ValueError(f"its window must lie in [0, {n_rows}]; got [{rows.start}, {rows.stop}]")
    except Exception as error:
        logger.warning("policy %r failed; the rules decide instead", policy.name, exc_info=True)
        ruled = RulesPolicy().decide(context)
        reason = f"Policy {policy.name!r} failed ({type(error).__name__}: {error}), so the rules decide. {ruled.reason}"
        return Decision(ruled.action, reason, ruled.policy, ruled.window, report_id=context.report.report_id)
    return decision
