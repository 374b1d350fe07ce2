//! TLS as a scraper speaks it: authorities, certificates, and a client.

use super::http::{RawAnswer, ask};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use std::{
    fmt, fs, io,
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

/// An authority of certificates.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct KeyedCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate, as PEM.
    pub fn certificate(&self) -> &str {
        &self.pem
    }

    /// For a server on loopback.
    pub fn server(&self) -> KeyedCertificate {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        self.signed(&params)
    }

    /// For a client with this host name in it.
    pub fn client(&self, name: &str) -> KeyedCertificate {
        self.signed(&CertificateParams::new([name.to_owned()]).expect("a name"))
    }

    /// The same, of years ago.
    pub fn expired_client(&self, name: &str) -> KeyedCertificate {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.signed(&params)
    }

    fn signed(&self, params: &CertificateParams) -> KeyedCertificate {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        KeyedCertificate { certificate, key: key.serialize_pem() }
    }
}

impl KeyedCertificate {
    /// Puts both into a folder as NAME.crt and NAME.key, in place of those that are there.
    pub fn write(&self, folder: &Path, name: &str) {
        for (extension, pem) in [("crt", &self.certificate), ("key", &self.key)] {
            replace(&folder.join(format!("{name}.{extension}")), pem);
        }
    }
}

/// Replaces a file in one step, as tools that renew certificates do.
pub fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("write a file");
    fs::rename(new, file).expect("rename it");
}

/// A client that trusts one authority.
#[derive(Clone, Debug)]
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// Without a certificate of its own.
    pub fn trusting(authority: &Authority) -> Self {
        let config = ClientConfig::builder().with_root_certificates(roots(authority));
        Self(Arc::new(config.with_no_client_auth()))
    }

    /// With one.
    pub fn with(authority: &Authority, own: &KeyedCertificate) -> Self {
        let chain = vec![certificate(&own.certificate)];
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
        let config = ClientConfig::builder().with_root_certificates(roots(authority));
        Self(Arc::new(config.with_client_auth_cert(chain, key).expect("a pair")))
    }

    /// A connection with the handshake done as far as the client's part goes.
    pub fn connect(&self, to: SocketAddr) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let name = ServerName::IpAddress(to.ip().into());
        let mut tls = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(tls, stream))
    }

    /// `GET PATH` with these header lines.
    pub fn get(&self, from: SocketAddr, path: &str, headers: &[&str]) -> io::Result<RawAnswer> {
        ask(self.connect(from)?, path, headers)
    }

    /// The certificate that the server shows, as DER.
    pub fn shown_by(&self, server: SocketAddr) -> io::Result<Vec<u8>> {
        let connection = self.connect(server)?.conn;
        let chain = connection.peer_certificates().unwrap_or_default();
        Ok(chain.first().map(|certificate| certificate.to_vec()).unwrap_or_default())
    }
}

/// The DER of a certificate in PEM.
pub fn der(pem: &str) -> Vec<u8> {
    certificate(pem).to_vec()
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.pem)).expect("an authority");
    roots
}
