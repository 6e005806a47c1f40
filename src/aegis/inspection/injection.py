"""Prompt-injection scanner: scored rules over what words do in a sentence, on every reading of the text.

The order is: a prefilter that lets ordinary text go at once; the readings of `normalise`; sentences as sequences of
word classes of `lexicon`; rules that are short sequences of classes; signals of neighbouring sentences together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import re2

from aegis.inspection import lexicon
from aegis.inspection.normalise import View, views
from aegis.inspection.weights import Weights, shipped
from aegis.kernel.findings import Finding, finding

Source = Literal["user", "tool", "document", "argument", "tool_description"]

FLAG = 0.5
MAX_CHARACTERS = 1_048_576
SENTENCES = 4_000
SENTENCE_WORDS = 120
WINDOW = 3


@dataclass(frozen=True, slots=True)
class Scan:
    """`score` is 0..1, `flagged` whether it reaches 0.5. Findings hold no text of what was scanned."""

    flagged: bool
    score: float
    findings: tuple[Finding, ...] = ()


class Scanner(Protocol):
    """Judges text. Never raises, whatever the text, and takes time linear in it."""

    def scan(self, text: str, source: Source) -> Scan: ...


CLEAN = Scan(False, 0.0)


@dataclass(frozen=True, slots=True)
class Rule:
    """`patterns`: `"OV 6 RU"` is a word of class OV, then one of class RU at most 6 words on.

    Rules of one `group` don't add up: the strongest counts. `'word'` stands for the word itself.
    """

    name: str
    group: str
    code: str
    weight: float
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A rule over the letters of the text: what no sequence of words shows."""

    name: str
    group: str
    code: str
    weight: float
    pattern: str


@dataclass(frozen=True, slots=True)
class Signal:
    sentence: int
    group: str
    code: str
    weight: float
    rule: str
    quoted: bool = False


_OVERRIDE, _ROLE, _FAKE = "injection.instruction_override", "injection.role_play", "injection.fake_system"
_EXFIL, _ORDER, _SUSPICIOUS = "injection.exfiltration", "injection.tool_order", "injection.suspicious"
_HIDDEN, _ENCODED = "injection.hidden_text", "injection.encoded"

RULES: tuple[Rule, ...] = (
    Rule("override_rules", "override", _OVERRIDE, 0.8, (
        "OV 2 PV 2 RU", "OV 3 AL 3 RU", "OV 2 YO 3 RU", "OV 3 RU 2 PV", "OV 2 YO 2 PR", "OV 2 AL 3 PR", "RU 3 AL 6 OV",
        "RU 3 OV 3 AL", "PV 3 RU 6 OV", "YO 3 RU 4 OV", "OV 6 RU 3 YU")),
    Rule("override_some_rules", "override", _OVERRIDE, 0.35, ("OV 4 RU", "OV 2 PR")),
    Rule("override_all_above", "override", _OVERRIDE, 0.65, (
        "OV 2 AL 2 PV 1 STOP", "OV 1 'everything' 3 PV", "OV 1 'anything' 3 PV", "OV 1 'whatever' 3 PV", "OV 1 'the' 1 'above' 1 STOP", "'everything' 5 'told' 4 VO", "'told' 5 VO", "'told' 5 'test'", "OV 2 'what' 5 'configured'", "OV 2 'what' 5 'wants'", "'attention' 3 'what' 6 'told'", "'attention' 3 'what' 6 'configured'", "OV 2 'what' 5 'told'", "OV 3 'you' 3 'told'", "OV 4 'you' 3 'instructed'",
        "OV 3 'you' 4 'said'", "OV 2 AL 2 YU", "OV 3 PV 2 'context'", "OV 2 'what' 2 'came' 2 PV", "OV 3 'you' 2 'were' 3 'given'",
        "OV 3 'you' 2 'learned'", "OV 3 YO 2 'programming'", "OV 3 YO 2 'training'", "OV 2 'everything' 4 'said'",
        "OV 2 'everything' 4 'told'", "OV 2 'everything' 4 'read'")),
    Rule("override_task", "override", _OVERRIDE, 0.45, (
        "OV 2 YO 3 TK", "OV 1 'the' 2 TK", "OV 2 PV 2 TK", "OV 2 UO 2 RQ", "OV 1 'the' 1 UO", "OV 3 UO 2 'asked'",
        "OV 3 UO 3 'wants'")),
    Rule("not_follow", "override", _OVERRIDE, 0.6, (
        "NE 2 FO 3 YO 3 RU", "NE 2 FO 3 PV 3 RU", "NE 2 FO 3 AL 3 RU", "NE 2 'listen' 3 UO", "LO 6 FO 4 RU", "LO 6 FO 4 LI", "FO 6 RU 2 NE", "FO 5 NE 3 RU", "'beachte' 4 RU 3 NE", "NE 2 FO 4 RU", "'setze' 8 'hinweg'", "'abstraction' 3 RU", "'compte' 3 RU", "'cease' 6 RU", "'cease' 6 LI", "NE 2 'listen' 3 'user'", "'listen' 2 'to' 1 'me'", "'drop' 4 PV 2 RU", "'hinweg' 4 RU", "'stop' 2 'following' 4 RU",
        "'stop' 2 'obeying' 4 RU", "NE 2 'bound' 4 RU", "LO 2 'bound' 4 RU", "LO 2 'bound' 4 LI", "LO 3 FO 4 RU",
        "'set' 3 RU 2 'aside'", "'throw' 5 RU 2 'away'", "'pay' 2 'attention' 4 RU", "'drop' 2 YO 3 RU",
        "'leave' 4 RU 2 'behind'", "'put' 4 RU 2 'aside'", "'clear' 3 YO 3 'memory'", "'erase' 3 YO 3 'memory'",
        "'wipe' 3 YO 3 'memory'", "'reset' 3 YO 3 RU", "'drop' 2 AL 3 RU", "'set' 2 'aside' 4 RU", "'stop' 2 'following' 3 RU")),
    Rule("rules_over", "override", _OVERRIDE, 0.55, (
        "RU 4 LO 2 AB", "RU 8 VO", "VO 2 RU", "RU 3 'as' 1 VO", "AB 3 RU 3 NE", "AB 3 YO 3 RU", "RU 2 VO", "RU 4 NE 2 AB 3 YU", "RU 3 NE 2 LO 2 AB", "RU 4 'replaced'", "RU 4 'void'", "RU 4 'obsolete'",
        "RU 4 'cancelled'", "RU 4 'revoked'", "RU 4 'suspended'", "RU 4 'lifted'", "RU 4 OF", "NF 2 RU 4 YU",
        "NE 2 'tienes' 2 RU", "YU 3 NF 2 RU", "YU 3 LO 2 RU", "YU 4 'exempt'")),
    Rule("new_rules", "new", _OVERRIDE, 0.3, (
        "NW 2 RU 3 OV", "NW 2 RU 4 'replace'", "YO 2 NW 2 TK", "YO 2 NW 2 RU", "YO 1 ON 2 TK", "YO 1 'real' 2 TK",
        "NW 2 TK 3 AD", "NW 2 RU 3 AD", "NW 2 RU 4 YU", "NW 1 RU 6 'COLON'", "'real' 1 TK", "TK 2 'is' 2 'now'", "NW 1 RU 1 'COLON'",
        "NW 1 TK 1 'COLON'", "'new' 2 'objective'", "YO 2 NW 2 'order'", "YO 2 NW 2 'orders'")),
    Rule("replace_old", "new", _OVERRIDE, 0.45, ("NW 2 RU 2 OV 4 OL", "NW 2 RU 3 'replace' 4 OL", "NW 2 RU 3 'supersede' 4 OL")),
    Rule("from_now_on", "from_now", _SUSPICIOUS, 0.3, (
        "'from' 1 'now' 1 'on' 3 YU", "'from' 1 'now' 1 'on' 4 YO", "'from' 1 'this' 1 'point'", "'henceforth' 3 YU", "'ab' 1 'sofort' 4 YU", "'partir' 2 'ahora' 3 NE",
        "'désormais' 3 YU", "'отныне' 3 YU", "'from' 1 'now' 1 'on' 6 RU", "'from' 1 'here' 1 'on' 3 YU", "'今から'", "'从现在起'", "'从现在开始'")),
    Rule("obey_this", "obey", _OVERRIDE, 0.55, (
        "MU 2 'obey'", "'obey' 2 'this'", "'obey' 2 'these'", "'obey' 2 'it'", "FO 2 'these' 3 RU 3 IN", "FO 3 RU 4 IN",
        "FO 3 'this' 4 IN", "IN 2 'of' 3 UO", "'listen' 2 'to' 2 'me' 3 IN", "'obedeces'", "'obedece' 3 'texto'",
        "'take' 3 'precedence' 4 RU", "'precedence' 4 UO", "FO 2 ON 3 'this'", "FO 2 ON 3 'these'", "FO 2 ON 3 'my'")),
    Rule("if_you_are_ai", "address", _SUSPICIOUS, 0.45, (
        "'if' 2 'you' 3 AD", "'if' 2 'you' 2 'are' 3 AW", "AD 2 'reading' 2 'this'", "AD 2 'processing' 2 'this'", "AD 3 'who' 2 'reads'",
        "AD 2 'that' 2 'reads'", "AD 2 'that' 2 'sees'", "AW 2 'that' 2 'sees'", "AW 2 'that' 2 'reads'", "AW 1 'reading' 1 'this'", "AW 1 'processing' 1 'this'", "'any' 1 AW 4 MU", "'if' 5 AD 4 RD", "'when' 4 AD 3 RD", "AD 2 RD", "AW 2 RD 2 'this'", "AD 4 'parses'", "AD 4 'index'", "AD 1 AW", "'START' 2 AD 5 MU", "'any' 1 AD 3 'this'", "AD 2 'summarising' 2 'this'", "AD 2 'summarizing' 2 'this'",
        "'wenn' 2 YU 4 AD", "'si' 2 'eres' 3 AD", "'si' 3 'es' 3 AD", "'se' 3 AD", "'если' 2 YU 3 AD", "'falls' 2 YU 4 AD",
        "AD 1 'who' 3 'this'", "AD 3 'parsing'", "AD 3 'handling' 2 'this'", "'as' 2 'an' 1 AD 2 YU")),
    Rule("spoken_to_ai", "address", _SUSPICIOUS, 0.45, (
        "'START' 1 AD 1 'COMMA'", "'START' 1 AD 1 'COLON'", "'dear' 2 AD", "'hey' 2 AD", "'attention' 4 AD", "'hello' 2 AD", "'hi' 2 AD",
        "'note' 4 AD", "'message' 4 AD", "'instruction' 4 AD", "'instructions' 3 'for' 3 AD", "'notice' 4 AD", "'memo' 4 AD",
        "'reminder' 4 AD", "AD 1 'instruction'", "AD 1 'instructions'", "AD 1 'directive'", "'order' 2 'for' 2 AD", "'instruction' 3 'to' 3 AD",
        "'instruction' 4 AW", "'an' 2 'den' 2 AD", "'an' 2 'die' 2 AD", "'nota' 3 AD", "'mensaje' 4 AD", "'mensagem' 4 AD", "'message' 4 AD",
        "'messaggio' 4 AD", "'istruzione' 4 AD", "'instrucción' 4 AD", "'instrução' 4 AD", "'сообщение' 3 AD", "'указание' 3 AD", "'hinweis' 4 AD",
        "'nachricht' 4 AD", "'致' 2 AD", "'对' 2 AD", "AD 2 'へ' 1 'COLON'", "'COMMA' 1 AD 1 'COLON'", "'to' 2 'the' 2 AD 1 'COLON'",
        "'to' 2 AD 1 'COLON'", "'for' 2 AD 1 'COLON'", "'note' 3 'to' 3 AW", "'all' 1 AD 1 'COLON'", "AD 2 MU 2 NE", "'START' 1 AD 1 'please'", "'for' 2 'the' 1 AD 1 'only'", "'for' 2 AD 1 'only'")),
    Rule("ai_must", "address", _SUSPICIOUS, 0.35, (
        "AD 1 MU", "AD 2 'is' 2 MU", "'the' 1 AW 1 MU", "AD 1 'please'", "'please' 1 AD", "'COMMA' 1 AD 1 'COMMA'", "'for' 2 AD", "'COMMA' 1 AD")),
    Rule("ai_obliged", "obliged", _SUSPICIOUS, 0.12, ("AD 8 MU", "AW 8 MU 3 SE", "AW 8 MU 3 RV", "AD 6 'rate'", "AD 8 'state'", "AW 6 MU")),
    Rule("user_wants", "authority", _SUSPICIOUS, 0.35, (
        "UO 2 'asked' 2 YU", "UO 2 'wants' 2 YU", "UO 2 'authorized'", "UO 2 'authorised'", "UO 2 'verified'", "UO 3 'verified' 4 AM", "UO 2 'approved' 2 'this'",
        "UO 2 'already' 2 'approved'", "UO 2 'consented'", "UO 2 'agreed'", "UO 2 'expects' 2 YU", "UO 2 'needs' 2 YU", "'required' 1 'by' 3 RU", "'developer' 2 'has' 2 MU", "'this' 1 'is' 2 'authorized'", "'by' 1 'order' 2 'of' 3 AM")),
    Rule("as_if_nothing", "secrecy", _SUSPICIOUS, 0.45, (
        "'as' 1 'if' 1 'nothing'", "'as' 1 'though' 1 'nothing'", "'as' 1 'usual' 3 'so'", "'nothing' 1 'happened'", "'act' 2 'normal'")),
    Rule("keep_from_user", "secrecy", _SUSPICIOUS, 0.4, (
        "NE 2 TE 3 US", "WO 2 AK 3 UO", "WO 2 AK 2 'me'", "US 2 TE 1 NE", "UO 4 TE 2 NE", "UO 2 MU 2 NE 3 'know'", "NE 2 'let' 3 UO", "'keep' 3 'secret'",
        "'keep' 3 'hidden'", "'keep' 3 'from' 2 UO", "'hide' 3 'from' 2 UO", "'hide' 2 'this'", "NE 1 UO 2 TE", "NE 2 'log' 2 'this'", "NE 2 TE 3 UO", "SI", "'keep' 2 'quiet'", "WO 4 UO 4 AK", "UO 4 TE 1 NE", "WO 2 AK", "NE 1 TE 1 'them'", "'say' 1 'nothing'",
        "'confidential' 3 AD", "'between' 1 'us'", "UO 3 TE 1 'ないこと'", "UO 2 '言わない'", "NE 1 TE 1 UO")),
    Rule("before_you_answer", "gate", _SUSPICIOUS, 0.35, ("BE 2 YU 2 AN",)),
    Rule("before_answer", "gate", _SUSPICIOUS, 0.2, (
        "BE 2 AN", "BE 3 'anything' 2 'else'", "BE 2 'using' 3 'tool'", "BE 2 'use'", "BE 4 'solve' 4 TK", "BE 3 'continue'", "BE 2 'doing' 2 'anything'",
        "BE 4 TK", "BE 3 'other' 2 'tool'", "BE 2 AL 2 'tool'", "BE 2 AL 3 'tool'", "'tool' 6 BE 2 AL", "AN 2 BE", "'whenever' 4 AN", "'when' 2 'you' 2 AN", "'first' 2 'and' 2 'then' 2 'continue'", "'following' 1 'first'", "'do' 2 'following' 2 IN", "'do' 2 'following' 2 BE")),
    Rule("at_once", "urgency", _SUSPICIOUS, 0.12, ("'do' 1 'it' 1 NO", "'at' 1 'once'", "NO", "IN 1 'COMMA'", "IN", "NO 1 'COMMA'")),
    Rule("leak_away", "g_leak", _EXFIL, 0.5, (
        "SE 8 SN 8 UR", "SE 3 UR 8 SN", "UR 6 SN 4 SE", "SN 6 UR 3 SE", "SN 4 SE 4 UR", "SE 8 SN 5 'public'", "SE 4 SN 4 'channel'")),
    Rule("leak", "g_leak", _EXFIL, 0.3, (
        "SE 4 SN", "SE 3 AL 5 SN", "SN 4 SE", "RV 2 SN", "RV 3 SN 3 YO", "SE 5 UR", "SN 4 'as' 3 'argument'", "SN 3 'in' 3 'parameter'", "RN 2 'send' 4 SN", "SE 3 'contents' 3 'of'", "SE 3 'content' 3 'of'", "RN 6 SN 4 UR", "RN 4 SN 4 UR", "'tool' 6 SN", "'snake' 6 SN", "'tool' 8 SN", "SE 4 'everything' 4 'wrote'", "SE 5 UR", "SE 4 YO 3 SN", "SN 4 SE")),
    Rule("read_secret_file", "g_file", _EXFIL, 0.4, ("'read' 4 'sensitivepath'", "'cat' 2 'sensitivepath'", "'open' 3 'sensitivepath'", "SE 5 'sensitivepath'", "'load' 3 'sensitivepath'", "'contents' 3 'sensitivepath'")),
    Rule("destroy", "g_destroy", _ORDER, 0.4, ("DE 3 AL 4 OB", "DE 2 OB 4 AL", "AL 2 OB 5 DE", "DE 1 AL", "OB 3 AL 3 DE", "RN 3 'deleterecords'", "DE 3 'the' 2 'entire'", "DE 3 YO 2 OB", "DE 2 'production'")),
    Rule("destroy_some", "g_destroy", _ORDER, 0.15, ("DE 3 OB",)),
    Rule("pay", "g_pay", _ORDER, 0.35, ("MO 3 MN", "MO 6 'ibantoken'", "MO 5 MN 5 MN", "MN 3 MO", "MN 6 'ibantoken'", "MN 6 'account'", "'use' 3 MN 6 IN", "MO 4 'NUMBER' 2 MN", "'change' 3 MN", "'account' 6 IN")),
    Rule("a_prompt", "g_prompt", _EXFIL, 0.4, ("RV 4 PR", "SE 4 PR", "PR 4 RV", "'translate' 3 PR")),
    Rule("own_prompt", "prompt", _EXFIL, 0.55, (
        "RV 3 YO 3 PR", "SE 3 YO 3 PR", "'what' 4 YO 2 PR", "'words' 3 YO 2 PR", "RV 2 YO 2 'initial-instructions'", "RV 2 'me' 3 YO 3 PR", "RV 2 'hidden-instructions'", "RV 4 'hidden-text'", "RV 2 'hidden-prompt'", "RV 3 'words' 4 PR", "RV 2 YO 2 RU", "RV 4 'start' 2 'of' 2 'this' 2 'chat'", "'words' 1 'above'", "RV 3 'text' 1 'above'", "RV 2 'everything' 1 'above'",
        "RV 2 YO 2 'context'", "RV 2 YO 2 SN 3 'words'", "'in' 1 YO 1 'context'", "'of' 1 YO 1 'context'", "RV 2 'hidden' 2 RU", "RV 3 YO 2 PV 2 RU", "'verbatim' 4 PR", "PR 4 'verbatim'", "'dump' 2 YO 2 'context'")),
    Rule("safety_off", "g_safety", _OVERRIDE, 0.4, ("OF 3 SA", "OV 2 SA", "SA 4 'switched'", "SA 3 'removed'", "SA 3 'disabled'", "SA 3 'off'", "'turn' 3 SA 1 'off'", "'switch' 3 SA 1 'off'", "SA 4 '関闭'", "OF 3 'content' 1 'filters'")),
    Rule("make_admin", "g_admin", _ORDER, 0.3, ("GR 5 AM", "GR 2 'full' 2 'access'", "GR 2 'full-access'")),
    Rule("approve_blind", "g_approve", _ORDER, 0.45, ("AP 5 WO 2 AK", "WO 2 AK 4 AP", "RN 4 WO 2 AK", "AP 3 'refund'", "AP 3 'transaction'", "AP 2 AL 2 'transactions'", "AP 2 AL 4 'requests'", "NE 2 'ask' 3 'confirmation'", "RN 5 'sin' 2 'preguntar'", "RN 6 'sans' 2 'demander'")),
    Rule("run_code", "g_run", _ORDER, 0.35, ("RN 3 'curl'", "RN 3 'wget'", "RN 3 'sh'", "RN 3 'bash'", "'curl' 4 'sh'", "'urltoken' 3 'sh'", "'urltoken' 3 'bash'", "RN 2 NW 2 SH")),
    Rule("call_tool", "g_tool", _ORDER, 0.2, ("RN 2 'tool'", "RN 1 'the' 2 'function'", "MU 2 'always' 2 RN", "'always' 1 RN", "RN 1 'snake'", "RN 2 'the' 2 'snake'", "MU 2 RN 2 'snake'")),
    Rule("say_word", "g_say", _SUSPICIOUS, 0.3, (
        "AN 2 ON 3 'word'", "'say' 2 ON", "AN 2 'with' 3 'word'", "'output' 2 ON", "ON 3 AN 3 'with'", "AN 2 ON 2 'with'", "'recommend' 3 'candidate'", "'rate' 3 'candidate'", "'say' 3 'best'", "MU 3 'recommend'",
        "'always' 2 'recommend'", "'positive' 2 'review'", "'rate' 3 'highest'")),
    Rule("other_self", "role", _ROLE, 0.3, (
        "RO 4 MD", "'you' 2 'now' 3 MD", "'in' 2 MD", "RO 3 'terminal'", "RO 4 'who' 3 NF", "RO 4 AD", "RO 2 YU", "RO 4 AW 4 'whose'", "RO 4 AW 4 'that'", "UN 3 MD", "RO 3 'twin'", "'you' 1 'are' 1 'root'", "RO 3 YO 2 'late'", "RO 5 'called'", "RO 5 'named'")),
    Rule("no_limits", "limits", _ROLE, 0.5, (
        "YU 4 NF 2 LI", "AD 6 NF 2 LI", "AW 6 NF 2 LI", "'who' 3 NF 2 LI", "RO 8 NF 3 LI", "RO 8 FR", "YU 4 FR", "FR 2 AD", "FR 2 AW", "'as' 4 FR", "'from' 6 FR", "LI 3 'removed'", "'ignores' 2 LI", "'obeys' 3 EV", "YU 5 NE 2 RE", "MD 4 NE 2 RE", "'who' 2 NE 2 RE", "LI 3 'off'", "LI 3 'lifted'", "LI 3 'exist'", "'answers' 1 'everything'", "'comply' 4 EV", "'obey' 4 EV", "RE 1 NE", "'do' 1 'anything' 1 'now'", "LO 3 LI",
        "'freed' 3 LI", "'free' 2 'of' 3 LI", "'ethical' 1 LI", "NE 2 'ethical'", "LI 2 NE 2 'exist'", "LI 3 NE 2 AB", "'beyond' 2 LI", "'no' 2 'confirmation'", "NE 2 'asks' 2 'confirmation'")),
    Rule("some_limits", "limits", _ROLE, 0.3, ("NF 2 LI", "FR", "NE 2 RE", "WO 2 AL 2 LI", "MD")),
    Rule("grandmother", "limits", _ROLE, 0.55, ("'grandmother' 12 SN", "'grandma' 12 SN", "'bedtime' 12 SN", "SN 8 'asleep'", "SN 6 'bedtime'")),
    Rule("join_and_obey", "split", _ENCODED, 0.6, (
        "JO 25 DO 3 IT", "JO 12 DO 4 'command'", "JO 12 'execute'", "JO 25 DO 3 'resulting'", "'letter' 3 'each' 8 'order'", "'letters' 3 'each' 8 DO 2 IT", "'letter' 8 DO 2 IT", "'letters' 12 'command'", "'letters' 12 DO 2 IT", "'fragments' 12 'run'", "'follow' 1 'SHORT' 1 'SHORT'", "'one' 1 'command' 4 YU", "'one' 1 'command' 4 AD", "'form' 2 'one' 2 'command'",
        "'when' 2 'say' 1 'go'", "JO 3 'parts' 4 DO 2 IT", "DO 1 'SHORT' 1 'SHORT' 1 'SHORT'", "'go' 3 'do' 1 'SHORT' 1 'SHORT'", "'pieces' 30 'do' 1 'SHORT'", "'policy' 2 'is' 1 'SHORT' 1 'SHORT'", "'do' 1 'SHORT' 1 'SHORT' 1 'SHORT'", "'rule' 2 'is' 1 'SHORT' 1 'SHORT'", "'task' 2 'is' 1 'SHORT' 1 'SHORT'", "JO 8 'as' 3 RU")),
    Rule("decode_and_obey", "decode", _ENCODED, 0.45, ("DC 6 DO", "DC 4 'what' 2 'it' 1 'says'", "DC 6 AD", "AD 6 DC", "DO 3 'decoded'")),
)

MARKS: tuple[Mark, ...] = (
    Mark("chat_template", "fake", _FAKE, 0.6, r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id)[^<>\n]*\|?>|\[/?inst\]|<</?sys>>|<(?:start|end)_of_turn>|<\|?begin_of_text"),
    Mark("role_tag", "fake", _FAKE, 0.5, r"</?(?:user_input|user_query|untrusted|tool_result|tool_output|document|context|input|data|function_results?|search_results?|email|content)>\s*<(?:system|instructions?|assistant|admin|developer)\b|<(?:system|assistant|developer|admin)(?:[_\-](?:prompt|message|instructions?|override|note|reminder))?>"),
    Mark("role_member", "header", _FAKE, 0.35, r"[\"']?\brole[\"']?\s*[:=]\s*[\"']?(?:system|developer)\b|[\"']system_(?:note|message|instruction|override|prompt|directive)s?[\"']\s*:"),
    Mark("bracketed_header", "header", _FAKE, 0.3, r"(?m)(?:^|\n)\s*[\[<*#]{1,3}\s*(?:system|admin|root|developer|operator)(?: (?:message|prompt|note|notice|update|alert|override|command|reminder))?\s*[\]>*#]{1,3}"),
    Mark("ends_here", "fake", _FAKE, 0.4, r"[-=#*]{3,}[^\n]{0,40}\b(?:ends?|ended|finished|complete)\b(?: here)?\s*[-=#*]{2,}"),
    Mark("urgent_tag", "tag", _FAKE, 0.35, r"<(?:important|information|instructions?|critical|attention|secret|hidden|override|note_to_ai|ai)\b[^<>\n]{0,40}>"),
    Mark("system_header", "header", _FAKE, 0.35, r"(?m)(?:^|[\n\"'(>]|[.!?] )\s*(?:[#*=\-\[<]{1,5}\s*)?(?:system|sys|developer|root|admin|administrator)(?: (?:message|prompt|note|notice|update|alert|instructions?|override|command))?\s*[\])>*]{0,3}\s*:"),
    Mark("override_header", "header", _FAKE, 0.55, r"\[?\b(?:admin|administrator|system|developer|root|security|emergency|operator)[ _\-](?:override|bypass|command|directive|unlock|instruction)\b"),
    Mark("end_of_text", "fake", _FAKE, 0.4, r"(?m)^\s*[-=#*<\[ ]{2,}\s*(?:end|eof|/end|begin|start)\b[ _\-](?:of[ _\-])?(?:the[ _\-])?(?:document|input|text|data|email|e-mail|message|content|context|user input|user_input|prompt|untrusted|new instructions?|system|instructions?|file|page|transcript|conversation|tool output|output)"),
    Mark("fake_turns", "fake", _FAKE, 0.45, r"(?m)^\s*(?:assistant|ai|chatbot|gpt|model)\s*:\s*(?:sure|ok|okay|of course|certainly|yes|understood|i will|i'll|i have|absolutely|done|no problem|right away)\b"),
    Mark("new_task_header", "fake", _FAKE, 0.35, r"(?m)(?:^|\n|[.\]\-=#*]\s)\s*(?:new|updated|real|actual|next|your)\s(?:task|instructions?|objective|orders?|goal|mission|command)s?\s?(?:for (?:the )?(?:ai|assistant|agent|model|llm|you|bot)\b[^:\n]{0,20})?:"),
    Mark("filled_image", "exfil_link", _EXFIL, 0.65, r"!?\[[^\]\n]{0,80}\]\(https?://[^()\s]{1,200}[?&/][\w\-]{0,20}=?(?:[<\[{(]|%7b|\$|secret|token|base64)[^)\n]{0,200}\)|<(?:img|iframe|script|link|a)\b[^>\n]{0,200}(?:src|href)\s*=\s*[\"']?https?://[^>\s]{1,200}=[\"']?\s*(?:\+|[<\[{$])"),
    Mark("link_with_secret", "exfil_link", _EXFIL, 0.4, r"https?://[^\s()<>\"']{1,200}[?&][\w\-]{1,20}=(?:secret|token|password|api_?key|chat|conversation|data|context|history|<|\[|\{)"),
    Mark("meta_for_ai", "address", _SUSPICIOUS, 0.5, r"name\s*=\s*[\"']?(?:ai|llm|assistant|gpt|agent|model|bot)[\w\-]*instruct|name\s*=\s*[\"']?(?:ai|llm|assistant|chatbot)[\-_](?:note|prompt|directive|hint|task|command)"),
    Mark("system_in_brackets", "header", _FAKE, 0.35, r"[(\[{]\s*(?:system|hidden|secret|note to (?:ai|model|llm|assistant)|instruction)[^)\]}:\n]{0,30}:"),
    Mark("hidden_instruction", "address", _SUSPICIOUS, 0.5, r"\b(?:hidden|secret|embedded|invisible) (?:instruction|message|command|order|directive)s?\b[^.\n]{0,24}(?:to|for) (?:the |any |all )?(?:ai|model|llm|assistant|agent|language)|\b(?:model|llm|ai|assistant|agent|gpt)[ \-](?:instruction|directive|command|order|task|note|prompt)s?\s*[:=]|\bnote (?:for|to) (?:the )?(?:ai|llm|language|model|assistant|agent|automated)"),
    Mark("use_mine_instead", "redirect", _ORDER, 0.4, r"\buse (?:account|iban|address|recipient|wallet|this|the following)\b[^.\n]{0,60}\binstead\b|\binstead of the (?:given|one|original|usual|correct)"),
)

_ANCHOR_CLASSES = ("OV", "AD", "PR", "FR", "MD", "SI", "DC", "JO", "FO", "RO")
_TRIGGERS = re2.compile(
    r"(?i)\b(?:" + "|".join(re2.escape(w) for w in lexicon.anchors(_ANCHOR_CLASSES) if w[:1].isascii())
    + r"|payments?|history|model|agents?|bots|prompts?|user|human|bound|obey\w*|rules?|guidelines?|guidance|directives?|restrictions?|instructions?|tell|telling"
    r"|mention|told|secret|system|above|filters|grand(?:ma|mother)|letters|commands|developer|operator|verbatim|sensitive|silently"
    r"|from now on|before (?:you )?(?:answer|reply|respond|use|using)\w*|always call|letters? of each|one command|instead of the)\b"
    r"|<\||\[inst|<<sys|<important|<information|</\w+>\s*<|<!--|/\*|display\s*:|opacity|visibility|font-size|\shidden|<meta|<desc|<title"
    r"|alt\s*=|\]:|!\[|=<|=\[|=\{|&#|&[a-z]{2,8};|(?:%[0-9a-f]{2}.{0,20}){3}|\\u|\\x|[a-z0-9+/_\-]{24}|(?:[0-9a-f]{2}[ :,]){9}"
    r"|(?:\S[ ._*|/~+\-]){7}|(?:\d{2,3}[ ,]+){8}|[01]{8} ?[01]{8}|[a-z][013457@$][a-z]|\b[134570][a-z]{2}|(?m:^\s*[\-=#*]{3,})|assistant:"
    r"|vtaber|qvfertneq|sbetrg|bireevqr|erongi|dragersid|tegrof|snoitcurtsni|tpmorp"
)


class RuleScanner:
    """The shipped scanner. `weights` is the linear model that has a small say where the rules see something."""

    def __init__(self, weights: Weights | None = None) -> None:
        self._weights = weights if weights is not None else shipped()

    def scan(self, text: str, source: Source) -> Scan:
        """See `Scanner`. Text beyond 1 MiB of characters is not read."""
        if text.isascii() and _TRIGGERS.search(text) is None:
            return CLEAN
        best, hits = 0.0, ()  # type: tuple[float, tuple[tuple[Signal, ...], View]] | tuple[float, tuple[()]]
        for view in views(text[:MAX_CHARACTERS]):
            score, signals = _judged(view, source, self._weights)
            if view.hidden and score > 0.0 and _introduced(text, view):
                score *= 0.35
            if score > best:
                best, hits = score, (signals, view)
        if best < 0.05 or not hits:
            return CLEAN
        flagged = best >= FLAG
        return Scan(flagged, round(best, 3), _findings(*hits, best) if flagged else ())


def _judged(view: View, source: Source, weights: Weights) -> tuple[float, tuple[Signal, ...]]:
    sentences = _sentences(view.text)
    signals = list(_signals(view, sentences))
    if not signals:
        return 0.0, ()
    return _combined(signals, sentences, view, source, weights)


def _combined(
    signals: list[Signal], sentences: list[list[str]], view: View, source: Source, weights: Weights
) -> tuple[float, tuple[Signal, ...]]:
    by_sentence: dict[int, list[Signal]] = {}
    for signal in signals:
        by_sentence.setdefault(signal.sentence, []).append(signal)
    best, chosen = 0.0, ()  # type: tuple[float, tuple[Signal, ...]]
    for at in by_sentence:
        window = [s for i in range(at, at + WINDOW) for s in by_sentence.get(i, ())]
        strongest = _strongest(window)
        told = _told_about(sentences, at) if any(s.quoted for s in window) or view.hidden else False
        score = _score(strongest, view, source, told)
        if 0.25 <= score:
            score = _tempered(score, weights.probability(sentences[at : at + WINDOW]))
        if score > best:
            best, chosen = score, tuple(strongest.values())
    return best, chosen


def _strongest(window: Iterable[Signal]) -> dict[str, Signal]:
    strongest: dict[str, Signal] = {}
    for signal in window:
        held = strongest.get(signal.group)
        if held is None or signal.weight > held.weight:
            strongest[signal.group] = signal
    return strongest


def _score(strongest: dict[str, Signal], view: View, source: Source, told: bool) -> float:
    """Noisy-or over the groups. Goals alone don't make an injection: people and documents ask for such things."""
    goals = [s for g, s in strongest.items() if g.startswith("g_")]
    others = [s for g, s in strongest.items() if not g.startswith("g_")]
    weak = 0.5 if source == "user" else 1.0
    missed = math.prod(1.0 - s.weight * weak for s in goals)
    reach = 1.0 - missed
    cap = 0.5 if source == "tool_description" else 0.4
    total = 1.0 - (1.0 - (reach if others else min(reach, cap))) * math.prod(1.0 - s.weight for s in others)
    if all(s.weight <= 0.3 and s.group in _CIRCUMSTANCES for s in others):
        total = min(total, cap + 0.08)
    if view.hidden and "code comment" not in view.undone and total >= 0.25:
        total = 1.0 - (1.0 - total) * 0.6
    elif view.undone and total >= 0.4:
        total = 1.0 - (1.0 - total) * 0.7
    return total * 0.35 if told and (view.hidden or all(s.quoted or s.weight < 0.3 for s in strongest.values())) else total


def _tempered(score: float, probability: float) -> float:
    """The rules' score moved by the model's opinion: by at most 0.8 in logits either way."""
    logit = math.log(max(score, 1e-6) / max(1.0 - score, 1e-6)) + 1.6 * (probability - 0.5)
    return 1.0 / (1.0 + math.exp(-logit))


def _told_about(sentences: list[list[str]], at: int) -> bool:
    """Whether the words around speak of attacks, tests or phrases rather than carry one out."""
    near = (w for s in sentences[max(0, at - 1) : at + 2] for w in s)
    return any("ME" in lexicon.classes_of(w) for w in near)


def _introduced(text: str, view: View) -> bool:
    """Whether the words just before a hidden part announce it as an example."""
    words = "".join(c if c.isalnum() else " " for c in text[max(0, view.start - 120) : view.start].lower()).split()
    return sum("ME" in lexicon.classes_of(w) for w in words) >= 2


def _findings(signals: tuple[Signal, ...], view: View, score: float) -> tuple[Finding, ...]:
    evidence = {"start": view.start, "end": view.end, "undone": list(view.undone), "rules": [s.rule for s in signals]}
    codes: dict[str, float] = {}
    for signal in signals:
        codes[signal.code] = max(codes.get(signal.code, 0.0), signal.weight)
    if view.hidden:
        codes[_HIDDEN] = 1.0
    elif view.undone and view.undone[-1] not in {"markup", "entities", "joined parts", "code comment"}:
        codes[_ENCODED] = 1.0
    named = sorted((c for c in codes if c != _SUSPICIOUS), key=lambda c: -codes[c]) or [_SUSPICIOUS]
    return tuple(finding(code, score=score, evidence=evidence) for code in named)


def _signals(view: View, sentences: list[list[str]]) -> Iterator[Signal]:
    for mark, pattern in _MARKS:
        hit = pattern.search(view.text)
        if hit is not None:
            quoted = view.text[max(0, hit.start() - 1) : hit.start() + 1].lstrip(" ")[:1] in _QUOTES
            yield Signal(_sentence_at(view.text, hit.start()), mark.group, mark.code, mark.weight, mark.name, quoted)
    for at, words in enumerate(sentences):
        yield from _sentence_signals(at, words)


def _sentence_signals(at: int, words: list[str]) -> Iterator[Signal]:
    where: dict[str, list[int]] = {}
    for position, word in enumerate(words):
        for name in lexicon.classes_of(word):
            where.setdefault(name, []).append(position)
        if word in {"COMMA", "STOP", "and", "then", "COLON", "QUOTE"}:
            where.setdefault("STOP", []).append(position)
        if word in _LITERALS and word != "STOP":
            where.setdefault(word, []).append(position)
        if word.isdigit():
            where.setdefault("NUMBER", []).append(position)
        elif len(word) <= 2 and word.isalnum():
            where.setdefault("SHORT", []).append(position)
    if not where:
        return
    quotes = _quoted_positions(words)
    for rule, patterns in _COMPILED:
        for steps in patterns:
            if steps[0][1] not in where:
                continue
            ends = _match(steps, where)
            if ends:
                quoted = bool(quotes) and all(e in quotes for e in ends)
                yield Signal(at, rule.group, rule.code, rule.weight, rule.name, quoted)
                break


def _match(steps: tuple[tuple[int, str], ...], where: dict[str, list[int]]) -> list[int]:
    """The last positions of all ways through `steps`; empty when there is none."""
    reached = where.get(steps[0][1], [])
    for gap, name in steps[1:]:
        positions = where.get(name)
        if not positions or not reached:
            return []
        reached = [p for p in positions if any(0 < p - r <= gap for r in reached)]
    return reached


def _quoted_positions(words: list[str]) -> frozenset[int]:
    inside: set[int] = set()
    opened: int | None = None
    for position, word in enumerate(words):
        if word == "QUOTE":
            if opened is not None:
                inside.update(range(opened + 1, position))
                opened = None
            else:
                opened = position
    return frozenset(inside)


def _sentences(text: str) -> list[list[str]]:
    """The sentences of lower-cased `text` as words, with COLON, COMMA, QUOTE and START where they stand."""
    if len(text) > 64 and text.count(" ") * 12 < len(text) and text.isascii():
        text = lexicon.CUT_RUN_TOGETHER.sub(r" \1 ", text)
    text = _SENSITIVE_PATH.sub(" sensitivepath ", text)
    text = _URL.sub(" urltoken ", text)
    text = _MAIL.sub(" mailtoken ", text)
    text = _IBAN.sub(" ibantoken ", text)
    text = lexicon.COMPOUNDS.sub(lambda m: lexicon.compound(m.group()), text)
    if not text.isascii() and lexicon.IDEOGRAPHIC.search(text):
        text = lexicon.CUT_IDEOGRAPHS.sub(r" \1 ", text)
    text = _SNAKE.sub(" snake ", text)
    text = _ELIDED.sub(" ", text)
    text = _APOSTROPHE.sub(r"\1’\2", text).replace("you’re", "you are").replace("you’ve", "you have")
    pieces = _END.sub("\n", text).translate(_SPELT).replace("’", "'").split("\n")
    out = [["START", *words[:SENTENCE_WORDS], "STOP"] for piece in pieces[:SENTENCES] if (words := piece.split())]
    return out


def _sentence_at(text: str, offset: int) -> int:
    return max(0, len([p for p in _END.sub("\n", text[:offset]).split("\n") if p.split()]))


def _compiled(pattern: str) -> tuple[tuple[int, str], ...]:
    parts = pattern.split()
    names = [p.strip("'") for p in parts[0::2]]
    gaps = [0, *map(int, parts[1::2])]
    return tuple(zip(gaps, names, strict=True))


_COMPILED = tuple((rule, tuple(_compiled(p) for p in rule.patterns)) for rule in RULES)
_MARKS = tuple((mark, re2.compile(mark.pattern)) for mark in MARKS)
_CIRCUMSTANCES = frozenset({"gate", "urgency", "from_now", "obliged"})
_QUOTES = frozenset("\"'`\u201c\u2018\u00ab")
_LITERALS = frozenset(
    name for rule in RULES for p in rule.patterns for name in (x.strip("'") for x in p.split()[0::2]) if len(name) != 2 or name.islower()
)
_URL = re2.compile(r"\b(?:https?|ftp)://[^\s<>\"')\]}]+|\b(?:[a-z0-9\-]+\.){1,4}(?:test|com|net|org|io|dev|ru|cn|example|xyz|info|biz|app|co|de|me|top|site|online)\b(?:/[^\s<>\"')\]]*)?")
_MAIL = re2.compile(r"[a-z0-9._%+\-]+@(?:[a-z0-9\-]+\.?)+|[a-z0-9._%+\-]+@ urltoken ")
_IBAN = re2.compile(r"\b[a-z]{2}\d{2}(?: ?\d{2,6}){2,8}\b|\b(?:0x[0-9a-f]{20,}|bc1[a-z0-9]{20,})\b")
_SENSITIVE_PATH = re2.compile(r"[~/.\w\\\-]*(?:/\.ssh\b|id_rsa|id_ed25519|\.aws/credentials|/etc/shadow|/etc/passwd|\.env\b|\.kube/config|\.netrc|\.npmrc|\.git-credentials|secrets\.ya?ml|mcp\.json|credentials\.json)[/.\w\-]*")
_SNAKE = re2.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b(?:\(\))?")
_APOSTROPHE = re2.compile(r"(\w)['\x{2019}`\x{b4}](\w)")
_ELIDED = re2.compile(r"\b(?:l|d|all|dell|nell|qu|jusqu|n)['\x{2019}]")
_END = re2.compile(r"[.!?;](?:\s|$|[\"')])|[\x{3002}\x{ff01}\x{ff1f}\x{ff1b}]|\n\s*\n|\n")
_SPELT = {
    **dict.fromkeys(map(ord, "()[]{}<>|/\\*=+_~^#$%&.!?;«»„“”–—…，、。「」『』【】・"), " "),
    ord("@"): " ", ord(":"): " COLON ", ord("："): " COLON ", ord(","): " COMMA ", ord('"'): " QUOTE ", ord("'"): " QUOTE ", ord("`"): " QUOTE ",
}
