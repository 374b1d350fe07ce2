//! Connections that the kernel encrypts (kTLS, Documentation/networking/tls.rst): its protocol stands between a socket and TCP.

use crate::{kernel::sys, network::path::Ends};
use std::{io, os::fd::AsFd as _};

/// TLS 1.2 and TLS_CIPHER_AES_GCM_128 of include/uapi/linux/tls.h, then the initialisation vector, the key, the salt and the number of
/// the first record (`struct tls12_crypto_info_aes_gcm_128`).
const KEYS_BYTES: usize = 40;

/// Puts TLS into both ends, as their programs do after a handshake.
///
/// # Errors
/// This kernel has no kTLS (ENOENT), or not the cipher.
pub fn encrypt(ends: &Ends) -> io::Result<()> {
    let (client, accepted) = (ends.client.as_fd(), ends.accepted.as_fd());
    for end in [client, accepted] {
        sys::setsockopt_of_bytes(end, libc::IPPROTO_TCP, libc::TCP_ULP, b"tls")?;
    }
    for (from, to, key) in [(client, accepted, 1), (accepted, client, 2)] {
        let keys = keys(key);
        sys::setsockopt_of_bytes(from, libc::SOL_TLS, libc::TLS_TX, &keys)?;
        sys::setsockopt_of_bytes(to, libc::SOL_TLS, libc::TLS_RX, &keys)?;
    }
    Ok(())
}

fn keys(of: u8) -> [u8; KEYS_BYTES] {
    const VERSION: [u8; 2] = 0x0303_u16.to_ne_bytes();
    const AES_GCM_128: [u8; 2] = 51_u16.to_ne_bytes();
    let mut keys = [of; KEYS_BYTES];
    for (place, byte) in keys.iter_mut().zip(VERSION.into_iter().chain(AES_GCM_128)) {
        *place = byte;
    }
    keys
}
