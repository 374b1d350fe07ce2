//! TLS of the metrics endpoint, as a web config asks for it, by rustls.

use super::{
    allowed_names::AllowedNames,
    file_stamp::{FileStamp, stamp},
    settings::{Located, PemSource, TlsSettings},
    yaml::Flaw,
};
use crate::files;
use rustls::{
    CipherSuite, NamedGroup, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A chain or a key has some kilobytes; a bundle of all public authorities a quarter of a megabyte.
const MAX_PEM_BYTES: usize = 4 << 20;

/// Reads PEM files, relative ones from the folder of the web config, and notes what they were like.
#[derive(Debug)]
pub(super) struct PemReader<'a> {
    pub(super) folder: &'a Path,
    pub(super) files: Vec<(PathBuf, FileStamp)>,
}

impl PemReader<'_> {
    /// The PEM, and where it comes from, for errors.
    fn read(&mut self, source: &PemSource) -> Result<(String, String), Flaw> {
        if !source.is_file {
            return Ok((source.text.word.clone(), "the text here".to_owned()));
        }
        let path = self.folder.join(&source.text.word);
        // Before it is read: what is written meanwhile is a change. Also one that cannot be read.
        self.files.push((path.clone(), stamp(&path)));
        let shown = path.display().to_string();
        match files::text(&path, MAX_PEM_BYTES) {
            Ok(text) => Ok((text, shown)),
            Err(cause) => Err(source.text.flaw(format!("cannot read {shown}: {cause}"))),
        }
    }

    fn certificates(&mut self, source: &PemSource) -> Result<Vec<CertificateDer<'static>>, Flaw> {
        let (pem, from) = self.read(source)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let flaw = |reason: String| source.text.flaw(reason);
        let certificates = read.map_err(|error| flaw(format!("{from} is no PEM: {error}")))?;
        if certificates.is_empty() {
            return Err(flaw(format!("there is no certificate (BEGIN CERTIFICATE) in {from}")));
        }
        Ok(certificates)
    }
}

impl TlsSettings {
    /// What rustls makes of it.
    pub(super) fn server(&self, pem: &mut PemReader<'_>) -> Result<Arc<ServerConfig>, Flaw> {
        let missing = |key: &str| {
            let reason = format!("`{key}` is missing: TLS needs a certificate and its key");
            Flaw { line: self.line, key: Some("tls_server_config".to_owned()), reason }
        };
        let cert = self.cert.as_ref().ok_or_else(|| missing("cert_file"))?;
        let key = self.key.as_ref().ok_or_else(|| missing("key_file"))?;
        let certificates = pem.certificates(cert)?;
        let (text, from) = pem.read(key)?;
        let private = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
            key.text.flaw(format!(
                "there is no private key in {from}: expected PEM with BEGIN PRIVATE KEY, RSA PRIVATE KEY or EC \
                 PRIVATE KEY, not encrypted"
            ))
        })?;
        let provider = Arc::new(self.provider()?);
        let versions = self.versions()?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|_| self.no_suite())?;
        let builder = match self.client_verifier(pem, &provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut server = builder.with_single_cert(certificates, private).map_err(|error| {
            let reason = match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!(
                        "the key in {from} is not that of the first certificate of `{}`",
                        cert.text.key
                    )
                }
                error => format!("the key in {from} and its certificate cannot be used: {error}"),
            };
            key.text.flaw(reason)
        })?;
        server.ignore_client_order = !self.prefers_client_order;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(server))
    }

    fn no_suite(&self) -> Flaw {
        let given = self.cipher_suites.first();
        let reason = "none of these is for TLS12, the only version that is allowed: allow TLS13, or name others";
        given.map_or_else(|| Flaw::new(self.line, reason), |given| given.flaw(reason))
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, Flaw> {
        let number = |given: &Option<Located>, default: u8| match given {
            None => Ok(default),
            Some(given) => match given.word.as_str() {
                "TLS12" => Ok(2),
                "TLS13" => Ok(3),
                "TLS10" | "TLS11" => {
                    Err(given.flaw("it is broken, and not spoken: expected TLS12 or TLS13"))
                }
                _ => Err(given.flaw("expected TLS12 or TLS13")),
            },
        };
        let (min, max) = (number(&self.min_version, 2)?, number(&self.max_version, 3)?);
        let all = [(3, &TLS13), (2, &TLS12)];
        let allowed = all.into_iter().filter(|(number, _)| (min..=max).contains(number));
        let versions: Vec<_> = allowed.map(|(_, version)| version).collect();
        match &self.max_version {
            Some(max) if versions.is_empty() => {
                Err(max.flaw("it is below `min_version`: no version is left"))
            }
            _ => Ok(versions),
        }
    }

    fn provider(&self) -> Result<CryptoProvider, Flaw> {
        let mut provider = ring::default_provider();
        if !self.cipher_suites.is_empty() {
            // As in Go the list is of TLS 1.2: the suites of 1.3 are all good.
            let is_13 = |suite: &rustls::SupportedCipherSuite| suite.tls13().is_some();
            let (mut suites, known): (Vec<_>, Vec<_>) =
                provider.cipher_suites.iter().copied().partition(is_13);
            for given in &self.cipher_suites {
                let found = known.iter().find(|suite| name_of(suite.suite()) == given.word);
                suites.push(*found.ok_or_else(|| {
                    let names: Vec<String> =
                        known.iter().map(|suite| name_of(suite.suite())).collect();
                    given.flaw(format!(
                        "not a suite that is spoken; expected some of: {}",
                        names.join(", ")
                    ))
                })?);
            }
            provider.cipher_suites = suites;
        }
        if !self.curves.is_empty() {
            let group = |given: &Located| match given.word.as_str() {
                "X25519" => Ok(NamedGroup::X25519),
                "CurveP256" => Ok(NamedGroup::secp256r1),
                "CurveP384" => Ok(NamedGroup::secp384r1),
                _ => Err(given.flaw(
                    "not a curve that is spoken; expected some of: X25519, CurveP256, CurveP384",
                )),
            };
            let wanted: Vec<_> = self.curves.iter().map(group).collect::<Result<_, _>>()?;
            let by_name = |name: &NamedGroup| {
                provider.kx_groups.iter().copied().find(|group| group.name() == *name)
            };
            provider.kx_groups = wanted.iter().filter_map(by_name).collect();
        }
        Ok(provider)
    }

    /// What checks the certificates of clients, if they are to have one.
    fn client_verifier(
        &self,
        pem: &mut PemReader<'_>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, Flaw> {
        const KIND: &str = "client_auth_type";
        let kind = self.client_auth.as_ref();
        let is_required = match kind.map(|kind| kind.word.as_str()) {
            None | Some("" | "NoClientCert") => {
                let idle = self.client_ca.as_ref().map(|source| &source.text);
                return match idle.or(self.client_names.first()) {
                    None => Ok(None),
                    Some(given) => Err(given.flaw(format!(
                        "nobody is asked for a certificate: set `{KIND}` to RequireAndVerifyClientCert"
                    ))),
                };
            }
            Some("RequireAndVerifyClientCert") => true,
            Some("VerifyClientCertIfGiven") => false,
            Some(_) => {
                let reason = "expected RequireAndVerifyClientCert, VerifyClientCertIfGiven or NoClientCert: the other \
                              kinds of this format accept any certificate, which protects nothing";
                return Err(
                    kind.map_or_else(|| Flaw::new(self.line, reason), |kind| kind.flaw(reason))
                );
            }
        };
        let line = kind.map_or(self.line, |kind| kind.line);
        let wrong =
            |reason: String| Flaw { line, key: Some(format!("tls_server_config.{KIND}")), reason };
        let source = self.client_ca.as_ref().ok_or_else(|| {
            wrong("`client_ca_file` is missing: whose certificates are good?".to_owned())
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in pem.certificates(source)? {
            roots.add(certificate).map_err(|error| {
                source
                    .text
                    .flaw(format!("a certificate of it is not that of an authority: {error}"))
            })?;
        }
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = if is_required { builder } else { builder.allow_unauthenticated() };
        let verifier = builder.build().map_err(|error| wrong(error.to_string()))?;
        Ok(Some(match AllowedNames::of(&self.client_names)? {
            None => verifier,
            Some(names) => Arc::new(names.besides(verifier)),
        }))
    }
}

/// The name that Go, and so the format, has for a suite of TLS 1.2.
fn name_of(suite: CipherSuite) -> String {
    suite.as_str().unwrap_or_default().to_owned()
}
