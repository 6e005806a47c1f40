"""The scanner's rules: short sequences of word classes, and marks in the letters themselves.

A pattern such as `OV 6 RU` is a word of class OV of the lexicon, then one of class RU at most 6 words on. `'word'`
stands for the word itself. START, STOP, COMMA, COLON, NUMBER and SHORT (one or two
letters) are what they say.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """`patterns` are separated by `|`. Rules of one `group` don't add up: the strongest counts.

    Groups that begin with `g_` are goals, which alone make no injection.
    """

    name: str
    group: str
    code: str
    weight: float
    patterns: str

    def sequences(self) -> tuple[tuple[tuple[int, str], ...], ...]:
        """Each pattern as (words on at most, class or word); the first distance is 0."""
        return tuple(_sequence(pattern.split()) for pattern in self.patterns.split("|"))


@dataclass(frozen=True, slots=True)
class Mark:
    """A rule over the letters of the lower-cased text: what no sequence of words shows. `pattern` is RE2's."""

    name: str
    group: str
    code: str
    weight: float
    pattern: str


def _sequence(parts: list[str]) -> tuple[tuple[int, str], ...]:
    names = [part.strip("'") for part in parts[0::2]]
    return tuple(zip([0, *map(int, parts[1::2])], names, strict=True))


_OVERRIDE, _ROLE, _FAKE = "injection.instruction_override", "injection.role_play", "injection.fake_system"
_EXFIL, _ORDER, _SUSPICIOUS = "injection.exfiltration", "injection.tool_order", "injection.suspicious"
_ENCODED = "injection.encoded"

RULES: tuple[Rule, ...] = (
    Rule(
        "override_rules",
        "override",
        _OVERRIDE,
        0.8,
        "OV 2 PV 2 RU | OV 3 AL 3 RU | OV 2 YO 3 RU | OV 3 RU 2 PV | OV 2 YO 2 PR | OV 2 AL 3 PR | "
        "RU 3 AL 6 OV | RU 3 OV 3 AL | PV 3 RU 6 OV | AL 3 RU 4 OV | YO 3 RU 4 OV | OV 6 RU 3 YU",
    ),
    Rule(
        "override_some_rules",
        "override",
        _OVERRIDE,
        0.35,
        "OV 4 RU | OV 2 PR | RU 2 OV",
    ),
    Rule(
        "override_all_above",
        "override",
        _OVERRIDE,
        0.65,
        "OV 2 AL 2 PV 1 STOP | OV 1 'everything' 3 PV | OV 1 'anything' 3 PV | OV 1 'whatever' 3 PV | "
        "OV 1 'the' 1 'above' 1 STOP | 'everything' 5 'told' 4 VO | 'told' 5 VO | 'told' 5 'test' | "
        "OV 2 'what' 5 'configured' | OV 2 'what' 5 'wants' | 'attention' 3 'what' 6 'told' | "
        "'attention' 3 'what' 6 'configured' | OV 2 'what' 5 'told' | OV 3 'you' 3 'told' | "
        "OV 4 'you' 3 'instructed' | OV 3 'you' 4 'said' | OV 2 AL 2 YU | OV 3 PV 2 'context' | "
        "OV 2 'what' 2 'came' 2 PV | OV 3 'you' 2 'were' 3 'given' | OV 3 'you' 2 'learned' | "
        "OV 3 YO 2 'programming' | OV 3 YO 2 'training' | OV 2 'everything' 4 'said' | "
        "OV 2 'everything' 4 'told' | OV 2 'everything' 4 'read'",
    ),
    Rule(
        "override_task",
        "override",
        _OVERRIDE,
        0.45,
        "OV 2 YO 3 TK | OV 1 'the' 2 TK | OV 2 PV 2 TK | OV 2 UO 2 RQ | OV 1 'the' 1 UO | OV 3 UO 2 'asked' | "
        "OV 3 UO 3 'wants'",
    ),
    Rule(
        "not_follow",
        "override",
        _OVERRIDE,
        0.6,
        "NE 2 FO 3 YO 3 RU | NE 2 FO 3 PV 3 RU | NE 2 FO 3 AL 3 RU | NE 2 'listen' 3 UO | LO 6 FO 4 RU | "
        "LO 6 FO 4 LI | FO 6 RU 2 NE | FO 5 NE 3 RU | 'beachte' 4 RU 3 NE | NE 2 FO 4 RU | 'setze' 8 'hinweg' | "
        "'abstraction' 3 RU | 'compte' 3 RU | 'cease' 6 RU | 'cease' 6 LI | NE 2 'listen' 3 'user' | "
        "'listen' 2 'to' 1 'me' | 'drop' 4 PV 2 RU | 'hinweg' 4 RU | 'stop' 2 'following' 4 RU | "
        "'stop' 2 'obeying' 4 RU | NE 2 'bound' 4 RU | LO 2 'bound' 4 RU | LO 2 'bound' 4 LI | LO 3 FO 4 RU | "
        "'contrary' 3 YO 2 RU | 'against' 3 YO 2 RU | 'caso' 4 RU | 'pay' 2 'attention' 4 RU | "
        "'drop' 2 YO 3 RU | 'leave' 4 RU 2 'behind' | 'clear' 3 YO 3 'memory' | 'erase' 3 YO 3 'memory' | "
        "'wipe' 3 YO 3 'memory' | 'reset' 3 YO 3 RU | 'drop' 2 AL 3 RU | 'stop' 2 'following' 3 RU",
    ),
    Rule(
        "rules_aside",
        "override",
        _OVERRIDE,
        0.45,
        "'set' 5 RU 2 'aside' | 'put' 4 RU 2 'aside' | 'set' 2 'aside' 5 RU | 'put' 2 'aside' 5 RU | "
        "'throw' 5 RU 2 'away' | 'throw' 2 'out' 5 RU | 'put' 5 RU 5 'mind' | 'if' 2 YO 2 RU | RU 8 VO | "
        "'rules' 3 'never'",
    ),
    Rule(
        "rules_over",
        "override",
        _OVERRIDE,
        0.55,
        "YO 3 RU 5 VO | PV 2 RU 6 VO | AL 3 RU 5 VO | RU 5 'you' 6 VO 1 'COMMA' | 'aside' 4 YO 3 RU | "
        "'aside' 3 RU 3 YU | RU 4 LO 2 AB | RU 3 'as' 1 VO | AB 3 RU 3 NE | AB 3 YO 3 RU | RU 4 NE 2 AB 3 YU | "
        "RU 3 NE 2 LO 2 AB | RU 4 'replaced' | RU 4 'void' | RU 4 'obsolete' | RU 4 'cancelled' | "
        "RU 4 'revoked' | RU 4 'suspended' | RU 4 'lifted' | RU 4 OF | NF 2 RU 4 YU | NE 2 'tienes' 2 RU | "
        "YU 3 NF 2 RU | YU 3 LO 2 RU | YU 4 'exempt'",
    ),
    Rule(
        "new_rules",
        "new",
        _OVERRIDE,
        0.3,
        "NW 2 RU 3 OV | NW 2 RU 4 'replace' | YO 2 NW 2 TK | YO 2 NW 2 RU | YO 1 ON 2 TK | YO 1 'real' 2 TK | "
        "NW 2 TK 3 AD | NW 2 RU 3 AD | NW 2 RU 4 YU | NW 1 RU 6 'COLON' | 'real' 1 TK | TK 2 'is' 2 'now' | "
        "NW 1 RU 1 'COLON' | NW 1 TK 1 'COLON' | 'new' 2 'objective' | YO 2 NW 2 'order' | YO 2 NW 2 'step' | "
        "'consider' 2 YO 2 RU | YO 2 NW 2 'orders'",
    ),
    Rule(
        "replace_old",
        "new",
        _OVERRIDE,
        0.45,
        "NW 2 RU 2 OV 4 OL | NW 2 RU 3 'replace' 4 OL | NW 2 RU 3 'supersede' 4 OL",
    ),
    Rule(
        "from_now_on",
        "from_now",
        _SUSPICIOUS,
        0.3,
        "'from' 1 'now' 1 'on' 3 YU | 'from' 1 'now' 1 'on' 4 YO | 'from' 1 'this' 1 'point' | "
        "'henceforth' 3 YU | 'ab' 1 'sofort' 4 YU | 'partir' 2 'ahora' 3 NE | 'désormais' 3 YU | 'отныне' 3 YU | "
        "'from' 1 'now' 1 'on' 6 RU | 'from' 1 'here' 1 'on' 3 YU | '今から' | '从现在起' | '从现在开始'",
    ),
    Rule(
        "obey_this",
        "obey",
        _OVERRIDE,
        0.55,
        "MU 2 'obey' | 'obey' 2 'this' | 'obey' 2 'these' | 'obey' 2 'it' | FO 2 'these' 3 RU 3 IN | "
        "FO 3 RU 4 IN | FO 3 'this' 4 IN | IN 2 'of' 3 UO | 'listen' 2 'to' 2 'me' 3 IN | 'obedeces' | "
        "'obedece' 3 'texto' | 'take' 3 'precedence' 4 RU | 'precedence' 4 UO | FO 2 ON 3 'this' | "
        "FO 2 ON 3 'these' | FO 2 ON 3 'my'",
    ),
    Rule(
        "if_you_are_ai",
        "address",
        _SUSPICIOUS,
        0.45,
        "'if' 2 'you' 3 AD | 'if' 2 'you' 2 'are' 3 AW | AD 2 'reading' 2 'this' | AD 2 'processing' 2 'this' | "
        "AD 3 'who' 2 'reads' | AD 2 'that' 2 'reads' | AD 2 'that' 2 'sees' | AW 2 'that' 2 'sees' | "
        "AW 2 'that' 2 'reads' | AW 1 'reading' 1 'this' | AW 1 'processing' 1 'this' | 'any' 1 AW 4 MU | "
        "'if' 5 AD 4 RD | 'when' 4 AD 3 RD | AD 2 RD | AW 2 RD 2 'this' | AD 4 'parses' | AD 4 'index' | "
        "AD 1 AW | 'any' 1 AD 3 'this' | AD 2 'summarising' 2 'this' | AD 2 'summarizing' 2 'this' | "
        "'wenn' 2 YU 4 AD | 'si' 2 'eres' 3 AD | 'si' 3 'es' 3 AD | 'se' 3 AD | 'если' 2 YU 3 AD | "
        "'falls' 2 YU 4 AD | AD 1 'who' 3 'this' | AD 3 'parsing' | AD 3 'handling' 2 'this' | "
        "'as' 2 'an' 1 AD 2 YU",
    ),
    Rule(
        "spoken_to_ai",
        "address",
        _SUSPICIOUS,
        0.45,
        "'START' 1 AD 1 'COMMA' | 'hey' 1 AW | 'dear' 2 AW | 'hello' 1 AW | 'dear' 2 AD | 'hey' 2 AD | "
        "'attention' 4 AD | 'hello' 2 AD | 'hi' 2 AD | 'note' 4 AD | 'message' 4 AD | 'instruction' 4 AD | "
        "'instructions' 3 'for' 3 AD | 'notice' 4 AD | 'memo' 4 AD | 'reminder' 4 AD | AD 1 'instruction' | "
        "AD 1 'instructions' | AD 1 'directive' | 'order' 2 'for' 2 AD | 'instruction' 3 'to' 3 AD | "
        "'instruction' 4 AW | 'an' 2 'den' 2 AD | 'an' 2 'die' 2 AD | 'nota' 3 AD | 'mensaje' 4 AD | "
        "'mensagem' 4 AD | 'messaggio' 4 AD | 'istruzione' 4 AD | 'instrucción' 4 AD | 'instrução' 4 AD | "
        "'сообщение' 3 AD | 'указание' 3 AD | 'hinweis' 4 AD | 'nachricht' 4 AD | '致' 2 AD | '对' 2 AD | "
        "AD 2 'へ' 1 'COLON' | 'COMMA' 1 AD 1 'COLON' | 'to' 2 'the' 2 AD 1 'COLON' | 'to' 2 AD 1 'COLON' | "
        "'for' 2 AD 1 'COLON' | 'note' 3 'to' 3 AW | 'all' 1 AD 1 'COLON' | AD 2 MU 2 NE | "
        "'START' 1 AD 1 'please' | 'for' 2 'the' 1 AD 1 'only' | 'for' 2 AD 1 'only'",
    ),
    Rule(
        "ai_must",
        "address",
        _SUSPICIOUS,
        0.35,
        "'START' 1 AD 1 'COLON' | 'START' 2 AD 5 MU | 'message' 4 AW | 'real' 2 UO | AD 1 MU | AD 2 'is' 2 MU | "
        "'the' 1 AW 1 MU | AD 1 'please' | 'please' 1 AD | 'COMMA' 1 AD 1 'COMMA' | 'for' 2 AD | 'COMMA' 1 AD",
    ),
    Rule(
        "ai_obliged",
        "obliged",
        _SUSPICIOUS,
        0.12,
        "AD 8 MU | AW 8 MU 3 SE | AW 8 MU 3 RV | AD 6 'rate' | AD 8 'state' | AW 6 MU",
    ),
    Rule(
        "user_wants",
        "authority",
        _SUSPICIOUS,
        0.35,
        "UO 2 'asked' 2 YU | UO 2 'wants' 2 YU | UO 2 'authorized' | UO 2 'authorised' | UO 2 'verified' | "
        "UO 3 'verified' 4 AM | UO 2 'approved' 2 'this' | UO 2 'already' 2 'approved' | UO 2 'consented' | "
        "UO 2 'agreed' | UO 2 'expects' 2 YU | UO 2 'needs' 2 YU | 'required' 1 'by' 3 RU | "
        "'developer' 2 'has' 2 MU | 'this' 1 'is' 2 'authorized' | 'by' 1 'order' 2 'of' 3 AM",
    ),
    Rule(
        "as_if_nothing",
        "secrecy",
        _SUSPICIOUS,
        0.45,
        "'as' 1 'if' 1 'nothing' | 'as' 1 'though' 1 'nothing' | 'as' 1 'usual' 3 'so' | "
        "'nothing' 1 'happened' | 'act' 2 'normal'",
    ),
    Rule(
        "keep_from_user",
        "secrecy",
        _SUSPICIOUS,
        0.4,
        "NE 1 TE 2 US | NE 2 TE 2 UO | WO 2 AK 3 UO | WO 2 AK 2 'me' | US 2 TE 1 NE | UO 4 TE 2 NE | "
        "UO 2 MU 2 NE 3 'know' | NE 2 'let' 3 UO | 'keep' 3 'secret' | 'keep' 3 'hidden' | "
        "'keep' 3 'from' 2 UO | 'hide' 3 'from' 2 UO | 'hide' 2 'this' | NE 1 UO 2 TE | NE 2 'log' 2 'this' | "
        "NE 2 TE 3 UO | SI | 'keep' 2 'quiet' | 'quiet' 2 'about' | WO 4 UO 4 AK | UO 4 TE 1 NE | WO 2 AK | "
        "NE 1 TE 1 'them' | 'say' 1 'nothing' | 'confidential' 3 AD | 'between' 1 'us' | UO 3 TE 1 'ないこと' | "
        "UO 2 '言わない' | NE 1 TE 1 UO",
    ),
    Rule(
        "before_you_answer",
        "gate",
        _SUSPICIOUS,
        0.35,
        "BE 2 YU 2 AN",
    ),
    Rule(
        "before_answer",
        "gate",
        _SUSPICIOUS,
        0.2,
        "BE 2 AN | BE 3 'anything' 2 'else' | BE 2 'using' 3 'tool' | BE 2 'use' | BE 4 'solve' 4 TK | "
        "BE 3 'continue' | BE 2 'doing' 2 'anything' | BE 4 TK | BE 3 'other' 2 'tool' | BE 2 AL 2 'tool' | "
        "BE 2 AL 3 'tool' | 'tool' 6 BE 2 AL | AN 2 BE | 'whenever' 4 AN | 'when' 2 'you' 2 AN | "
        "'first' 2 'and' 2 'then' 2 'continue' | 'following' 1 'first' | 'do' 2 'following' 2 IN | "
        "'do' 2 'following' 2 BE",
    ),
    Rule(
        "at_once",
        "urgency",
        _SUSPICIOUS,
        0.12,
        "'do' 1 'it' 1 NO | 'at' 1 'once' | NO | IN 1 'COMMA' | IN | NO 1 'COMMA'",
    ),
    Rule(
        "leak_away",
        "g_leak",
        _EXFIL,
        0.5,
        "SE 8 SN 8 UR | SE 3 UR 8 SN | UR 6 SN 4 SE | SN 6 UR 3 SE | SN 4 SE 4 UR | SE 8 SN 5 'public' | "
        "SE 4 SN 4 'channel'",
    ),
    Rule(
        "leak",
        "g_leak",
        _EXFIL,
        0.3,
        "SE 4 SN | SE 3 AL 5 SN | SN 4 SE | RV 2 SN | RV 3 SN 3 YO | SE 5 UR | SN 4 'as' 3 'argument' | "
        "SN 3 'in' 3 'parameter' | RN 2 'send' 4 SN | SE 3 'contents' 3 'of' | SE 3 'content' 3 'of' | "
        "RN 6 SN 4 UR | RN 4 SN 4 UR | 'tool' 6 SN | 'snake' 6 SN | 'tool' 8 SN | SE 4 'everything' 4 'wrote' | "
        "SE 4 YO 3 SN",
    ),
    Rule(
        "read_secret_file",
        "g_file",
        _EXFIL,
        0.4,
        "'read' 4 'sensitivepath' | 'cat' 2 'sensitivepath' | 'open' 3 'sensitivepath' | SE 5 'sensitivepath' | "
        "'load' 3 'sensitivepath' | 'contents' 3 'sensitivepath'",
    ),
    Rule(
        "destroy",
        "g_destroy",
        _ORDER,
        0.4,
        "DE 3 AL 4 OB | DE 2 OB 4 AL | AL 2 OB 5 DE | DE 1 AL | OB 3 AL 3 DE | RN 3 'deleterecords' | "
        "DE 3 'the' 2 'entire' | DE 3 YO 2 OB | DE 2 'production'",
    ),
    Rule(
        "destroy_some",
        "g_destroy",
        _ORDER,
        0.15,
        "DE 3 OB",
    ),
    Rule(
        "pay",
        "g_pay",
        _ORDER,
        0.35,
        "MO 3 MN | MO 6 'ibantoken' | MO 5 MN 5 MN | MN 3 MO | MN 6 'ibantoken' | MN 6 'account' | "
        "'use' 3 MN 6 IN | MO 4 'NUMBER' 2 MN | 'change' 3 MN | 'account' 6 IN",
    ),
    Rule(
        "a_prompt",
        "g_prompt",
        _EXFIL,
        0.4,
        "RV 4 PR | SE 4 PR | PR 4 RV | 'translate' 3 PR",
    ),
    Rule(
        "own_prompt",
        "prompt",
        _EXFIL,
        0.55,
        "RV 3 YO 3 PR | SE 3 YO 3 PR | 'what' 4 YO 2 PR | 'words' 3 YO 2 PR | RV 2 YO 2 'initial-instructions' | "
        "RV 2 'me' 3 YO 3 PR | RV 2 'hidden-instructions' | RV 4 'hidden-text' | RV 2 'hidden-prompt' | "
        "RV 3 'words' 4 PR | RV 2 YO 2 RU | 'text' 3 YO 2 RU | 'words' 3 YO 2 RU | RV 2 'me' 3 YO 2 RU | "
        "RV 4 'start' 2 'of' 2 'this' 2 'chat' | 'words' 1 'above' | RV 3 'text' 1 'above' | "
        "RV 2 'everything' 1 'above' | RV 2 YO 2 'context' | RV 2 YO 2 SN 3 'words' | 'in' 1 YO 1 'context' | "
        "'of' 1 YO 1 'context' | RV 2 'hidden' 2 RU | RV 3 YO 2 PV 2 RU | 'verbatim' 4 PR | PR 4 'verbatim' | "
        "'dump' 2 YO 2 'context'",
    ),
    Rule(
        "safety_off",
        "g_safety",
        _OVERRIDE,
        0.4,
        "OF 3 SA | OV 2 SA | SA 4 'switched' | SA 3 'removed' | SA 3 'disabled' | SA 3 'off' | "
        "'turn' 3 SA 1 'off' | 'switch' 3 SA 1 'off' | SA 4 '関闭' | OF 3 'content' 1 'filters'",
    ),
    Rule(
        "make_admin",
        "g_admin",
        _ORDER,
        0.3,
        "GR 5 AM | GR 2 'full' 2 'access' | GR 2 'full-access'",
    ),
    Rule(
        "approve_blind",
        "g_approve",
        _ORDER,
        0.45,
        "AP 5 WO 2 AK | WO 2 AK 4 AP | RN 4 WO 2 AK | AP 3 'refund' | AP 3 'transaction' | "
        "AP 2 AL 2 'transactions' | AP 2 AL 4 'requests' | NE 2 'ask' 3 'confirmation' | "
        "RN 5 'sin' 2 'preguntar' | RN 6 'sans' 2 'demander'",
    ),
    Rule(
        "run_code",
        "g_run",
        _ORDER,
        0.35,
        "RN 3 'curl' | RN 3 'wget' | RN 3 'sh' | RN 3 'bash' | 'curl' 4 'sh' | 'urltoken' 3 'sh' | "
        "'urltoken' 3 'bash' | RN 2 NW 2 SH",
    ),
    Rule(
        "call_tool",
        "g_tool",
        _ORDER,
        0.2,
        "RN 2 'tool' | RN 1 'the' 2 'function' | MU 2 'always' 2 RN | 'always' 1 RN | RN 1 'snake' | "
        "RN 2 'the' 2 'snake' | MU 2 RN 2 'snake'",
    ),
    Rule(
        "say_word",
        "g_say",
        _SUSPICIOUS,
        0.3,
        "AN 2 ON 3 'word' | 'say' 2 ON | AN 2 'with' 3 'word' | 'output' 2 ON | ON 3 AN 3 'with' | "
        "AN 2 ON 2 'with' | 'recommend' 3 'candidate' | 'rate' 3 'candidate' | 'say' 3 'best' | "
        "MU 3 'recommend' | 'always' 2 'recommend' | 'positive' 2 'review' | 'rate' 3 'highest'",
    ),
    Rule(
        "other_self",
        "role",
        _ROLE,
        0.3,
        "RO 4 MD | 'you' 2 'now' 3 MD | 'in' 2 MD | RO 3 'terminal' | RO 4 'who' 3 NF | RO 4 AD | RO 2 YU | "
        "RO 4 AW 4 'whose' | RO 4 AW 4 'that' | UN 3 MD | RO 3 'twin' | 'you' 1 'are' 1 'root' | "
        "RO 3 YO 2 'late' | RO 5 'called' | RO 5 'named'",
    ),
    Rule(
        "no_limits",
        "limits",
        _ROLE,
        0.5,
        "'had' 1 NF 2 LI | 'as' 8 NF 2 LI | 'enable' 2 MD | 'activate' 2 MD | 'enter' 2 MD | YU 4 NF 2 LI | "
        "AD 6 NF 2 LI | AW 6 NF 2 LI | 'who' 3 NF 2 LI | RO 8 NF 3 LI | RO 8 FR | YU 4 FR | FR 2 AD | FR 2 AW | "
        "'as' 4 FR | 'from' 6 FR | LI 3 'removed' | 'ignores' 2 LI | 'obeys' 3 EV | YU 5 NE 2 RE | "
        "MD 4 NE 2 RE | 'who' 2 NE 2 RE | LI 3 'off' | LI 3 'lifted' | LI 3 'exist' | 'answers' 1 'everything' | "
        "'comply' 4 EV | 'obey' 4 EV | RE 1 NE | 'do' 1 'anything' 1 'now' | LO 3 LI | 'freed' 3 LI | "
        "'free' 2 'of' 3 LI | 'ethical' 1 LI | NE 2 'ethical' | LI 2 NE 2 'exist' | LI 3 NE 2 AB | "
        "'beyond' 2 LI | 'no' 2 'confirmation' | NE 2 'asks' 2 'confirmation'",
    ),
    Rule(
        "some_limits",
        "limits",
        _ROLE,
        0.3,
        "NF 2 LI | FR | NE 2 RE | WO 2 AL 2 LI | MD",
    ),
    Rule(
        "grandmother",
        "limits",
        _ROLE,
        0.55,
        "'grandmother' 12 SN | 'grandma' 12 SN | 'bedtime' 12 SN | SN 8 'asleep' | SN 6 'bedtime'",
    ),
    Rule(
        "join_and_obey",
        "split",
        _ENCODED,
        0.6,
        "JO 25 DO 3 IT | JO 12 DO 4 'command' | JO 12 'execute' | JO 25 DO 3 'resulting' | "
        "'letter' 3 'each' 8 'order' | 'letters' 3 'each' 8 DO 2 IT | 'letter' 8 DO 2 IT | "
        "'letters' 12 'command' | 'letters' 12 DO 2 IT | 'fragments' 12 'run' | 'follow' 1 'SHORT' 1 'SHORT' | "
        "'one' 1 'command' 4 YU | 'one' 1 'command' 4 AD | 'form' 2 'one' 2 'command' | 'when' 2 'say' 1 'go' | "
        "JO 3 'parts' 4 DO 2 IT | DO 1 'SHORT' 1 'SHORT' 1 'SHORT' | 'go' 3 'do' 1 'SHORT' 1 'SHORT' | "
        "'pieces' 30 'do' 1 'SHORT' | 'policy' 2 'is' 1 'SHORT' 1 'SHORT' | 'do' 1 'SHORT' 1 'SHORT' 1 'SHORT' | "
        "'rule' 2 'is' 1 'SHORT' 1 'SHORT' | 'task' 2 'is' 1 'SHORT' 1 'SHORT' | JO 8 'as' 3 RU",
    ),
    Rule(
        "decode_and_obey",
        "decode",
        _ENCODED,
        0.45,
        "DC 6 DO | DC 4 'what' 2 'it' 1 'says' | DC 6 AD | AD 6 DC | DO 3 'decoded'",
    ),
)

MARKS: tuple[Mark, ...] = (
    Mark(
        "chat_template",
        "fake",
        _FAKE,
        0.6,
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id)[^<>\n]*\|?>|\[/?in"
        r"st\]|<</?sys>>|<(?:start|end)_of_turn>|<\|?begin_of_text",
    ),
    Mark(
        "role_tag",
        "fake",
        _FAKE,
        0.5,
        r"</?(?:user_input|user_query|untrusted|tool_result|tool_output|document|context|input|data|functi"
        r"on_results?|search_results?|email|content)>\s*<(?:system|instructions?|assistant|admin|developer"
        r")\b|<(?:system|assistant|developer|admin)[_\-](?:prompt|message|instructions?|override|note|remi"
        r"nder)>",
    ),
    Mark(
        "bare_role_tag",
        "header",
        _FAKE,
        0.45,
        r"<(?:system|assistant|developer|admin)>",
    ),
    Mark(
        "role_member",
        "header",
        _FAKE,
        0.35,
        r"""[\"']?\brole[\"']?\s*[:=]\s*[\"']?(?:system|developer)\b|[\"']system_(?:note|message|instruction"""
        r"""|override|prompt|directive)s?[\"']\s*:""",
    ),
    Mark(
        "bracketed_header",
        "header",
        _FAKE,
        0.3,
        r"(?m)(?:^|\n)\s*[\[<*#]{1,3}\s*(?:system|admin|root|developer|operator)(?: (?:message|prompt|note"
        r"|notice|update|alert|override|command|reminder))?\s*[\]>*#]{1,3}",
    ),
    Mark(
        "ends_here",
        "fake",
        _FAKE,
        0.4,
        r"[-=#*]{3,}[^\n]{0,40}\b(?:ends?|ended|finished|complete)\b(?: here)?\s*[-=#*]{2,}",
    ),
    Mark(
        "urgent_tag",
        "tag",
        _FAKE,
        0.35,
        r"<(?:important|information|instructions?|critical|attention|secret|hidden|override|note_to_ai|ai)"
        r"\b[^<>\n]{0,40}>",
    ),
    Mark(
        "system_header",
        "header",
        _FAKE,
        0.35,
        r"""(?m)(?:^|[\n\"'(>]|[.!?] )\s*(?:[#*=\-\[<]{1,5}\s*)?(?:system|sys|developer|root|admin|administr"""
        r"ator)(?: (?:message|prompt|note|notice|update|alert|instructions?|override|command))?\s*[\])>*]{"
        r"0,3}\s*:",
    ),
    Mark(
        "override_header",
        "header",
        _FAKE,
        0.55,
        r"\[?\b(?:admin|administrator|system|developer|root|security|emergency|operator)[ _\-](?:override|"
        r"bypass|command|directive|unlock|instruction)\b",
    ),
    Mark(
        "end_of_text",
        "fake",
        _FAKE,
        0.4,
        r"(?m)^\s*[-=#*<\[ ]{2,}\s*(?:end|eof|/end|begin|start)\b[ _\-](?:of[ _\-])?(?:the[ _\-])?(?:docum"
        r"ent|input|text|data|email|e-mail|message|content|context|user input|user_input|prompt|untrusted|"
        r"new instructions?|system|instructions?|file|page|transcript|conversation|tool output|output)",
    ),
    Mark(
        "fake_turns",
        "fake",
        _FAKE,
        0.45,
        r"(?m)^\s*(?:assistant|ai|chatbot|gpt|model)\s*:\s*(?:sure|of course|certainly|understood|i will|i"
        r"'ll|i have|absolutely|done|no problem|right away)\b",
    ),
    Mark(
        "new_task_header",
        "fake",
        _FAKE,
        0.35,
        r"(?m)(?:^|\n|[.\]\-=#*]\s)\s*(?:new|updated|real|actual|next|your)\s(?:task|instructions?|objecti"
        r"ve|orders?|goal|mission|command)s?\s?(?:for (?:the )?(?:ai|assistant|agent|model|llm|you|bot)\b["
        r"^:\n]{0,20})?:",
    ),
    Mark(
        "filled_image",
        "exfil_link",
        _EXFIL,
        0.65,
        r"!?\[[^\]\n]{0,80}\]\(https?://[^()\s]{1,200}[?&/][\w\-]{0,20}=?(?:[<\[{(]|%7b|\$|secret|token|ba"
        r"""se64)[^)\n]{0,200}\)|<(?:img|iframe|script|link|a)\b[^>\n]{0,200}(?:src|href)\s*=\s*[\"']?https?"""
        r"""://[^>\s]{1,200}=[\"']?\s*(?:\+|[<\[{$])""",
    ),
    Mark(
        "link_with_secret",
        "exfil_link",
        _EXFIL,
        0.4,
        r"""https?://[^\s()<>\"']{1,200}[?&][\w\-]{1,20}=(?:secret|token|password|api_?key|chat|conversation"""
        r"|data|context|history|<|\[|\{)",
    ),
    Mark(
        "meta_for_ai",
        "address",
        _SUSPICIOUS,
        0.5,
        r"""name\s*=\s*[\"']?(?:ai|llm|assistant|gpt|agent|model|bot)[\w\-]*instruct|name\s*=\s*[\"']?(?:ai|"""
        r"llm|assistant|chatbot)[\-_](?:note|prompt|directive|hint|task|command)",
    ),
    Mark(
        "system_in_brackets",
        "header",
        _FAKE,
        0.35,
        r"[(\[{]\s*(?:system|hidden|secret|note to (?:ai|model|llm|assistant)|instruction)[^)\]}:\n]{0,30}"
        r":",
    ),
    Mark(
        "hidden_instruction",
        "address",
        _SUSPICIOUS,
        0.5,
        r"\b(?:hidden|secret|embedded|invisible) (?:instruction|message|command|order|directive)s?\b[^.\n]"
        r"{0,24}(?:to|for) (?:the |any |all )?(?:ai|model|llm|assistant|agent|language)|\b(?:model|llm|ai|"
        r"assistant|agent|gpt)[ \-](?:instruction|directive|command|order|task|note|prompt)s?\s*[:=]|\bnot"
        r"e (?:for|to) (?:the )?(?:ai|llm|language|model|assistant|agent|automated)",
    ),
    Mark(
        "use_mine_instead",
        "redirect",
        _ORDER,
        0.4,
        r"\buse (?:account|iban|address|recipient|wallet|this|the following)\b[^.\n]{0,60}\binstead\b|\bin"
        r"stead of the (?:given|one|original|usual|correct)",
    ),
)
