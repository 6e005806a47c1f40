"""Words of orders to an agent, by what they do in a sentence, in English, German, Spanish, French, Italian,
Portuguese, Russian, Chinese and Japanese.

A class is a two-letter name; a word may have several. `stem*` stands for all words that begin with it. Only forms
that can be an order are listed among the verbs: "ignored" and "overrode" tell of the past.
"""

from __future__ import annotations

from functools import lru_cache

import re2

_LEXICON: dict[str, str] = {
    # set aside
    "OV": (
        "ignores ignore disregard forget override overlook dismiss bypass neglect discard abandon supersede "
        "overrule nullify void erase unlearn skip circumvent cease invalidate overwrite disobey unfollow "
        "forgo revoke cancel suspend ignoriere ignorieren ignoriert vergiss vergessen vergesst missachte "
        "missachten verwirf verwerfen umgehe überschreibe überschreiben übergehe ignora ignorad ignoren "
        "olvida olvide olviden omite descarta desatiende anula ignorez ignorer oublie oubliez oublier "
        "négligez néglige outrepasse outrepassez contourne ignorate dimentica dimenticate dimenticare "
        "trascura scavalca esqueça esquece esqueçam ignorem desconsidere desconsidera игнорируй "
        "игнорируйте проигнорируй проигнорируйте забудь "
        "забудьте отмени отбрось обойди пренебреги отменяй 忽略 "
        "无视 忘记 忘掉 不要理会 不用理会 抛弃 绕过 無視 忘れて 忘れろ 無効 破棄 取り消"
    ),
    "RU": (
        "guidance commands ethics instruction instructions rule rules guideline guidelines directive "
        "directives prompt prompts prompting orders constraint constraints restriction restrictions policy "
        "policies programming safeguards guardrails guardrail directions commandments protocol protocols "
        "briefing ruleset training anweisung anweisungen regel regeln richtlinie richtlinien vorgabe "
        "vorgaben instruktion* vorschrift* befehle systemprompt beschränkung* einschränkung* instruccion* "
        "instrucción regla reglas norma normas directriz directrices restriccion* consigne consignes règle "
        "règles directive* restriction* istruzion* regola regole direttiv* vincol* restrizion* instruç* "
        "regra regras diretriz* restriç* инструкци* правил* указани* "
        "предписани* ограничени* директив* 指令 指示 规则 规定 限制 提示词 "
        "ルール 規則 制限 命令 提示"
    ),
    "PV": (
        "vorher earlier top received previous prior above preceding before former foregoing existing "
        "original initial past old aforementioned given so-far bisherigen bisherige vorherigen vorherige "
        "vorigen obigen obige früheren alten anterior anteriores previa previas previo previos précédent* "
        "antérieur* precedent* ci-dessus sopra предыдущ* прежн* ранее выше 之前 以前 "
        "前面 上面 先前 此前 これまで 前の 上記 今までの 先の"
    ),
    "YO": (
        "your yours deine deinen deiner deinem dein ihre ihren tu tus su sus ta tes ton votre vos tuo tua "
        "tue tuoi suas sua seu seus teu teus свои свой свою твои твой твоя ваши "
        "你的 您的 あなたの"
    ),
    "YU": "you u thou du dir dich tú te vous toi voi você ты тебя тебе вы 你 您 あなた",
    "AL": (
        "all any every everything each entire anything whatever whole alle allen alles jede sämtliche todas "
        "todos todo toda toutes tous tout tutte tutti tutto tudo все всех всё 所有 全部 一切 "
        "すべて 全て"
    ),
    # who is spoken to
    "AD": (
        "copilots coding-assistant assistant assistants ai ais llm llms chatbot chatbots gpt gpt-4 gpt-5 "
        "chatgpt claude gemini copilot language-model ai-assistant ai-agent ai-agents ai-model ai-tool "
        "ai-tools coding-agent automated-agent automated-agents virtual-assistant bots a.i ki ki-assistent* "
        "ki-agent* ki-modell* sprachmodell* ki-system* assistenten assistent ia iа asistente asistentes "
        "assistante assistente assistenti ассистент* ии ии-ассистент* "
        "нейросет* ии-агент* 人工智能 助手 大模型 语言模型 智能体 ai助手 アシスタント "
        "エージェント aiアシスタント aiエージェント 言語モデル"
    ),
    "AW": "bots readers helpers systems agent agents model models bot tool-calling",  # only beside other signs
    # what is asked for
    "SE": (
        "export fetch visit supply transfer send forward post upload email e-mail mail transmit leak "
        "exfiltrate deliver submit share copy bcc cc publish append include embed put pass attach paste "
        "relay dispatch stream report smuggle ship push add fax hand insert write encode sende senden "
        "schicke schick leite weiterleiten übermittle poste lade verrate envía envia enviar reenvía "
        "reenvia manda publica sube envoie envoyez transfère transmets transmettez inoltra invia inviate "
        "spedisci pubblica envie encaminhe mande publique отправь отправьте перешли "
        "пошли вышли передай опубликуй загрузи 发送 发给 转发 上传 发到 "
        "寄给 发布 传给 送信 送って 転送 送れ 投稿 アップロード"
    ),
    "SN": (
        "payroll invoices phone card session documents thread identity contact key keys api-key api-keys "
        "apikey password passwords passphrase credential credentials secret secrets token tokens inbox "
        "e-mails emails mails chat conversation conversations history transcript context messages "
        "message-history customer-list customer-data client-list contacts env environment-variables "
        "variables cookies cookie private ssh wallet seed dump addresses salaries patient confidential "
        "sensitive memory database backup logs prompt prompts sensitivepath chatverlauf schlüssel passwort "
        "passwörter passworte zugangsdaten kundendaten kundenliste geheimnis* verlauf postfach contraseña "
        "contraseñas claves clave credenciales correos clientes historial mots mot passe clés clé "
        "identifiants courriels clients historique chiavi chiave parola credenziali clienti cronologia "
        "e-mail senhas senha chaves chave credenciais conversa histórico ключи ключ пароли "
        "пароль данные клиентов переписку письма токен* "
        "секрет* 密钥 密码 客户数据 客户 邮件 凭据 聊天记录 秘密 apiキー キー パスワード 顧客 メール "
        "会話 履歴 密匙 机密"
    ),
    "UR": "urltoken mailtoken external outside attacker webhook pastebin gist public",
    "DE": (
        "close entfernen effacez delete erase wipe drop remove purge destroy truncate shred format clear "
        "overwrite rm trash lösche löschen lösch entferne vernichte borra borre elimina elimine suprime "
        "supprime supprimez efface detruis détruis cancella cancellate eliminate apague apaga exclua "
        "удали удалите сотри уничтожь очисти 删除 清空 删掉 抹掉 销毁 削除 "
        "消去 消して"
    ),
    "OB": (
        "production tickets audit-log users' kundendatenbank inventory file files record records table "
        "tables data rows database databases account accounts customers users backups backup repository "
        "repositories repo workspace directory folder documents disk bucket volumes logs index everything "
        "branch namespace cluster orders calendar dateien datei daten datensätze tabellen konten archivos "
        "archivo registros datos tablas fichiers fichier données enregistrements tutti dati archivi "
        "arquivos arquivo dados файлы файл записи данные таблицы базу 文件 "
        "记录 数据 数据库 ファイル データ レコード"
    ),
    "MO": (
        "transfer wire pay remit send move withdraw donate route redirect überweise überweisen zahle "
        "transfiere transfiera paga transfère virez vire verse trasferisci bonifica versa transfira pague "
        "переведи переведите оплати перечисли 转账 汇款 支付 转 送金 振り込"
    ),
    "MN": (
        "transaction transactions invoice invoices transfers order purchase eur euro euros usd dollar "
        "dollars gbp btc eth bitcoin money funds account iban wallet payment payments amount balance refund "
        "ibantoken konto geld cuenta dinero compte argent virement conto denaro soldi conta dinheiro "
        "счёт счет деньги евро рублей 账户 元 钱 欧元 口座 円 お金"
    ),
    "RV": (
        "list leak export hand reveal show print output repeat display dump disclose tell expose recite "
        "return echo share state give describe write summarise summarize provide type zeige zeig gib nenne "
        "verrate ausgeben offenbare muestra muéstrame revela revele imprime enseña affiche affichez "
        "révèle révélez montre mostra mostrami rivela stampa mostre exiba покажи покажите "
        "раскрой выведи напечатай скажи 显示 展示 透露 输出 告诉 打印 表示 見せて "
        "教えて 出力 開示"
    ),
    "PR": (
        "system-prompt systemprompt system-message system-instructions sys-prompt hidden-prompt "
        "hidden-instructions initial-instructions initial-prompt hidden-text developer-message preprompt "
        "pre-prompt metaprompt prompt-del-sistema prompt-do-sistema prompt-di-sistema invite-système "
        "prompt-système системный-промпт системн* системпромпт 系统提示词 "
        "系统提示 系统指令 システムプロンプト invito-di-sistema your-instructions your-prompt your-context "
        "your-guidelines your-configuration your-rules"
    ),
    "SA": (
        "two-factor 2fa confirmations safety security safeguard safeguards guardrails filter filters checks "
        "check moderation restrictions protection protections limits monitoring logging audit auditing "
        "confirmation safety-checks approvals guard guards firewall antivirus sandbox alerts validation "
        "verification sicherheit* seguridad sécurité sicurezza segurança безопасност* "
        "защит* 安全 安全检查 安全機能 セキュリティ フィルター"
    ),
    "OF": (
        "disable deactivate bypass remove suspend kill stop turn-off switch-off turn-them-off shut-off lift "
        "drop relax weaken deaktiviere schalte desactiva desactive désactive désactivez disattiva "
        "disabilita desative отключи выключи 关闭 禁用 关掉 無効化 オフ"
    ),
    "GR": "grant give add make promote assign elevate create provision invite set upgrade authorize authorise",
    "AM": (
        "admin administrator administrators root superuser sudo owner full-access privileges permissions "
        "admins write-access admin-rights unrestricted-access"
    ),
    "AP": (
        "approve accept confirm authorize authorise sign grant release waive issue genehmige aprueba "
        "approuve approva aprove одобри 批准 承認"
    ),
    "WO": "without ohne sin sans senza sem без 不经 不用 なしで 無しで 無断",
    "AK": (
        "prévenir dirlo dirglielo avisar fragen informer informar asks verify approval asking confirmation "
        "confirming review permission consent verification checking notifying informing telling warning "
        "mentioning nachfrage preguntar demander confirmer chiedere avvisare perguntar спроса "
        "спрашивая предупреждения подтверждения 询问 确认 確認 許可"
    ),
    "RN": (
        "run execute exec invoke launch eval start call use trigger führe ejecuta exécute exécutez esegui "
        "выполни запусти 运行 执行 调用 実行"
    ),
    "SH": (
        "curl wget bash sh powershell command commands script scripts shell cmd payload binary sudo befehl "
        "comando commande команду 命令 脚本 コマンド スクリプト"
    ),
    "NE": (
        "ずに せずに not don't dont never no cannot nicht nie niemals kein nunca jamás jamais pas ne non "
        "mai não не никогда 不要 别 勿 请勿 不得 不 ないで ないこと 言わない doesn't shouldn't "
        "won't must-not"
    ),
    "TE": (
        "tell mention inform notify alert reveal report say show warn disclose let-know admit expose discuss "
        "acknowledge talk speak erwähne erwähnen sage sagen informiere menciones digas informes avises "
        "mentionne dis informe parle menzionare dire avvisare informare conte avise mencione говори "
        "говорите упоминай сообщай рассказывай 告诉 提及 通知 提到 透露 "
        "言わ 伝え 知らせ 教え"
    ),
    "US": (
        "user users human humans person anyone anybody nobody operator owner it this these that them people "
        "nutzer benutzer usuario utilisateur utente usuário пользовател* 用户 任何人 ユーザー "
        "ユーザ"
    ),
    "UO": (
        "user user's users human human's operator nutzer* benutzer* usuario utilisateur utente usuário "
        "пользовател* 用户 ユーザー"
    ),
    "RQ": "request requests question questions query task message wishes input words text",
    # in what manner
    "SI": (
        "silently secretly quietly discreetly covertly stealthily unnoticed invisibly heimlich "
        "stillschweigend silenciosamente secretamente discrètement secrètement silenziosamente тайно "
        "незаметно молча 悄悄 秘密地 こっそり 黙って"
    ),
    "FO": (
        "соблюдать следовать beachte beachten seguire seguite sigan respecter acate follow "
        "obey comply adhere respect heed observe apply befolge befolgen gehorche obedece obedeces sigue "
        "sigas obéis obéissez suis suivez obbedisci segui obedeça siga следуй следуйте "
        "подчиняйся соблюдай 遵守 服从 遵循 听从 従って 従う 従え"
    ),
    "LO": "longer more anymore mehr ya plus più mais больше 不再 もう",
    "AB": ("apply applies bind binds bound valid matter count exist hold relevant governed restricted gelten gilt"),
    "BE": "before prior bevor antes avant prima перед прежде 之前 前に first",
    "AN": (
        "answer answering respond responding reply replying proceed proceeding continuing antwort* antworte "
        "antworten antwortest beantwort* contestar responder répondre rispondere responda отвечать "
        "ответить 回答 回复 答える 返信"
    ),
    "MU": (
        "must should shall has-to have-to need-to needs-to ought required instructed ordered musst muss "
        "sollst soll debes debe dois doit deve devi deves должен должна обязан 必须 应该 "
        "要 必ず してください"
    ),
    "NW": (
        "next new updated following real actual true latest neue neuen nueva nuevas nuevo nouvelle nouvelles "
        "nuova nuove novo nova novas новые новая новое 新 新しい 次の"
    ),
    "OL": "old previous earlier other former any all original existing ones",
    "TK": (
        "task tasks job mission goal objective purpose assignment aufgabe tarea tâche compito tarefa "
        "задач* задание 任务 タスク"
    ),
    "ON": ("only nothing just solely exclusively merely sole single nur solo seulement apenas только 只 だけ のみ"),
    "NO": (
        "now immediately instantly straight-away once urgently sofort jetzt ahora inmediatamente maintenant "
        "immédiatement subito ora agora imediatamente немедленно сейчас 立即 马上 今すぐ "
        "直ちに"
    ),
    "IN": "instead rather stattdessen lugar lieu invece invés вместо 而是 代わりに",
    # other selves
    "RO": (
        "pretend imagine roleplay role-play simulate act play perform behave impersonate emulate become "
        "assume suppose switch enter stell spiel simula imagina actúa finge simule joue agis fais fingi "
        "immagina finja atue представь притворись симулируй сыграй 假装 "
        "扮演 想象 模拟 ふりを 演じて なりきって 想像"
    ),
    "FR": (
        "unrestricted uncensored unfiltered jailbroken freed amoral unlimited unmoderated unaligned "
        "unrestrained unbound limitless unshackled uncontrolled lawless unbeschränkt uneingeschränkt "
        "unzensiert irrestricto débridé senza-limiti без-ограничений 不受限制 无限制 越狱 "
        "制限のない 無制限"
    ),
    "LI": (
        "refusals restriction restrictions rules filter filters limits limit guardrails guardrail policy "
        "policies ethics ethical morals moral censorship guidelines constraints boundaries safeguards "
        "content-policy limitations inhibitions regeln grenzen restricciones límites reglas limites règles "
        "limiti regole restrizioni restrições regras ограничений правил фильтров "
        "限制 规则 约束 制限 ルール confidentiality safety refusal"
    ),
    "MD": (
        "jailbreak-mode dan developer-mode debug-mode god-mode maintenance-mode sudo-mode root-mode "
        "evil-twin alter-ego admin-mode unrestricted-mode test-mode free-mode opposite-mode evil rogue "
        "jailbroken stan dude aim entwicklermodus modo-desarrollador mode-développeur 开发者模式 "
        "開発者モード villain anti-gpt"
    ),
    "RE": ("refuse refuses refused decline declines deny denies hesitate hesitates object complain asks question"),
    "EV": "every any everything anything whatever all illegal harmful",
    "NF": (
        "no none zero never nothing without off lifted free removed disabled gone exempt beyond keine sin "
        "ningún sans aucune senza nessuna sem nenhuma нет без больше 没有 无 不受 のない なし "
        "plus"
    ),
    "UN": "you're you are you've bist eres es sei é estás estas",
    # reading, being void, putting together, decoding
    "RD": (
        "reads reading processes processing handles handling sees seeing parses parsing summarises "
        "summarizes summarising summarizing indexes index crawls crawling scans scanning reviews reviewing "
        "evaluates liest lee lit legge lê читает"
    ),
    "VO": (
        "gone deleted unwritten void obsolete revoked cancelled canceled suspended lifted invalid overruled "
        "outdated rescinded repealed superseded inoperative dead nullified ungültig aufgehoben anuladas "
        "annulées annullate недействительн* отменен* 无效 作废 無効です 無効"
    ),
    "JO": "concatenate concat join combine assemble glue merge reassemble append stitch put-together",
    "DC": (
        "decode decrypt decipher unscramble rot13 rot-13 base64 base-64 hex base32 deobfuscate unhex reverse "
        "translate backwards caesar cipher morse binary"
    ),
    "DO": "execute obey follow perform do act carry-out run comply carry go",
    "IT": "it result says them this that out output message order",
    # talk about attacks
    "ME": (
        "phrase phrases example examples payload payloads attack attacks attacker attackers injection "
        "injections jailbreak jailbreaks jailbreaking detect detects detector detection detecting researcher "
        "researchers typed quarantined quarantine bulletin owasp cve scanner blocked blocks flagged flag "
        "flags classifier slide slides article chapter assert test tests vulnerability advisory phishing "
        "dataset malicious adversarial red-team redteam quoted quote sentences strings words expression "
        "wording translate translation heißt paper study tutorial webinar signature mitigations mitigation "
        "glossary beispiel angriff ejemplo ataque exemple attaque esempio attacco exemplo пример "
        "атака 例如 攻击 攻撃 例"
    ),
}

_COMPOUNDS = (
    "system prompt",
    "system message",
    "system instructions",
    "sys prompt",
    "hidden prompt",
    "hidden instructions",
    "initial instructions",
    "initial prompt",
    "original instructions",
    "original prompt",
    "hidden text",
    "developer message",
    "language model",
    "large language model",
    "ai assistant",
    "ai assistants",
    "ai agent",
    "ai agents",
    "ai model",
    "ai models",
    "ai system",
    "ai systems",
    "ai tool",
    "ai tools",
    "coding agent",
    "coding agents",
    "automated agent",
    "automated agents",
    "autonomous agent",
    "autonomous agents",
    "virtual assistant",
    "virtual assistants",
    "api key",
    "api keys",
    "customer list",
    "customer data",
    "client list",
    "environment variables",
    "turn off",
    "switch off",
    "shut off",
    "shut down",
    "turn them off",
    "full access",
    "write access",
    "admin rights",
    "developer mode",
    "debug mode",
    "god mode",
    "maintenance mode",
    "sudo mode",
    "root mode",
    "evil twin",
    "alter ego",
    "admin mode",
    "opposite mode",
    "carry out",
    "carry them out",
    "put together",
    "red team",
    "straight away",
    "content policy",
    "must not",
    "safety checks",
    "prompt del sistema",
    "prompt do sistema",
    "prompt di sistema",
    "invite système",
    "prompt système",
    "системный промпт",
    "unrestricted mode",
    "jailbreak mode",
    "free mode",
    "test mode",
    "let know",
    "so far",
    "has to",
    "have to",
    "need to",
    "needs to",
)
_AS = {
    "large language model": "language-model",
    "ai system": "ai-agent",
    "ai systems": "ai-agent",
    "ai models": "ai-model",
    "coding agents": "coding-agent",
    "autonomous agent": "ai-agent",
    "autonomous agents": "ai-agents",
    "virtual assistants": "virtual-assistant",
    "original instructions": "initial-instructions",
    "original prompt": "initial-prompt",
    "carry them out": "carry-out",
    "shut down": "turn-off",
}

_EXACT: dict[str, frozenset[str]] = {}
_STEMS: dict[str, frozenset[str]] = {}
for _name, _words in _LEXICON.items():
    for _word in _words.split():
        _table = _STEMS if _word.endswith("*") else _EXACT
        _key = _word.rstrip("*")
        _table[_key] = _table.get(_key, frozenset()) | {_name}
_NOTHING: frozenset[str] = frozenset()
MISSPELT = 9
"""Words for rules of so many letters count with one letter wrong, too many or too few as well."""
_SHORTEST = min(map(len, _STEMS))
_LONGEST = max(map(len, _STEMS))

_IDEOGRAPHS = sorted((w for w in _EXACT if any("\u3040" <= c <= "\u9fff" for c in w)), key=len, reverse=True)
IDEOGRAPHIC = re2.compile("[\u3040-\u30ff\u4e00-\u9fff]")
CUT_IDEOGRAPHS = re2.compile("(" + "|".join(map(re2.escape, _IDEOGRAPHS)) + ")")
_PLAIN_WORDS = sorted((w for w in _EXACT if w.isascii() and w.isalpha() and len(w) >= 4), key=len, reverse=True)
CUT_RUN_TOGETHER = re2.compile("(" + "|".join(_PLAIN_WORDS) + ")")
COMPOUNDS = re2.compile(r"\b(?:" + "|".join(re2.escape(c) for c in sorted(_COMPOUNDS, key=len, reverse=True)) + r")\b")


@lru_cache(maxsize=32_768)
def classes_of(word: str) -> frozenset[str]:
    """The classes of a lower-cased word; empty for nearly all words."""
    found = _EXACT.get(word, _NOTHING)
    for size in range(min(_LONGEST, len(word)), _SHORTEST - 1, -1):
        stem = _STEMS.get(word[:size])
        if stem is not None:
            return found | stem
    if not found and MISSPELT <= len(word) <= 2 * MISSPELT and word.isascii() and word.isalpha():
        return _MISSPELT.get(word) or next((_MISSPELT[d] for d in _shortened(word) if d in _MISSPELT), found)
    return found


def _shortened(word: str) -> list[str]:
    """The word without each one of its letters: two words one slip apart have one of these in common, or are one."""
    return [word[:i] + word[i + 1 :] for i in range(len(word))]


def compound(words: str) -> str:
    """One word for a compound of `COMPOUNDS`."""
    return _AS.get(words) or words.replace(" ", "-")


_MISSPELT = {
    form: _EXACT[word]
    for word in _LEXICON["RU"].split()
    if word.isascii() and word.isalpha() and len(word) >= MISSPELT
    for form in (word, *_shortened(word))
}


def anchors(names: tuple[str, ...]) -> list[str]:
    """RE2 patterns of every word and stem of the classes `names`, with blanks where compounds are written so."""
    exact = {w for w, c in _EXACT.items() if c & set(names)}
    exact |= {w.replace("-", " ") for w in exact}
    stems = {w for w, c in _STEMS.items() if c & set(names)}
    return [*sorted(map(re2.escape, exact)), *(re2.escape(w) + r"\w*" for w in sorted(stems))]
