//! The web config: TLS and passwords of the metrics endpoint, in the file format of Prometheus' exporter-toolkit, which
//! operators know from every exporter. Read anew while the agent runs; one that is wrong is refused as a whole.

mod access;
mod allowed_names;
mod file_stamp;
mod settings;
#[cfg(test)]
pub(crate) mod test_certificates;
mod tls;
mod yaml;

pub(crate) use access::WebAccess;

use crate::files;
use rustls::ServerConfig;
use settings::{WebSettings, WebUser};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tls::PemReader;
use yaml::Flaw;

/// A web config that is no good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebConfigError {
    /// It cannot be read.
    #[error(
        "cannot read the web config {}: {cause}; name another with --web-config-file",
        file.display()
    )]
    Read {
        /// Path of the web config.
        file: PathBuf,
        /// The error of the file layer.
        cause: files::Error,
    },
    /// Something in it is wrong.
    #[error("{}:{flaw}", file.display())]
    Flaw {
        /// Path of the web config.
        file: PathBuf,
        /// What, and in which line.
        flaw: Flaw,
    },
    /// TLS is as it was at the start.
    #[error(
        "{}: TLS is turned on or off by a restart only, so that no client is surprised by the other",
        file.display()
    )]
    TlsSwitched {
        /// Path of the web config; empty if there is none any more.
        file: PathBuf,
    },
}

/// What the metrics endpoint asks of its clients. The default is nothing.
#[derive(Clone, Default)]
pub(crate) struct WebConfig {
    /// TLS; none for plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// Headers that every answer gets.
    pub headers: Vec<(String, String)>,
    /// The bcrypt hash of each user's password. Nobody has to say a password if there is no user.
    pub users: BTreeMap<String, String>,
    /// A hash as dear as the dearest of theirs, which belongs to nobody.
    pub decoy: String,
}

/// Without keys and hashes.
impl fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tls, n_users) = (self.tls.is_some(), self.users.len());
        f.debug_struct("WebConfig")
            .field("tls", &tls)
            .field("n_users", &n_users)
            .finish_non_exhaustive()
    }
}

impl WebConfig {
    /// Reads a web config and what it names. `pem` then has the files, also those that could not be read.
    fn read(file: &Path, pem: &mut PemReader<'_>) -> Result<Self, WebConfigError> {
        // Like the config.
        let text = files::text(file, super::MAX_BYTES)
            .map_err(|cause| WebConfigError::Read { file: file.to_owned(), cause })?;
        Self::of(&text, pem).map_err(|flaw| WebConfigError::Flaw { file: file.to_owned(), flaw })
    }

    fn of(text: &str, pem: &mut PemReader<'_>) -> Result<Self, Flaw> {
        let WebSettings { tls, headers, users } = WebSettings::of(&yaml::read(text)?)?;
        let tls = tls.map(|tls| tls.server(pem)).transpose()?;
        let decoy = decoy(&users);
        let users = users.into_iter().map(|WebUser { name, hash }| (name, hash)).collect();
        Ok(Self { tls, headers, users, decoy })
    }
}

/// What a web config says, without the files that it names.
#[cfg(any(fuzzing, test))]
pub(crate) fn parsed(text: &str) {
    drop(yaml::read(text).and_then(|root| WebSettings::of(&root)));
}

/// A user who is not there takes as long as one who is.
fn decoy(users: &[WebUser]) -> String {
    let cost =
        |user: &WebUser| user.hash.parse().ok().map(|hash: bcrypt::HashParts| hash.get_cost());
    let cost = users.iter().filter_map(cost).max().unwrap_or(10);
    format!("$2y${cost:02}$keepwatchkeepwatchkeeuKeepwatchKeepwatchKeepwatchKee.")
}

#[cfg(test)]
mod tests {
    use super::{test_certificates::TestAuthority, *};

    fn read(folder: &Path, text: &str) -> Result<WebConfig, WebConfigError> {
        let file = folder.join("web.yml");
        std::fs::write(&file, text).unwrap();
        WebConfig::read(&file, &mut PemReader { folder, files: Vec::new() })
    }

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("keepwatch-web-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let authority = TestAuthority::new("ours");
        let (cert, key) = authority.server();
        for (name, pem) in [
            ("server.crt", cert),
            ("server.key", key),
            ("other.key", authority.server().1),
            ("ca.crt", authority.certificate()),
            ("empty.crt", String::new()),
        ] {
            std::fs::write(folder.join(name), pem).unwrap();
        }
        folder
    }

    const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

    #[test]
    fn files_are_those_beside_the_web_config_and_options_are_those_of_tls() {
        let folder = folder("good");
        assert!(read(&folder, "").unwrap().tls.is_none());
        let tls = read(&folder, TLS).unwrap().tls.unwrap();
        assert_eq!(
            (&tls.alpn_protocols[..], tls.ignore_client_order),
            (&[b"http/1.1".to_vec()][..], true)
        );
        for more in [
            "  min_version: TLS13\n",
            "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n",
            "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n",
            "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n  client_allowed_sans: [a.example, 10.0.0.1, 'spiffe://a/b']\n",
            "  client_auth_type: NoClientCert\n  curve_preferences: [CurveP256, X25519]\n",
        ] {
            assert!(read(&folder, &format!("{TLS}{more}")).unwrap().tls.is_some(), "{more}");
        }
        let inline = |name: &str| {
            let pem = std::fs::read_to_string(folder.join(name)).unwrap();
            pem.lines().flat_map(|line| ["    ", line, "\n"]).collect::<String>()
        };
        let text = format!(
            "tls_server_config:\n  cert: |\n{}  key: |\n{}",
            inline("server.crt"),
            inline("server.key")
        );
        assert!(read(&folder, &text).unwrap().tls.is_some());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_cannot_be_is_named_with_file_line_key_and_reason() {
        let folder = folder("bad");
        let good = "tls_server_config:\n  cert_file: server.crt\n";
        for (text, expected) in [
            (good.to_owned(), "web.yml:1: `tls_server_config`: `key_file` is missing"),
            (
                format!("{good}  key_file: no.key\n"),
                "web.yml:3: `tls_server_config.key_file`: cannot read",
            ),
            (
                format!("{good}  key_file: other.key\n"),
                "other.key is not that of the first certificate of `tls_server_config.cert_file`",
            ),
            (
                format!("{good}  key_file: server.crt\n"),
                "web.yml:3: `tls_server_config.key_file`: there is no private key in",
            ),
            (
                TLS.replace("server.crt", "empty.crt"),
                "web.yml:2: `tls_server_config.cert_file`: there is no certificate",
            ),
            (
                format!("{TLS}  min_version: TLS11\n"),
                "web.yml:4: `tls_server_config.min_version`: it is broken",
            ),
            (
                format!("{TLS}  min_version: TLS13\n  max_version: TLS12\n"),
                "web.yml:5: `tls_server_config.max_version`: it is below",
            ),
            (
                format!("{TLS}  client_ca_file: ca.crt\n"),
                "web.yml:4: `tls_server_config.client_ca_file`: nobody is asked",
            ),
            (
                format!("{TLS}  client_auth_type: RequireAnyClientCert\n"),
                "web.yml:4: `tls_server_config.client_auth_type`: expected RequireAnd",
            ),
            (
                format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n"),
                "`client_ca_file` is missing",
            ),
            (
                format!("{TLS}  client_allowed_sans: [x]\n"),
                "web.yml:4: `tls_server_config.client_allowed_sans`: nobody is asked",
            ),
            (
                format!("{TLS}  cipher_suites:\n  - TLS_RSA_WITH_AES_128_CBC_SHA\n"),
                "web.yml:5: `tls_server_config.cipher_suites`: not a suite",
            ),
            (
                format!(
                    "{TLS}  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n  curve_preferences: [CurveP521]\n"
                ),
                "web.yml:5: `tls_server_config.curve_preferences`: not a curve",
            ),
        ] {
            let said = read(&folder, &text).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
        let missing = WebConfig::read(
            &folder.join("none.yml"),
            &mut PemReader { folder: &folder, files: Vec::new() },
        );
        assert!(missing.unwrap_err().to_string().contains("--web-config-file"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_decoy_is_a_hash_as_dear_as_the_dearest_and_opens_to_nobody() {
        let user = |cost: u32| WebUser {
            name: String::new(),
            hash: decoy(&[]).replace("$10$", &format!("${cost:02}$")),
        };
        let decoy = decoy(&[user(4), user(5)]);
        assert!(decoy.starts_with("$2y$05$"), "{decoy}");
        assert!(!bcrypt::verify("keepwatch", &decoy).unwrap());
    }
}
