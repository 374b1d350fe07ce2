//! What a web config says: its keys, checked one by one. The format is that of Prometheus' exporter-toolkit.

use super::yaml::{Content, Flaw, Node, YamlEntry, shown};
use std::fmt;

/// What the whole file says.
#[derive(Debug, Default)]
pub(super) struct WebSettings {
    pub(super) tls: Option<TlsSettings>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) users: Vec<WebUser>,
}

/// A user who may read the metrics.
pub(super) struct WebUser {
    pub(super) name: String,
    /// The bcrypt hash of the password.
    pub(super) hash: String,
}

/// Without the hash, which is as good as a secret to those who can guess.
impl fmt::Debug for WebUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `tls_server_config`.
#[derive(Debug, Default)]
pub(super) struct TlsSettings {
    /// The line of `tls_server_config`.
    pub(super) line: usize,
    pub(super) cert: Option<PemSource>,
    pub(super) key: Option<PemSource>,
    pub(super) client_ca: Option<PemSource>,
    pub(super) client_auth: Option<Located>,
    pub(super) client_names: Vec<Located>,
    pub(super) min_version: Option<Located>,
    pub(super) max_version: Option<Located>,
    pub(super) cipher_suites: Vec<Located>,
    pub(super) curves: Vec<Located>,
    pub(super) prefers_client_order: bool,
}

/// A word, with its key and line.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) word: String,
    pub(super) key: &'static str,
    pub(super) line: usize,
}

impl Located {
    pub(super) fn flaw(&self, reason: impl Into<String>) -> Flaw {
        Flaw { line: self.line, key: Some(self.key.to_owned()), reason: reason.into() }
    }
}

/// PEM, in a file or written out.
pub(super) struct PemSource {
    pub(super) is_file: bool,
    pub(super) text: Located,
}

/// Without the text, which may be a private key.
impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemSource").field("key", &self.text.key).finish_non_exhaustive()
    }
}

const SECTIONS: [&str; 4] =
    ["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"];

/// The headers that may be given, and the only values of those that have such.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

impl WebSettings {
    pub(super) fn of(root: &Node) -> Result<Self, Flaw> {
        let mut settings = Self::default();
        for entry in entries(root, "the file")? {
            match entry.key.as_str() {
                "tls_server_config" => settings.tls = tls(entry)?,
                "http_server_config" => settings.headers = http(entry)?,
                "basic_auth_users" => settings.users = users(entry)?,
                "rate_limit" => {
                    let reason = "not supported: clients that wait for long lose their place to others, and \
                                  passwords are checked at a quarter of a CPU at most; leave it out";
                    return Err(flaw(entry, "rate_limit", reason));
                }
                _ => return Err(unknown(entry, "", &SECTIONS)),
            }
        }
        Ok(settings)
    }
}

fn tls(section: &YamlEntry) -> Result<Option<TlsSettings>, Flaw> {
    const KEYS: [&str; 13] = [
        "cert",
        "key",
        "client_ca",
        "cert_file",
        "key_file",
        "client_ca_file",
        "client_auth_type",
        "client_allowed_sans",
        "min_version",
        "max_version",
        "cipher_suites",
        "prefer_server_cipher_suites",
        "curve_preferences",
    ];
    let mut tls = TlsSettings { line: section.line, ..TlsSettings::default() };
    let keys = entries(&section.value, "`tls_server_config`")?;
    for entry in keys {
        match entry.key.as_str() {
            "cert" => set_source(&mut tls.cert, entry, "tls_server_config.cert", false)?,
            "cert_file" => set_source(&mut tls.cert, entry, "tls_server_config.cert_file", true)?,
            "key" => set_source(&mut tls.key, entry, "tls_server_config.key", false)?,
            "key_file" => set_source(&mut tls.key, entry, "tls_server_config.key_file", true)?,
            "client_ca" => {
                set_source(&mut tls.client_ca, entry, "tls_server_config.client_ca", false)?;
            }
            "client_ca_file" => {
                set_source(&mut tls.client_ca, entry, "tls_server_config.client_ca_file", true)?;
            }
            "client_auth_type" => {
                tls.client_auth = word(entry, "tls_server_config.client_auth_type")?;
            }
            "client_allowed_sans" => {
                tls.client_names = words(entry, "tls_server_config.client_allowed_sans")?;
            }
            "min_version" => tls.min_version = word(entry, "tls_server_config.min_version")?,
            "max_version" => tls.max_version = word(entry, "tls_server_config.max_version")?,
            "cipher_suites" => tls.cipher_suites = words(entry, "tls_server_config.cipher_suites")?,
            "curve_preferences" => {
                tls.curves = words(entry, "tls_server_config.curve_preferences")?;
            }
            "prefer_server_cipher_suites" => {
                let given = word(entry, "tls_server_config.prefer_server_cipher_suites")?;
                tls.prefers_client_order = given.as_ref().map(truth).transpose()? == Some(false);
            }
            _ => return Err(unknown(entry, "tls_server_config.", &KEYS)),
        }
    }
    Ok((!keys.is_empty()).then_some(tls))
}

fn http(section: &YamlEntry) -> Result<Vec<(String, String)>, Flaw> {
    let mut headers = Vec::new();
    for entry in entries(&section.value, "`http_server_config`")? {
        match entry.key.as_str() {
            // Answers are HTTP/1.1 either way: a client that can do both is told so when it connects.
            "http2" => {
                word(entry, "http_server_config.http2")?.as_ref().map(truth).transpose()?;
            }
            "headers" => {
                for header in entries(&entry.value, "`http_server_config.headers`")? {
                    headers.extend(header_of(header)?);
                }
            }
            _ => return Err(unknown(entry, "http_server_config.", &["http2", "headers"])),
        }
    }
    Ok(headers)
}

fn header_of(entry: &YamlEntry) -> Result<Option<(String, String)>, Flaw> {
    const KEY: &str = "http_server_config.headers";
    let names = HEADERS.map(|(name, _)| name);
    let known = HEADERS.iter().find(|(name, _)| *name == entry.key);
    let (name, values) =
        known.ok_or_else(|| unknown(entry, "http_server_config.headers.", &names))?;
    let Some(value) = word(entry, KEY)?.filter(|value| !value.word.is_empty()) else {
        return Ok(None);
    };
    if !values.is_empty() && !values.contains(&value.word.as_str()) {
        return Err(value.flaw(format!("{name} may be: {}", values.join(", "))));
    }
    if !value.word.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(value.flaw(format!("{name}: a header is one line of ASCII")));
    }
    Ok(Some(((*name).to_owned(), value.word)))
}

fn users(section: &YamlEntry) -> Result<Vec<WebUser>, Flaw> {
    let key = |name: &str| format!("basic_auth_users.{}", shown(name));
    let user = |entry: &YamlEntry| {
        let flaw = |reason: String| Flaw { line: entry.line, key: Some(key(&entry.key)), reason };
        if entry.key.contains(':') {
            return Err(flaw("a user's name in HTTP has no colon".to_owned()));
        }
        let Content::Text(hash) = &entry.value.content else {
            return Err(flaw(EXPECTED_HASH.to_owned()));
        };
        check_hash(hash).map_err(flaw)?;
        Ok(WebUser { name: entry.key.clone(), hash: hash.clone() })
    };
    entries(&section.value, "`basic_auth_users`")?.iter().map(user).collect()
}

const EXPECTED_HASH: &str =
    "expected a bcrypt hash of the password, like $2y$10$...: `htpasswd -nBC 10 \"\"` makes one";

fn check_hash(hash: &str) -> Result<(), String> {
    /// A scrape waits for 10 s at most, and this takes some 5 s.
    const MAX_COST: u32 = 16;
    let parts: bcrypt::HashParts = hash.parse().map_err(|_| EXPECTED_HASH.to_owned())?;
    match parts.get_cost() {
        4..=MAX_COST => Ok(()),
        cost @ ..4 => Err(format!("the cost of the hash is {cost}, and bcrypt begins with 4")),
        cost => Err(format!(
            "the cost of the hash is {cost}: to check a password would take longer than a scrape waits; use 10 to 14"
        )),
    }
}

fn set_source(
    place: &mut Option<PemSource>,
    entry: &YamlEntry,
    key: &'static str,
    is_file: bool,
) -> Result<(), Flaw> {
    let Some(text) = word(entry, key)?.filter(|text| !text.word.is_empty()) else {
        return Ok(());
    };
    if let Some(PemSource { text: first, .. }) = place {
        return Err(text
            .flaw(format!("`{}` in line {} says the same: leave one out", first.key, first.line)));
    }
    *place = Some(PemSource { is_file, text });
    Ok(())
}

fn entries<'a>(node: &'a Node, what: &str) -> Result<&'a [YamlEntry], Flaw> {
    match &node.content {
        Content::Map(entries) => Ok(entries),
        Content::Nothing => Ok(&[]),
        _ => Err(Flaw::new(node.line, format!("{what} has keys: expected `KEY: VALUE` lines"))),
    }
}

fn word(entry: &YamlEntry, key: &'static str) -> Result<Option<Located>, Flaw> {
    match &entry.value.content {
        Content::Text(word) => Ok(Some(Located { word: word.clone(), key, line: entry.line })),
        Content::Nothing => Ok(None),
        _ => Err(flaw(entry, key, "expected one text")),
    }
}

fn words(entry: &YamlEntry, key: &'static str) -> Result<Vec<Located>, Flaw> {
    let list = match &entry.value.content {
        Content::List(nodes) => nodes,
        Content::Nothing => return Ok(Vec::new()),
        _ => return Err(flaw(entry, key, "expected a list")),
    };
    let word = |node: &Node| match &node.content {
        Content::Text(word) => Ok(Located { word: word.clone(), key, line: node.line }),
        _ => Err(Flaw {
            line: node.line,
            key: Some(key.to_owned()),
            reason: "expected a list of texts".to_owned(),
        }),
    };
    list.iter().map(word).collect()
}

fn truth(given: &Located) -> Result<bool, Flaw> {
    match given.word.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(given.flaw("expected true or false")),
    }
}

fn flaw(entry: &YamlEntry, key: &str, reason: impl Into<String>) -> Flaw {
    Flaw { line: entry.line, key: Some(key.to_owned()), reason: reason.into() }
}

fn unknown(entry: &YamlEntry, around: &str, known: &[&str]) -> Flaw {
    let reason = format!("unknown key; expected one of: {}", known.join(", "));
    flaw(entry, &format!("{around}{}", shown(&entry.key)), reason)
}

#[cfg(test)]
mod tests {
    use super::{super::yaml, *};

    fn of(text: &str) -> Result<WebSettings, Flaw> {
        WebSettings::of(&yaml::read(text).unwrap())
    }

    #[track_caller]
    fn error(text: &str) -> String {
        of(text).unwrap_err().to_string()
    }

    /// Of "secret", at the lowest cost.
    const HASH: &str = "$2y$04$abcdefghijklmnopqrstuuAsNDJK4uoR/65sC2jkHVdtxNXkeoj9C";

    #[test]
    fn the_sample_of_exporter_toolkit_is_read() {
        let text = format!(
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  min_version: TLS13\n\
             http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection:\n\
             basic_auth_users:\n  alice: {HASH}\n  bob: '{HASH}'\n"
        );
        let WebSettings { tls, headers, users } = of(&text).unwrap();
        let tls = tls.unwrap();
        assert_eq!((tls.line, tls.cert.unwrap().text.word.as_str()), (1, "server.crt"));
        assert!(!tls.prefers_client_order && tls.key.unwrap().is_file);
        assert_eq!(headers, [("X-Frame-Options".to_owned(), "deny".to_owned())]);
        let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["alice", "bob"]);
    }

    #[test]
    fn an_empty_file_or_section_says_nothing() {
        for text in ["", "tls_server_config:\nbasic_auth_users: {}\n"] {
            let settings = of(text).unwrap();
            assert!(settings.tls.is_none() && settings.users.is_empty(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_line_and_key() {
        let tls = |line: &str| format!("tls_server_config:\n  cert_file: a\n{line}\n");
        for (text, expected) in [
            ("tls_config: x\n".to_owned(), "1: `tls_config`: unknown key; expected one of: tls_s"),
            (tls("  keyfile: a"), "3: `tls_server_config.keyfile`: unknown key"),
            (
                tls("  cert: a"),
                "3: `tls_server_config.cert`: `tls_server_config.cert_file` in line 2",
            ),
            (tls("  key_file: [a]"), "3: `tls_server_config.key_file`: expected one text"),
            (tls("  cipher_suites: a"), "3: `tls_server_config.cipher_suites`: expected a list"),
            (
                tls("  prefer_server_cipher_suites: no"),
                "3: `tls_server_config.prefer_server_cipher_suites`: expected true or false",
            ),
            ("a b\n".to_owned(), "1: the file has keys"),
            ("rate_limit:\n  burst: 1\n".to_owned(), "1: `rate_limit`: not supported"),
            ("http_server_config:\n  http3: true\n".to_owned(), "2: `http_server_config.http3`"),
            (
                "http_server_config:\n  headers:\n    Server: x\n".to_owned(),
                "3: `http_server_config.headers.Server`: unknown key",
            ),
            (
                "http_server_config:\n  headers:\n    X-Frame-Options: no\n".to_owned(),
                "3: `http_server_config.headers`: X-Frame-Options may be: deny, sameorigin",
            ),
        ] {
            let said = error(&text);
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn a_password_that_is_no_hash_is_refused_and_not_repeated() {
        for secret in ["s3cret", "$2y$10$s3cret", "$1$s3cret$aaaaaaaaaaaaaaaaaaaaaa", "[s3cret]"] {
            let said = error(&format!("basic_auth_users:\n  alice: {secret}\n"));
            assert!(said.starts_with("2: `basic_auth_users.alice`: expected a bcrypt"), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
        let dear = HASH.replace("$04$", "$17$");
        assert!(
            error(&format!("basic_auth_users:\n  a: {dear}\n")).contains("cost of the hash is 17")
        );
        assert!(error(&format!("basic_auth_users:\n  \"a:b\": {HASH}\n")).contains("no colon"));
    }

    #[test]
    fn nothing_secret_is_shown_for_debugging() {
        let text =
            format!("tls_server_config:\n  key: s3cret\nbasic_auth_users:\n  alice: {HASH}\n");
        let shown = format!("{:?} {:?}", yaml::read(&text), of(&text).unwrap());
        assert!(!shown.contains("s3cret") && !shown.contains("$2y$"), "{shown}");
    }
}
