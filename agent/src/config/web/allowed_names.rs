//! `client_allowed_sans`: of the clients with a good certificate only those with one of these names in it.

use super::{settings::Located, yaml::Flaw};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, IpAddr, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use std::{net, sync::Arc};
use webpki::EndEntityCert;

/// Names, one of which must be in the certificate as it is here.
#[derive(Debug)]
pub(super) struct AllowedNames {
    /// Of hosts and URIs.
    texts: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl AllowedNames {
    /// None if every name is good.
    pub(super) fn of(given: &[Located]) -> Result<Option<Self>, Flaw> {
        let mut names = Self { texts: Vec::new(), addresses: Vec::new() };
        for name in given {
            if let Ok(address) = name.word.parse::<net::IpAddr>() {
                names.addresses.push(address.into());
            } else if name.word.contains('@') && !name.word.contains("://") {
                return Err(name.flaw("addresses of e-mail in certificates are not read: expected a host, an address or a URI"));
            } else {
                names.texts.push(name.word.clone());
            }
        }
        Ok((!given.is_empty()).then_some(names))
    }

    /// Checks names after `verifier` has checked the rest.
    pub(super) fn besides(self, verifier: Arc<dyn ClientCertVerifier>) -> NamedClients {
        NamedClients { names: self, verifier }
    }

    fn has_one_of(&self, certificate: &EndEntityCert<'_>) -> bool {
        let is_listed = |name: &str| self.texts.iter().any(|allowed| allowed == name);
        certificate.valid_dns_names().any(is_listed)
            || certificate.valid_uri_names().any(is_listed)
            || self.addresses.iter().any(|&address| {
                let name = ServerName::IpAddress(address);
                certificate.verify_is_valid_for_subject_name(&name).is_ok()
            })
    }
}

/// A verifier of certificates and of the names in them.
#[derive(Debug)]
pub(super) struct NamedClients {
    names: AllowedNames,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for NamedClients {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(end_entity, intermediates, now)?;
        let certificate = EndEntityCert::try_from(end_entity)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.names.has_one_of(&certificate) {
            Ok(verified)
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
