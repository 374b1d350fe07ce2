//! Why the hooks do not run.

use crate::kernel::field_offsets;
use aya::programs::ProgramError;
use std::io;

/// Why the hooks do not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's layout is not known.
    #[error(transparent)]
    Layout(#[from] field_offsets::Error),
    /// The agent lacks capabilities.
    #[error(
        "cannot load the hooks: needs {}: run as root, or see `keepwatch doctor`",
        missing.join(" and ")
    )]
    Privilege {
        /// The capabilities that are missing.
        missing: Vec<&'static str>,
    },
    /// The kernel hides its memory.
    #[error(
        "cannot load the hooks: kernel lockdown is in mode `confidentiality`, which forbids reading \
         kernel memory; boot with lockdown=integrity or none"
    )]
    Confidentiality,
    /// The kernel refused with EPERM although the capabilities are held.
    #[error(
        "cannot {attempt}: the kernel refused (EPERM) although the capabilities are held: is this a \
         user namespace, or does seccomp or an LSM forbid bpf(2)? See `keepwatch doctor`"
    )]
    Refused {
        /// The step that failed, as a verb and its object.
        attempt: String,
    },
    /// Anything else the kernel or aya said.
    #[error("cannot {attempt}")]
    Kernel {
        /// The step that failed, as a verb and its object.
        attempt: String,
        #[source]
        /// The error of the kernel or of aya.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

pub(super) fn failed(
    attempt: impl Into<String>,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    let (attempt, cause) = (attempt.into(), cause.into());
    if is_eperm(&*cause) { Error::Refused { attempt } } else { Error::Kernel { attempt, cause } }
}

/// Not EACCES, which is the verifier's no.
const EPERM: Option<i32> = Some(1);

fn is_eperm(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.raw_os_error() == EPERM
        {
            return true;
        }
        if let Some(ProgramError::LoadError { io_error, .. }) = error.downcast_ref()
            && io_error.raw_os_error() == EPERM
        {
            return true;
        }
        cause = error.source();
    }
    false
}
