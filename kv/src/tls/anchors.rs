//! A client may show a certificate that is itself in the trusted file: one that it signed itself, say. rustls believes only what
//! such a certificate has signed.
use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use crate::certificate::Certificate;

/// Believes what `verifier` believes, and the trusted certificates themselves while they are valid.
#[derive(Debug)]
pub(super) struct AnchorsToo {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) anchors: Vec<CertificateDer<'static>>,
}

fn is_valid(certificate: &[u8], now: UnixTime) -> bool {
    Certificate::read(certificate).is_some_and(|certificate| certificate.is_valid_at(now.as_secs()))
}

impl ClientCertVerifier for AnchorsToo {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let anchor = self.anchors.iter().any(|anchor| anchor == end_entity);
        match self.verifier.verify_client_cert(end_entity, intermediates, now) {
            Err(Error::InvalidCertificate(CertificateError::Revoked)) => {
                Err(Error::InvalidCertificate(CertificateError::Revoked))
            }
            Err(_) if anchor && is_valid(end_entity, now) => Ok(ClientCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
