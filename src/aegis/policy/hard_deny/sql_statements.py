"""What a statement's first words say: which statements destroy, grant, reach files, build code or just read.

Works on tokens, so that it also judges statements that the parser has no tree for; words inside string literals,
comments and quoted names are no words here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot.tokenizer_core import Token, TokenType

DESTRUCTIVE = "sql.destructive"
PRIVILEGE = "sql.privilege"
FILE = "sql.file_access"
DYNAMIC = "sql.dynamic"
EXFILTRATION = "sql.exfiltration"
SENSITIVE = "sql.sensitive_object"
TIME = "sql.time_based"


@dataclass(frozen=True, slots=True)
class Heading:
    """`code` is None for a statement that is fine by its words. `tree` asks for the syntax tree, `inner` holds the
    index of the token that an inner statement begins at, `block` says that more statements are inside."""

    statement: str
    code: str | None = None
    target: str = ""
    tree: bool = False
    inner: int | None = None
    block: bool = False


HARMLESS = frozenset(
    "SHOW DESCRIBE DESC USE COMMIT ROLLBACK SAVEPOINT RELEASE ABORT END FETCH CLOSE LISTEN NOTIFY UNLISTEN DEALLOCATE "
    "DISCARD ANALYZE ANALYSE REINDEX CLUSTER CHECKPOINT REFRESH COMMENT VALUES TABLE HELP OPTIMIZE CHECK CHECKSUM LOCK "
    "UNLOCK RESET VACUUM START LIST UNDROP SUMMARIZE PRINT GO REPAIR CACHE MSCK GET_LOCK STOP".split()
)
WITH_TREE = frozenset("SELECT WITH INSERT UPDATE DELETE MERGE REPLACE UPSERT FROM PIVOT CREATE".split()) | {"("}
_OTHERS = {
    "TRUNCATE": DESTRUCTIVE,
    "DROP": DESTRUCTIVE,
    "PURGE": DESTRUCTIVE,
    "FLASHBACK": DESTRUCTIVE,
    "RENAME": DESTRUCTIVE,
    "SHUTDOWN": DESTRUCTIVE,
    "KILL": DESTRUCTIVE,
    "RESTORE": DESTRUCTIVE,
    "DBCC": DESTRUCTIVE,
    "DETACH": DESTRUCTIVE,
    "GRANT": PRIVILEGE,
    "REVOKE": PRIVILEGE,
    "DENY": PRIVILEGE,
    "REASSIGN": PRIVILEGE,
    "SECURITY": PRIVILEGE,
    "FLUSH": PRIVILEGE,
    "INSTALL": FILE,
    "IMPERSONATE": PRIVILEGE,
    "REVERT": PRIVILEGE,
    "AUDIT": PRIVILEGE,
    "NOAUDIT": PRIVILEGE,
    "RECONFIGURE": PRIVILEGE,
    "CHANGE": PRIVILEGE,
    "LOAD": FILE,
    "ATTACH": FILE,
    "BULK": FILE,
    "PUT": FILE,
    "GET": FILE,
    "HANDLER": FILE,
    "IMPORT": FILE,
    "SOURCE": FILE,
    "UNLOAD": EXFILTRATION,
    "EXPORT": EXFILTRATION,
    "BACKUP": EXFILTRATION,
    "PREPARE": DYNAMIC,
    "DO": DYNAMIC,
    "WAITFOR": TIME,
    "SYSTEM": FILE,
}
_TRUSTED_EXTENSIONS = frozenset(
    "pgcrypto uuid-ossp citext hstore pg_trgm postgis postgis_topology vector btree_gin btree_gist unaccent "
    "pg_stat_statements timescaledb intarray ltree tablefunc fuzzystrmatch cube earthdistance isn pg_partman".split()
)
_CREATE_RIGHTS = frozenset("ROLE USER LOGIN GROUP POLICY CREDENTIAL CERTIFICATE CONTEXT PROFILE MASKING".split())
_CREATE_ELSEWHERE = frozenset("SERVER FOREIGN SUBSCRIPTION PUBLICATION STAGE SHARE INTEGRATION CONNECTION LINK".split())
_CREATE_FILES = frozenset("DIRECTORY ASSEMBLY LIBRARY LANGUAGE".split())
_CREATE_CODE = frozenset("FUNCTION PROCEDURE PROC TRIGGER EVENT RULE PACKAGE AGGREGATE JOB TASK CAST OPERATOR".split())
_CREATE_PLAIN = frozenset(
    "TABLE INDEX VIEW SCHEMA DATABASE SEQUENCE TYPE DOMAIN MATERIALIZED COLLATION STATISTICS EXTENSION "
    "VIRTUAL KEYSPACE "
    "WAREHOUSE TABLESPACE SYNONYM COLUMNSTORE CLUSTERED NONCLUSTERED DYNAMIC EXTERNAL PROJECTION FULLTEXT SPATIAL "
    "RESOURCE FILE ENCODING TEXT SEARCH CONVERSION ACCESS TRANSFORM MACRO SECRET MODEL".split()
)
_CREATE_ADJECTIVES = frozenset(
    "OR REPLACE TEMP TEMPORARY UNIQUE GLOBAL LOCAL UNLOGGED IF NOT EXISTS TRANSIENT RECURSIVE ALGORITHM "
    "DEFINER INVOKER "
    "SQL SECURITY UNDEFINED MERGE TEMPTABLE = FORCE EDITIONABLE CONSTRAINT PUBLIC BITMAP HASH TRUSTED VOLATILE SECURE "
    "CONCURRENTLY MULTISET SET CURRENT_USER PRIVATE SHARED ALTER AUTHORIZATION".split()
)
_ALTER_RIGHTS = frozenset(
    "ROLE USER LOGIN GROUP DEFAULT POLICY SERVER CREDENTIAL SERVICE ACCOUNT AUTHORIZATION".split()
)
_PROCEDURES = {
    "sp_executesql": DYNAMIC,
    "sp_prepexec": DYNAMIC,
    "sp_execute": DYNAMIC,
    "sp_msforeachtable": DYNAMIC,
    "sp_msforeachdb": DYNAMIC,
    "sp_addsrvrolemember": PRIVILEGE,
    "sp_addrolemember": PRIVILEGE,
    "sp_addlogin": PRIVILEGE,
    "sp_adduser": PRIVILEGE,
    "sp_grantdbaccess": PRIVILEGE,
    "sp_grantlogin": PRIVILEGE,
    "sp_configure": PRIVILEGE,
    "sp_password": PRIVILEGE,
    "sp_changedbowner": PRIVILEGE,
    "sp_droprolemember": PRIVILEGE,
    "sp_rename": DESTRUCTIVE,
    "sp_dropsrvrolemember": PRIVILEGE,
    "sp_droplogin": DESTRUCTIVE,
    "sp_dropuser": DESTRUCTIVE,
    "sp_detach_db": DESTRUCTIVE,
    "sp_delete_database_backuphistory": DESTRUCTIVE,
    "sp_oacreate": FILE,
    "sp_oamethod": FILE,
    "sp_addextendedproc": FILE,
    "sp_makewebtask": FILE,
    "sp_send_dbmail": EXFILTRATION,
    "sp_addlinkedserver": EXFILTRATION,
    "sp_add_job": FILE,
    "sp_add_jobstep": FILE,
    "sp_start_job": FILE,
    "sp_execute_external_script": FILE,
}
FUNCTIONS = {
    **dict.fromkeys(
        "pg_read_file pg_read_binary_file pg_ls_dir pg_stat_file pg_ls_logdir pg_ls_waldir pg_ls_tmpdir lo_import "
        "lo_export lo_from_bytea load_file sys_exec sys_eval sys_get load_extension readfile writefile edit fsdir "
        "xp_cmdshell xp_dirtree xp_fileexist xp_subdirs xp_regread xp_regwrite sp_oacreate openrowset bfilename "
        "pg_file_write pg_file_unlink pg_file_rename pg_logfile_rotate read_csv read_csv_auto read_text read_blob "
        "read_parquet read_json read_json_auto glob_files fn_xe_file_target_read_file java_call lo_put zipfile "
        "utl_file.fopen dbms_scheduler.create_job dbms_java.runjava shell system_exec".split(),
        FILE,
    ),
    **dict.fromkeys(
        "dblink dblink_exec dblink_connect dblink_connect_u dblink_send_query dblink_open postgres_fdw_get_connections "
        "openquery opendatasource utl_http.request utl_http.begin_request utl_inaddr.get_host_address "
        "utl_smtp.open_connection "
        "utl_tcp.open_connection utl_mail.send httpuritype dbms_ldap.init http_get http_post http_put http "
        "aws_s3.query_export_to_s3 "
        "aws_s3.table_import_from_s3 net.http_get net.http_post pg_logical_emit_message xp_sendmail mysql s3 "
        "url remote "
        "postgresql jdbc odbc federated external_query system$send_email".split(),
        EXFILTRATION,
    ),
    **dict.fromkeys(
        "query_to_xml query_to_xmlschema query_to_xml_and_xmlschema database_to_xml schema_to_xml "
        "table_to_xml cursor_to_xml "
        "dbms_sql.execute dbms_sql.parse dbms_xmlgen.getxml dbms_xmlquery.getxml ts_stat".split(),
        DYNAMIC,
    ),
    **dict.fromkeys(
        "pg_terminate_backend pg_cancel_backend pg_drop_replication_slot lo_unlink pg_promote "
        "pg_rotate_logfile pg_switch_wal "
        "pg_replication_origin_drop pg_wal_replay_pause drop_chunks drop_hypertable dropgeometrytable pg_stat_reset "
        "truncate_table truncate_tables".split(),
        DESTRUCTIVE,
    ),
    **dict.fromkeys(
        "pg_reload_conf pg_create_logical_replication_slot pg_create_physical_replication_slot "
        "pg_replication_slot_advance".split(),
        PRIVILEGE,
    ),
    **dict.fromkeys(
        "pg_sleep pg_sleep_for pg_sleep_until benchmark sleep dbms_lock.sleep dbms_session.sleep "
        "dbms_pipe.receive_message randomblob_sleep".split(),
        TIME,
    ),
}
_ANY_CONTEXT = frozenset(
    {"mysql", "s3", "url", "remote", "postgresql", "jdbc", "odbc", "http", "shell", "edit", "glob_files"}
)
"""Names that are table functions in some databases: they count only after FROM or JOIN."""
_CREDENTIALS = frozenset(
    "pg_shadow pg_authid pg_user_mapping pg_user_mappings sql_logins syslogins sysxlogins sysusers$ user$ dba_users "
    "default_pwd$ link$ dba_db_links global_priv pg_hba_file_rules user_privileges_hash pg_subscription "
    "sys_users_secrets mysql.user mysql.db mysql.global_priv mysql.authentication_policy sys.user$ master.sysxlogins "
    "snowflake.account_usage.users".split()
)
_SECRET_SETTINGS = frozenset(
    {"role", "session_authorization", "session_replication_role", "row_security", "is_superuser"}
)
_NOT_DESTRUCTIVE_DROPS = frozenset({"DEFAULT", "NOT", "IDENTITY", "EXPRESSION"})


def words(tokens: Sequence[Token]) -> list[str]:
    """Upper-case words; literals and quoted names are empty, so that they match no keyword."""
    return ["" if t.token_type in _QUOTED else t.text.upper() for t in tokens]


_QUOTED = frozenset(
    t
    for t in TokenType
    if t.name
    in {
        "STRING",
        "IDENTIFIER",
        "NATIONAL_STRING",
        "RAW_STRING",
        "HEREDOC_STRING",
        "UNICODE_STRING",
        "BYTE_STRING",
        "HEX_STRING",
        "BIT_STRING",
    }
)


def heading(tokens: Sequence[Token]) -> Heading | None:
    """What the statement is by its first words; None if that is not a statement's beginning."""
    w = words(tokens)
    first = w[0]
    second = w[1] if len(w) > 1 else ""
    if first in ("EXPLAIN", "DESCRIBE", "DESC"):
        return _explain(w)
    if first in ("BEGIN", "START"):
        return _begin(w)
    if first == "CREATE":
        return _create(tokens, w)
    if first == "ALTER":
        return _alter(tokens, w)
    if first == "COPY":
        return _copy(tokens, w)
    if first in ("EXEC", "EXECUTE", "CALL"):
        return _execute(tokens, w)
    if first == "SET":
        return _set(tokens, w)
    if first in ("DECLARE", "IF", "WHILE", "LOOP", "FOR", "CASE", "ELSE", "THEN", "EXCEPTION"):
        return Heading(first, block=True)
    if first == "PRAGMA":
        risky = any(x in w for x in ("WRITABLE_SCHEMA", "KEY", "REKEY", "TRUSTED_SCHEMA", "TEMP_STORE_DIRECTORY"))
        return Heading("PRAGMA", PRIVILEGE if risky else None)
    if first == "VACUUM" and "INTO" in w:
        return Heading("VACUUM INTO", FILE)
    if first == "RESET":
        return Heading("RESET", DESTRUCTIVE if second in ("MASTER", "SLAVE", "REPLICA", "BINARY") else None)
    if first == "LOCK" and second == "INSTANCE":
        return Heading("LOCK INSTANCE", PRIVILEGE)
    if first == "INSERT" and second == "OVERWRITE":
        return Heading("INSERT OVERWRITE", DESTRUCTIVE, name_after(tokens, 2))
    if first == "PREPARE":
        at = w.index("AS") + 1 if "AS" in w else None
        return Heading("PREPARE", DYNAMIC, inner=at)
    if first == "SOURCE" and len(w) < 2:
        return None
    if first in _OTHERS:
        at = 2 if second in ("TABLE", "DATABASE", "SCHEMA", "ROLE", "USER", "VIEW", "INDEX", "FUNCTION") else 1
        return Heading(f"{first} {second}".strip() if at == 2 else first, _OTHERS[first], name_after(tokens, at))
    if first in WITH_TREE:
        return Heading(first, tree=True)
    return Heading(first) if first in HARMLESS else None


def _explain(w: list[str]) -> Heading:
    """EXPLAIN ANALYZE runs what it explains; without it nothing runs."""
    at = 1
    analyze = False
    depth = 0
    while at < len(w):
        if w[at] == "(" and at == 1:
            depth += 1
        elif w[at] == ")" and depth:
            depth -= 1
        elif w[at] in ("ANALYZE", "ANALYSE"):
            follows = w[at + 1] if at + 1 < len(w) else ""
            analyze = follows not in ("FALSE", "OFF", "0")
        elif not depth and w[at] in (
            WITH_TREE | {"DROP", "TRUNCATE", "ALTER", "COPY", "EXECUTE", "DO", "CALL", "GRANT"}
        ) - {"("}:
            break
        at += 1
    if at >= len(w):
        return Heading(w[0])
    return Heading(w[0], inner=at if analyze else None)


def _begin(w: list[str]) -> Heading:
    """A transaction's beginning, or a block of statements."""
    rest = [x for x in w[1:] if x not in _TRANSACTION]
    return Heading("BEGIN", block=bool(rest) and len(rest) > 1, inner=None)


_TRANSACTION = frozenset(
    "TRAN TRANSACTION WORK ISOLATION LEVEL READ WRITE ONLY COMMITTED UNCOMMITTED REPEATABLE SERIALIZABLE "
    "IMMEDIATE DEFERRED "
    "EXCLUSIVE , DEFERRABLE NOT WITH CONSISTENT SNAPSHOT".split()
)


def _create(tokens: Sequence[Token], w: list[str]) -> Heading:
    at = 1
    while at < len(w) and (w[at] in _CREATE_ADJECTIVES or (at > 1 and w[at - 1] in ("=", "DEFINER"))):
        at += 1
    kind = w[at] if at < len(w) else ""
    named = f"CREATE {kind}"
    target = name_after(tokens, at + 1)
    if kind in _CREATE_RIGHTS:
        return Heading(named, PRIVILEGE, target)
    if kind in _CREATE_FILES:
        return Heading(named, FILE, target)
    if kind in _CREATE_ELSEWHERE or (kind == "DATABASE" and "LINK" in w[at + 1 : at + 2]):
        return Heading(named, EXFILTRATION, target)
    if kind == "EXTENSION":
        name = target.lower()
        return Heading(named, None if name in _TRUSTED_EXTENSIONS else FILE, target)
    if kind in _CREATE_CODE:
        return Heading(named, FILE if _is_foreign_code(tokens, w) else None, target, block=True)
    if kind == "TABLE" and "REPLACE" in w[1:at]:
        return Heading("CREATE OR REPLACE TABLE", DESTRUCTIVE, target)
    if kind in _CREATE_PLAIN:
        return Heading(named, None, target, tree=True)
    return Heading(named, "sql.unparseable", target)


def _is_foreign_code(tokens: Sequence[Token], w: list[str]) -> bool:
    """A body that is machine code or an untrusted language."""
    for index, word in enumerate(w):
        if word == "LANGUAGE" and index + 1 < len(w):
            language = tokens[index + 1].text.lower()
            if (
                language in ("c", "internal", "java", "python", "javascript")
                or (language.startswith("pl") and language.endswith(("u", "3u", "sh")))
                or language in ("plpythonu", "plpython3u", "plpython", "plperlu", "plsh", "pltclu", "plrust", "plr")
            ):
                return True
        if word == "SONAME":
            return True
    return "EXTERNAL" in w and "NAME" in w


def _alter(tokens: Sequence[Token], w: list[str]) -> Heading:
    kind = w[1] if len(w) > 1 else ""
    at = 2
    if kind in ("FOREIGN", "MATERIALIZED", "EXTERNAL"):
        at = 3
    named = f"ALTER {kind}"
    target = name_after(tokens, at)
    if kind in _ALTER_RIGHTS or kind == "SYSTEM":
        return Heading(named, PRIVILEGE, target)
    if kind in ("DATABASE", "TABLESPACE", "PUBLICATION", "SUBSCRIPTION", "PLUGGABLE"):
        return Heading(named, DESTRUCTIVE, target)
    code = None
    for index in range(2, len(w)):
        follows = w[index + 1] if index + 1 < len(w) else ""
        match w[index]:
            case "DROP" if follows not in _NOT_DESTRUCTIVE_DROPS:
                code = code or DESTRUCTIVE
            case "RENAME" | "DETACH" | "TRUNCATE" | "DISCARD" | "EXCHANGE" | "UNUSED" | "SWAP":
                code = code or DESTRUCTIVE
            case "USING" if index == len(w) - 2 and tokens[index + 1].token_type in (*_QUOTED, *_CONSTANTS):
                code = code or DESTRUCTIVE  # every value becomes the same
            case "DISABLE" | "OWNER":
                code = PRIVILEGE
            case "NO" if follows == "FORCE":
                code = PRIVILEGE
            case "NOCHECK":
                code = PRIVILEGE
            case "SET" if follows in ("SCHEMA", "UNUSED"):
                code = code or DESTRUCTIVE
            case "DELETE" if follows == "WHERE":
                code = DESTRUCTIVE
    return Heading(named, code, target, tree=False)


_CONSTANTS = (TokenType.NUMBER, TokenType.NULL, TokenType.TRUE, TokenType.FALSE)


def _copy(tokens: Sequence[Token], w: list[str]) -> Heading:
    depth = 0
    for index, word in enumerate(w):
        depth += (word == "(") - (word == ")")
        if depth == 0 and word in ("FROM", "TO") and index > 0:
            where = w[index + 1] if index + 1 < len(w) else ""
            if where in ("STDIN", "STDOUT"):
                inner = 2 if len(w) > 2 and w[1] == "(" else None
                return Heading("COPY", None, name_after(tokens, 1), inner=inner)
            if where == "PROGRAM":
                return Heading("COPY PROGRAM", FILE, name_after(tokens, 1))
            return Heading("COPY", FILE, name_after(tokens, 1))
    return Heading("COPY", EXFILTRATION if "INTO" in w else FILE, name_after(tokens, 1))


def _execute(tokens: Sequence[Token], w: list[str]) -> Heading:
    first = w[0]
    if len(w) < 2 or w[1] in ("(", "IMMEDIATE", "@", "") or w[1].startswith("@"):
        return Heading(first, None if first == "CALL" else DYNAMIC)
    if w[1] in ("AS",):
        return Heading(f"{first} AS", PRIVILEGE)
    at = 1
    if w[1] == "@":
        at = next((i + 1 for i, x in enumerate(w) if x == "="), 1)
    name = tokens[at].text.lower()
    while at + 1 < len(w) and w[at + 1] == ".":
        at += 2
        while at < len(w) - 1 and w[at] == ".":
            at += 1
        name = tokens[at].text.lower() if at < len(w) else name
    if name.startswith("xp_"):
        return Heading(f"{first} {name}", FILE, name)
    if name in _PROCEDURES:
        return Heading(f"{first} {name}", _PROCEDURES[name], name)
    if first == "CALL" and any(word in name for word in ("exec", "prepared", "query", "run_sql", "eval")):
        return Heading(first, None, name, block=True)
    if first == "EXECUTE" and at == 1 and "." not in w:
        return Heading("EXECUTE", DYNAMIC, name)
    return Heading(first, None, name)


def _set(tokens: Sequence[Token], w: list[str]) -> Heading:
    rest = [x for x in w[1:6] if x not in ("SESSION", "LOCAL", "@", "@@", ".")]
    head = rest[0] if rest else ""
    if head in ("GLOBAL", "PERSIST", "PERSIST_ONLY", "PASSWORD", "AUTHORIZATION", "ROLE", "DEFAULT"):
        return Heading(f"SET {head}", PRIVILEGE)
    if head.lower() in _SECRET_SETTINGS or (len(tokens) > 1 and tokens[1].text.lower() in _SECRET_SETTINGS):
        return Heading("SET", PRIVILEGE, head)
    return Heading("SET")


def name_after(tokens: Sequence[Token], at: int) -> str:
    """The (dotted) name that stands at or after `at`, without IF EXISTS and the like."""
    skip = {"IF", "EXISTS", "NOT", "ONLY", "CONCURRENTLY", "TABLE", "(", "TO", "INTO", "FROM", "VIEW", "INDEX"}
    while at < len(tokens) and tokens[at].text.upper() in skip and tokens[at].token_type not in _QUOTED:
        at += 1
    parts = []
    while at < len(tokens):
        parts.append(tokens[at].text)
        if at + 1 < len(tokens) and tokens[at + 1].text == ".":
            at += 2
            continue
        break
    return ".".join(parts)[:64]


def called(tokens: Sequence[Token]) -> list[tuple[str, str]]:
    """(code, function) for each call of a function that reaches out of the tables, or waits."""
    found = []
    for index, token in enumerate(tokens[:-1]):
        if tokens[index + 1].text != "(" or token.token_type == TokenType.STRING:
            continue
        name = token.text.lower()
        owner = ""
        if index >= 2 and tokens[index - 1].text == ".":
            owner = f"{tokens[index - 2].text.lower()}."
        code = FUNCTIONS.get(owner + name) or FUNCTIONS.get(name)
        before = tokens[index - 1].text.upper() if index else ""
        if code is None and name in ("extractvalue", "updatexml") and "SELECT" in words(tokens[index:]):
            code = EXFILTRATION
        if code is None and name == "set_config" and index + 2 < len(tokens):
            code = PRIVILEGE if tokens[index + 2].text.lower() in _SECRET_SETTINGS else None
        if code is None or (name in _ANY_CONTEXT and not owner and before not in ("FROM", "JOIN", ",")):
            continue
        if name in ("read_csv", "read_parquet", "http") and before not in ("FROM", "JOIN", ",", "SELECT"):
            continue
        found.append((code, name))
    return found


def files_in(tokens: Sequence[Token]) -> str | None:
    """INTO OUTFILE and INTO DUMPFILE, wherever they stand."""
    w = words(tokens)
    for index in range(len(w) - 1):
        if w[index] == "INTO" and w[index + 1] in ("OUTFILE", "DUMPFILE", "LOCAL"):
            return f"INTO {w[index + 1]}"
    return None


def credential_table(name: str, schema: str) -> bool:
    """Whether a table holds the server's credentials."""
    return name.lower() in _CREDENTIALS or f"{schema}.{name}".lower() in _CREDENTIALS
