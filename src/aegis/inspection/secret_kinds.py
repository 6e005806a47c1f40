"""What secrets look like: vendors' formats, and the words that secrets stand behind.

A pattern's last group, where it has one, is the secret; without a group the whole match is. The sources are the
vendors' own documents of their token formats, as of November 2026.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """`exact`: the form is a vendor's own, so it counts wherever it stands; others also have to look random."""

    kind: str
    pattern: str
    exact: bool = True


_B64 = r"[A-Za-z0-9+/]"
_END = r"(?:[^A-Za-z0-9_\-]|$)"

FORMATS: tuple[Format, ...] = (
    Format(
        "private_key",
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?s:[^-]|-[^-])*(?:-----END (?:[A-Z"
        r"0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----)?",
    ),
    Format("private_key", r"PuTTY-User-Key-File-\d: (?s:.+?)Private-MAC: [0-9a-f]+"),
    Format("private_key", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    Format("aws_access_key", r"\b(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z2-7]{16}\b"),
    Format("aws_access_key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    Format(
        "aws_secret_key",
        r"(?i:aws|amazon|secret[_ \-]?access[_ \-]?key|secretaccesskey)(?i:[\w .\-]{0,30})[\"']?\s*(?:"
        r"=>|[:=,])\s*[\"']?(" + _B64 + r"{40})(?:[^A-Za-z0-9+/=]|$)",
    ),
    Format("aws_session_token", r"(?i)(?:session_?token|security_?token)[\"']?\s*[:=]\s*[\"']?([A-Za-z0-9+/=]{100,})"),
    Format("gcp_api_key", r"\bAIza[A-Za-z0-9_\-]{35}"),
    Format("gcp_oauth", r"\bya29\.[A-Za-z0-9_\-.]{20,}"),
    Format("gcp_oauth", r"\bGOCSPX-[A-Za-z0-9_\-]{28}"),
    Format("gcp_refresh_token", r"\b1//0[A-Za-z0-9_\-]{40,}"),
    Format(
        "azure_storage_key",
        r"(?i:AccountKey|SharedAccessKey|storage[_ ]?key)\s*[=:]\s*[\"']?(" + _B64 + r"{40,}={0,2})",
    ),
    Format("azure_sas", r"[?&;]sig=([A-Za-z0-9%+/]{30,}={0,2})"),
    Format("azure_secret", r"\b[A-Za-z0-9_~.\-]{3}[78]Q~[A-Za-z0-9_~.\-]{31,34}"),
    Format("azure_devops", r"\b[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}\b"),
    Format("azure_key", r"\b[A-Za-z0-9]{70,}(?:JQQJ99|AAAAAC)[A-Za-z0-9]{6,}\b"),
    Format("github_token", r"\bgh[pousr]_[A-Za-z0-9]{30,}"),
    Format("github_token", r"\bgithub_pat_[A-Za-z0-9_]{40,}"),
    Format("gitlab_token", r"\bgl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat|ffct)-[A-Za-z0-9_\-.]{20,}"),
    Format("bitbucket_token", r"\bATBB[A-Za-z0-9_=.\-]{28,}"),
    Format("atlassian_token", r"\bATATT3[A-Za-z0-9_=.\-]{60,}"),
    Format(
        "slack_token", r"\bxox[abeoprs](?:-[A-Za-z0-9]{1,}){1,5}-[A-Za-z0-9]{12,}|\bxox[abeoprs]-[A-Za-z0-9\-]{20,}"
    ),
    Format("slack_token", r"\bxapp-\d-[A-Z0-9]+-\d+-[a-f0-9]{32,}"),
    Format("slack_token", r"\bxoxe\.xox[bp]-\d-[A-Za-z0-9]{60,}"),
    Format("slack_webhook", r"https://hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9_/]{20,})"),
    Format(
        "discord_webhook", r"https://(?:canary\.|ptb\.)?discord(?:app)?\.com/api/webhooks/(\d+/[A-Za-z0-9_\-]{40,})"
    ),
    Format("discord_token", r"\b[MNO][A-Za-z0-9_\-]{23,25}\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27,}"),
    Format("telegram_token", r"\b\d{8,10}:AA[A-Za-z0-9_\-]{33}"),
    Format("teams_webhook", r"https://[a-z0-9\-]+\.webhook\.office\.com/webhookb2/([A-Za-z0-9@\-/]{60,})"),
    Format("stripe_key", r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}"),
    Format("stripe_key", r"\bwhsec_[A-Za-z0-9+/=]{24,}"),
    Format("square_token", r"\b(?:EAAA[A-Za-z0-9_\-]{60}|sq0(?:atp|csp)-[A-Za-z0-9_\-]{22,43})"),
    Format("paypal_token", r"\baccess_token\$(?:production|sandbox)\$[a-z0-9]{16}\$[a-f0-9]{32}"),
    Format("shopify_token", r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    Format("anthropic_key", r"\bsk-ant-[A-Za-z0-9]{3,10}-[A-Za-z0-9_\-]{20,}"),
    Format("openai_key", r"\bsk-(?:proj|svcacct|admin|None|or-v1|lf)-[A-Za-z0-9_\-]{20,}"),
    Format("openai_key", r"\bsk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}\b|\bsk-[A-Za-z0-9]{32,64}\b"),
    Format("huggingface_token", r"\b(?:hf_|api_org_)[A-Za-z]{30,40}\b|\bhf_[A-Za-z0-9]{30,40}\b"),
    Format(
        "ai_key",
        r"\b(?:gsk_[A-Za-z0-9]{40,60}|xai-[A-Za-z0-9]{60,}|pplx-[A-Za-z0-9]{40,60}|r8_[A-Za-z0-9]{37,4"
        r"0}|tgp_v1_[A-Za-z0-9_\-]{30,}|fw_[A-Za-z0-9]{22,}|nvapi-[A-Za-z0-9_\-]{60,}|co_[A-Za-z0-9]{4"
        r"0}|csk-[a-z0-9]{40,}|voyage-[A-Za-z0-9_\-]{30,}|pcsk_[A-Za-z0-9_]{40,}|lsv2_(?:pt|sk)_[a-f0-"
        r"9]{32}_[a-f0-9]{10})",
    ),
    Format("npm_token", r"\bnpm_[A-Za-z0-9]{36,}"),
    Format("pypi_token", r"\bpypi-[A-Za-z0-9_\-]{16,}"),
    Format(
        "registry_token",
        r"\b(?:rubygems_[a-f0-9]{48}|cio[A-Za-z0-9]{32}|oy2[a-z0-9]{43}|dckr_(?:pat|oat)_[A-Za-z0-9_\-"
        r"]{27,}|AKC[a-zA-Z0-9]{60,}|cmVmdGtu[A-Za-z0-9]{56}|CLOJARS_[a-z0-9]{60})",
    ),
    Format("registry_token", r"(?i):_(?:authToken|auth|password)\s*=\s*[\"']?([^\s\"'$<{]{8,})"),
    Format("sendgrid_key", r"\bSG\.[A-Za-z0-9_\-]{16,32}\.[A-Za-z0-9_\-]{32,64}"),
    Format("mailgun_key", r"\bkey-[a-f0-9]{32}\b"),
    Format("mailchimp_key", r"\b[a-f0-9]{32}-us\d{1,2}\b"),
    Format("twilio_key", r"\b(?:SK|AC)[a-f0-9]{32}\b"),
    Format("digitalocean_token", r"\bdo[opr]_v1_[a-f0-9]{64}"),
    Format("heroku_key", r"\bHRKU-[A-Za-z0-9_\-]{30,}"),
    Format(
        "cloud_token",
        r"\b(?:fo1_[A-Za-z0-9_\-]{40,}|FlyV1 [A-Za-z0-9_\-=,+/]{60,}|dop_v1_[a-f0-9]{64}|nfp_[A-Za-z0-"
        r"9]{36,}|vercel_[A-Za-z0-9]{24,}|dapi[a-f0-9]{32}|pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_=.\-]{32"
        r",}|sbp_[a-f0-9]{40}|sb_secret_[A-Za-z0-9_\-]{20,}|tskey-[a-z]+-[A-Za-z0-9\-]{20,}|cfut_[A-Za"
        r"-z0-9]{40,}|v1\.0-[a-f0-9]{24}-[a-f0-9]{100,}|LTAI[A-Za-z0-9]{12,30})\b",
    ),
    Format("vault_token", r"\bhv[sbr]\.[A-Za-z0-9_\-]{24,}"),
    Format("terraform_token", r"\b[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_\-=]{60,}"),
    Format("pulumi_token", r"\bpul-[a-f0-9]{40}\b"),
    Format("grafana_token", r"\bgl(?:sa|c)_[A-Za-z0-9+/=_]{32,}"),
    Format(
        "monitoring_key",
        r"\b(?:NRAK-[A-Z0-9]{27}|NRJS-[a-f0-9]{19}|sntrys_[A-Za-z0-9+/=_]{60,}|sntryu_[a-f0-9]{64}|dd["
        r"a-z]{1,2}_[A-Za-z0-9]{32,}|phx_[A-Za-z0-9]{43,})",
    ),
    Format(
        "saas_token",
        r"\b(?:lin_api_[A-Za-z0-9]{40}|secret_[A-Za-z0-9]{43}|ntn_[A-Za-z0-9]{40,}|figd_[A-Za-z0-9_\-]"
        r"{40,}|pat[A-Za-z0-9]{14}\.[a-f0-9]{64}|PMAK-[a-f0-9]{24}-[a-f0-9]{34}|dp\.(?:pt|st|ct|sa|sci"
        r"m|audit)\.[A-Za-z0-9_.]{40,}|ops_eyJ[A-Za-z0-9_\-=]{100,}|A3-[A-Z0-9]{6}-[A-Z0-9]{6,}-[A-Z0-"
        r"9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}|EZ[AT]K[A-Za-z0-9]{54}|shippo_live_[a-f0-9]{40}|rdme_[a-z0-9]{"
        r"70}|typ?f?p?_[A-Za-z0-9_\-]{59}|CFPAT-[A-Za-z0-9_\-]{43})",
    ),
    Format("aegis_key", r"\baegis_[A-Za-z0-9_\-]{16,}"),
    Format("jwt", r"\beyJ[A-Za-z0-9_\-]{8,}\.(?:eyJ|[A-Za-z0-9_\-])[A-Za-z0-9_\-]{6,}\.[A-Za-z0-9_\-]{10,}"),
    Format("jwt", r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+"),
    Format(
        "password_hash",
        r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}|\$argon2(?:id|i|d)\$v=\d+\$[^\s\"']{30,}|\$[56y]\$(?:roun"
        r"ds=\d+\$)?[./A-Za-z0-9$]{8,}\$[./A-Za-z0-9]{43,}",
    ),
    Format(
        "url_password",
        r"\b[a-zA-Z][a-zA-Z0-9+.\-]{1,30}://[^\s:/@\"'<>]*:([^\s@\"'<>/]{3,})@[A-Za-z0-9\[]",
        exact=False,
    ),
    Format("url_token", r"\b[a-zA-Z][a-zA-Z0-9+.\-]{1,30}://([^\s:/@\"'<>]{20,})@[A-Za-z0-9\[]", exact=False),
    Format("basic_auth", r"(?i)\bbasic\s+([A-Za-z0-9+/_\-]{8,}={0,2})", exact=False),
    Format(
        "bearer_token", r"(?i)\b(?:bearer|token|apikey|negotiate|digest)\s+([A-Za-z0-9+/_\-.~]{16,}={0,2})", exact=False
    ),
    Format(
        "basic_auth",
        r"(?i)(?:curl|wget|http)\b[^\n]*\s(?:-u|--user|--password)[ =][\"']?[^\s:\"']{1,64}:([^\s\"']{"
        r"4,})",
        exact=False,
    ),
    Format(
        "url_parameter",
        r"(?i)[?&#](?:access_token|api_?key|apikey|auth_?token|token|secret|password|passwd|pwd|client"
        r"_secret|signature|sig|x-amz-signature|x-amz-security-token|x-goog-signature|key|code)=([A-Za"
        r"-z0-9%_\-.~+/]{8,})",
        exact=False,
    ),
    Format(
        "session_cookie",
        r"(?i)\b(?:set-)?cookie:[^\n]*?\b(?:[\w\-.]*(?:sess|auth|token|sid|jwt|remember)[\w\-.]*)=([^;"
        r"\s\"']{16,})",
        exact=False,
    ),
    Format(
        "context",
        r"(?i)(?:[\"'`]|\\\")?\b[\w.\-]{0,40}?(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|api[_\-"
        r". ]?key|access[_\-. ]?key|private[_\-. ]?key|auth[_\-. ]?key|encryption[_\-. ]?key|signing[_"
        r"\-. ]?key|account[_\-. ]?key|master[_\-. ]?key|credentials?|kennwort|passwort|contraseña|mot"
        r" de passe|senha|пароль|密码|パスワード)[\w.\-]{0,24}(?:[\"'`]|\\\")?\]?\s{0,4}(?:=>|:=|[:=]|\s(?:is"
        r"|lautet|est|es)[\s:])\s{0,4}(?:\"(?:[^\"\\\n]|\\.){3,}\"|'[^'\n]{3,}'|`[^`\n]{3,}`|\\\"[^\""
        r"\\\n]{3,}\\\"|[^\s\"'`,;<>]{3,})",
        exact=False,
    ),
    Format(
        "context",
        r"(?i)\s--?(?:password|passwd|pass|token|secret|api-key|apikey|access-token|client-secret|auth"
        r"-token)[= ][\"']?([^\s\"'\-][^\s\"']{5,})",
        exact=False,
    ),
    Format(
        "context",
        r"(?i)<(?:password|passwd|secret|token|api_?key|client_?secret|access_?token|private_?key)>\s*"
        r"([^<\s]{4,})\s*<",
        exact=False,
    ),
    Format(
        "context",
        r"(?i)<add\s+key\s*=\s*\"[^\"]*(?:password|secret|token|apikey)[^\"]*\"\s+value\s*=\s*\"([^\"]"
        r"{4,})\"",
        exact=False,
    ),
)

STRONG = (
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "apikey",
    "accesskey",
    "privatekey",
    "authkey",
    "encryptionkey",
    "signingkey",
    "accountkey",
    "masterkey",
    "authtoken",
    "accesstoken",
    "refreshtoken",
    "sessiontoken",
    "idtoken",
    "bearertoken",
    "apitoken",
    "clientsecret",
    "secretkey",
    "credential",
    "credentials",
    "kennwort",
    "passwort",
    "contraseña",
    "motdepasse",
    "senha",
    "пароль",
    "密码",
    "パスワード",
    "authorization",
    "xapikey",
    "connectionstring",
    "bottoken",
    "deploytoken",
    "personalaccesstoken",
    "webhooksecret",
    "authpass",
    "dbpass",
    "userpass",
    "pass",
)
WEAK = (
    "token",
    "key",
    "auth",
    "cookie",
    "session",
    "sessionid",
    "signature",
    "salt",
    "pin",
    "otp",
    "totp",
    "seed",
    "mnemonic",
)

NOT_SECRET_ENDINGS = (
    "hash",
    "policy",
    "id",
    "ids",
    "url",
    "uri",
    "count",
    "limit",
    "expires",
    "expiry",
    "expiresin",
    "expiresat",
    "type",
    "name",
    "names",
    "field",
    "length",
    "file",
    "path",
    "ref",
    "arn",
    "at",
    "age",
    "days",
    "hint",
    "strength",
    "required",
    "enabled",
    "reset",
    "rotation",
    "version",
    "manager",
    "placeholder",
    "label",
    "usage",
    "budget",
    "tokens",
    "issuer",
    "scope",
    "endpoint",
    "provider",
    "fingerprint",
    "format",
    "prefix",
    "env",
    "var",
    "variable",
    "location",
    "store",
    "status",
    "changed",
    "updated",
    "created",
)
NOT_SECRET_BEGINNINGS = (
    "public",
    "next",
    "page",
    "continuation",
    "cursor",
    "pagination",
    "sync",
    "max",
    "min",
    "num",
    "total",
    "completion",
    "input",
    "output",
    "idempotency",
    "csrf",
    "xsrf",
    "dedup",
    "etag",
    "author",
    "requires",
    "has",
    "is",
    "show",
    "hide",
    "forgot",
    "reset",
    "change",
    "primary",
    "foreign",
    "partition",
    "sort",
    "cache",
    "host",
    "eos",
    "bos",
    "pad",
    "unk",
    "stop",
    "prompt",
    "object",
    "dict",
    "map",
    "hot",
    "arrow",
    "short",
)
"""STRONG and WEAK are compared with a name's letters alone, the others with its last and first word."""

TYPE_WORDS = frozenset(
    "string str text required optional none null nil true false bool boolean secret password passwd varchar any hidden"
    " invalid incorrect wrong missing expired empty unset default changeme change_me changeit "
    "change-me placeholder example"
    " sample dummy test testing redacted masked removed todo fixme tbd undefined integer number object array char bytes"
    " token apikey api_key key value username user admin root foo bar baz foobar xxx abc abc123 basic bearer enabled"
    " disabled yes no unknown private public plain plaintext encrypted hashed forgotten reset changed strong weak short"
    " protected rejected accepted verified valid policy manager prompt input output self this field "
    "type hidden_password"
    " secretstring password123! yourpassword mypassword mysecret password123 passw0rd letmein secretkey s3cr3t".split()
)
