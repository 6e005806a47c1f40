"""Stage 1, authentication: what a genuine credential may not do.

Its signature was checked at the door. Here: revocation, role, the agent's state, and that the session is the agent's
own. The replay of a single-use token is found by stage 2's one script and bears this stage's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aegis.identity.judge import judge
from aegis.identity.sessions import SessionFacts, Sessions
from aegis.kernel.call import Call
from aegis.kernel.findings import Finding
from aegis.pipeline.recorder import Session
from aegis.pipeline.stage import SoFar
from aegis.pipeline.stages.kill_switch import team_of


@dataclass(frozen=True, slots=True)
class Facts:
    session: SessionFacts | None
    team: str | None

    @property
    def recorded_session(self) -> Session | None:
        """What the row says of session, team and user."""
        if self.session is None:
            return None if self.team is None else Session(None, self.team)
        user = self.session.user
        return Session(
            self.session.id, self.session.team or self.team, user.id if user else None, user.known if user else None
        )


class Authenticate:
    name = "authenticate"
    deadline_s = 2.5
    failure = "auth.unavailable"

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def gather(self, call: Call, so_far: SoFar) -> Facts:
        session = None if call.session_id is None else await self._sessions.find(call.tenant, call.session_id)
        return Facts(session, team_of(so_far.view, call.principal.agent))

    async def analyse(self, call: Call, facts: Facts, so_far: SoFar) -> None:
        return None

    def judge(self, call: Call, facts: Facts, analysis: None, so_far: SoFar) -> tuple[Finding, ...]:
        return judge(call.principal, so_far.view, facts.session, session_id=call.session_id, replayed=False)

    def features(self, facts: Facts, analysis: None) -> Mapping[str, Any]:
        return {} if facts.session is None else {"session": facts.session.id}
